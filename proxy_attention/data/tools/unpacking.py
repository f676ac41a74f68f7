"""Unpack an archive into a folder, and let nothing out of it; knows no data set and no network.

No permission is taken from the archive and no symbolic link is made: a link to a file of the archive becomes a further
name of that file.
"""

import errno
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from proxy_attention.data.catalogue import ProgressCallback
from proxy_attention.data.tools.archive_members import BLOCK, MAX_DEPTH, MAX_NAME, Member, check_size, members_of, shown
from proxy_attention.errors import DataError

DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error),
    *(ValueError, LookupError, NotImplementedError, RuntimeError),
)
"""What zipfile and tarfile raise for damaged bytes, beside an ``OSError`` without a number, or for a bad place."""

MAX_LINKS = 10_000
"""The most links of an archive: a file system has at most so many names for a file, and no data set needs them."""


def unpack(archive: Path, folder: Path, *, progress: ProgressCallback | None = None) -> int:
    """Unpack a zip or tar archive below ``folder``; after an error the caller deletes what was written.

    Args:
        progress: called with (bytes read, bytes in all), about a hundred times.
    Returns: how many files were written.
    Raises: DataError for an archive that is damaged, encrypted, larger than it may be, or that names a place outside,
        a device, or a link to anything but one of its files; OSError where nothing can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _unpack(archive, folder.resolve(), progress)
    except (OSError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG, errno.EINVAL):
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{archive.name} must be a whole zip or tar archive; {reason}") from error


def _unpack(archive: Path, folder: Path, progress: ProgressCallback | None) -> int:
    total, free = archive.stat().st_size, shutil.disk_usage(folder).free
    declared = count = told = 0
    folders = {folder}
    links: dict[Path, tuple[str, Path]] = {}
    for member in members_of(archive, folder):
        declared += max(member.size, BLOCK)  # a folder above it counts, too
        check_size(archive, declared + BLOCK * (len(folders) - 1), free)
        parts = _inside(archive, member.name, member.name)
        if member.kind != "folder" and not (parts and parts[-1].strip(".")):
            raise DataError(f"{archive.name} must give every file a name; got {shown(member.name)}")
        path = folder.joinpath(*parts)
        _make_folder(path if member.kind == "folder" else path.parent, folder, folders, archive)
        if member.kind == "link":
            if len(links) >= MAX_LINKS:
                raise DataError(f"{archive.name} must hold at most {MAX_LINKS:,} links; it holds more")
            links[path] = member.name, folder.joinpath(*_inside(archive, member.target, member.name))
        elif member.kind == "file":
            links.pop(path, None)  # of two members with one name the last counts
            _write(member, path, archive)
            count += 1
        if progress is not None and (member.read - told) * 100 >= total:
            told = member.read
            progress(told, total)
    _make_links(links, archive)
    return count + len(links)


def _inside(archive: Path, name: str, member: str) -> tuple[str, ...]:
    """Split a path below the folder into its parts; a backslash is a separator, too.

    tarfile's ``data`` filter strips the root of an absolute path instead of refusing it, and zipfile has no filter.

    Raises: DataError for a path that leads elsewhere.
    """
    if len(name) > MAX_NAME:
        raise DataError(f"{archive.name} must have names of at most {MAX_NAME} characters; got {shown(name)}")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:[\\/]", name):
        raise DataError(f"{archive.name} must stay in its folder; {shown(member)} leads to {shown(name)}")
    if len(path.parts) > MAX_DEPTH:
        raise DataError(f"{archive.name} must have at most {MAX_DEPTH} folders in a name; got {shown(name)}")
    return path.parts


def _make_folder(path: Path, top: Path, folders: set[Path], archive: Path) -> None:
    """Make a folder and those above it.

    Args:
        folders: folders that are known to be real; new ones are added.
    Raises: DataError if a file or a link stands in its place.
    """
    for parent in (*reversed(path.parents), path):
        if parent in folders or not parent.is_relative_to(top):
            continue
        try:
            parent.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(parent.lstat().st_mode):
                place = shown(str(parent.relative_to(top)))
                raise DataError(f"{archive.name} must hold folders where it puts files; {place} is none") from None
        folders.add(parent)


def _write(member: Member, path: Path, archive: Path) -> None:
    """Write one file in place of what lies there, never through a link.

    Raises: DataError if a folder lies there, or the content is not as long as was declared.
    """
    _clear(path, archive)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "wb") as file:
        source = member.content()
        if source is None:
            raise DataError(f"{archive.name} must be a whole zip or tar archive; {shown(member.name)} has no content")
        with source:
            left = member.size
            while chunk := source.read(min(left + 1, 2**20)):
                left -= len(chunk)
                if left < 0:
                    break
                file.write(chunk)
    if left:
        raise DataError(
            f"{archive.name} must be a whole zip or tar archive; {shown(member.name)} is not as long as declared"
        )


def _clear(path: Path, archive: Path) -> None:
    """Delete the file or link of this name.

    Raises: DataError if it is a folder.
    """
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            raise DataError(f"{archive.name} must not put a file in the place of a folder; got {shown(path.name)}")
        path.unlink()
    except FileNotFoundError:
        pass


def _make_links(links: dict[Path, tuple[str, Path]], archive: Path) -> None:
    """Make each link a further name of the file that it leads to; a link may lead to a link.

    Raises: DataError for one that leads to no file.
    """
    made: set[Path] = set()
    for first in links:
        chain: dict[Path, None] = {}
        path = first
        while path in links and path not in made and path not in chain:
            chain[path] = None
            path = links[path][1]
        for link in reversed(chain):  # the last leads to a file, or the chain closes
            name, target = links[link]
            if (target in links and target not in made) or not _is_file(target):
                raise DataError(f"{archive.name} must hold the file that a link leads to; {shown(name)} leads to none")
            _clear(link, archive)
            os.link(target, link)
            made.add(link)


def _is_file(path: Path) -> bool:
    """Whether a path is a file, and neither is nor contains a symbolic link."""
    return path.is_file() and not path.is_symlink() and path.parent.resolve() == path.parent
