"""An archive from elsewhere is unpacked into a folder that it cannot leave; knows no data set and no network.

Nothing in it is believed: not its names, its sizes, its permissions or its links. No link is ever made: what was a
link to a file of the archive becomes that file under another name.
"""

import errno
import lzma
import os
import posixpath
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from proxy_attention.data.loading import Report
from proxy_attention.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_RATIO = 100
"""Bytes that may come out of one: images give about 1, lists and annotations up to 30, a bomb 1,000."""

ALWAYS_MB = 16
"""An archive may unpack to this much whatever its ratio is: a small one may hold one long list."""

BLOCK = 512
"""Bytes that every member counts at least: a million empty files are a bomb too."""

MAX_LINK_TEXT = 4096
MAX_HEADER = 2**20
LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Entries of a tar archive that say more of the next one."""

DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error),
    *(ValueError, KeyError, NotImplementedError, RuntimeError),
)
"""What the readers raise for bytes that make no sense; an ``OSError`` without a number is one of them too."""


@dataclass(frozen=True)
class _Member:
    """One entry: a folder, a file with its content, or a link to a name inside the archive; ``read`` bytes of the
    archive lie before its end."""

    name: str
    kind: str
    size: int
    read: int
    content: Callable[[], IO[bytes] | None]
    target: str = ""


class _StrictTarInfo(tarfile.TarInfo):
    """Headers as tarfile reads them, but what it lets pass is an error.

    It takes a damaged header for the end of the archive, goes back for a negative size, for ever in some versions, and
    reads a header of any length into memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictTarInfo":
        entry = super().frombuf(buf, encoding, errors)
        if entry.size < 0 or (entry.type in LONG_HEADERS and entry.size > MAX_HEADER):
            raise tarfile.ReadError(f"bad size {entry.size}")
        return entry

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            entry = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if entry.size < 0:  # a further header may say so
            raise tarfile.ReadError(f"bad size {entry.size}")
        return entry


def is_archive(name: str) -> bool:
    """Whether a file of this name is unpacked."""
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, *, progress: Report | None = None) -> int:
    """Unpack a zip or tar archive below ``folder``; where it fails, what was written so far is left to the caller.

    Args:
        progress: called with (bytes read, bytes in all), about every hundredth part.
    Returns: how many files there are.
    Raises: DataError for an archive that is damaged, encrypted, larger than it may be, or that names a place outside,
        a device, or a link to anything but one of its files; OSError where nothing can be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _unpack(archive, folder.resolve(), progress)
    except (OSError, *DAMAGED) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENAMETOOLONG):
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{archive.name} must be a whole zip or tar archive; {reason}") from error


def _unpack(archive: Path, folder: Path, progress: Report | None) -> int:
    total, free = archive.stat().st_size, shutil.disk_usage(folder).free
    declared = count = told = 0
    folders = {folder}
    links: dict[Path, tuple[str, Path]] = {}
    for member in _zip_members(archive, free) if archive.name.lower().endswith(".zip") else _tar_members(archive):
        declared += max(member.size, BLOCK)
        _check_size(archive, declared, free)
        path = folder.joinpath(*_inside(archive, member.name, member.name))
        _make_folder(path if member.kind == "folder" else path.parent, folder, folders, archive)
        if member.kind == "link":
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


def _check_size(archive: Path, declared: int, free: int) -> None:
    """Raises: DataError if so many bytes do not fit, or could only come from a bomb."""
    if declared > free:
        raise DataError(
            f"{archive.name} must fit on the disk; it unpacks to {declared / 2**20:.0f} MB or more, "
            f"{free / 2**20:.0f} MB are free"
        )
    size = archive.stat().st_size
    if declared > max(MAX_RATIO * size, ALWAYS_MB * 2**20):
        raise DataError(
            f"{archive.name} must unpack to at most {MAX_RATIO} times its size; "
            f"{size / 2**20:.1f} MB would become {declared / 2**20:.0f} MB or more"
        )


def _inside(archive: Path, name: str, member: str) -> tuple[str, ...]:
    """The parts of a path below the folder; Windows' separators count as such.

    Raises: DataError for a path that leads elsewhere.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or re.match(r"[A-Za-z]:[\\/]", name):
        raise DataError(f"{archive.name} must stay in its folder; {member!r} leads to {name!r}")
    return path.parts


def _make_folder(path: Path, top: Path, folders: set[Path], archive: Path) -> None:
    """Make a folder and those above it.

    Args:
        folders: those that were made or seen; what was made is added.
    Raises: DataError if a file or a link stands in its place.
    """
    for parent in (*reversed(path.parents), path):
        if parent in folders or not parent.is_relative_to(top):
            continue
        try:
            parent.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(parent.lstat().st_mode):
                raise DataError(
                    f"{archive.name} must hold folders where it puts files; {str(parent.relative_to(top))!r} is none"
                ) from None
        folders.add(parent)


def _write(member: _Member, path: Path, archive: Path) -> None:
    """Write one file anew, never through what stands there.

    Raises: DataError if a folder stands there, or the content is not as long as was declared.
    """
    _clear(path, archive)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    with os.fdopen(handle, "wb") as file:
        source = member.content()
        if source is None:
            raise DataError(f"{archive.name} must be a whole zip or tar archive; {member.name!r} has no content")
        with source:
            left = member.size
            while chunk := source.read(min(left + 1, 2**20)):
                left -= len(chunk)
                if left < 0:
                    break
                file.write(chunk)
    if left:
        raise DataError(
            f"{archive.name} must be a whole zip or tar archive; {member.name!r} is not as long as declared"
        )


def _clear(path: Path, archive: Path) -> None:
    """Remove the file or link of this name.

    Raises: DataError if it is a folder.
    """
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            raise DataError(f"{archive.name} must not put a file in the place of a folder; got {path.name!r}")
        path.unlink()
    except FileNotFoundError:
        pass


def _make_links(links: dict[Path, tuple[str, Path]], archive: Path) -> None:
    """Give the files that links lead to their further names; a link may lead to a link.

    Raises: DataError for one that leads to no file.
    """
    left = dict(links)
    while left:
        ready = {path: target for path, (_, target) in left.items() if target not in left and _is_file(target)}
        if not ready:
            name, _ = next(iter(left.values()))
            raise DataError(f"{archive.name} must hold the file that a link leads to; {name!r} leads to none")
        for path, target in ready.items():
            _clear(path, archive)
            os.link(target, path)
            del left[path]


def _is_file(path: Path) -> bool:
    """Whether it is a file itself, whose folders are what their names say."""
    return path.is_file() and not path.is_symlink() and path.parent.resolve() == path.parent


def _zip_members(archive: Path, free: int) -> Iterator[_Member]:
    """The entries of a zip archive.

    Raises: DataError if all together are too large, or one is encrypted.
    """
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
        _check_size(archive, sum(max(entry.file_size, BLOCK) for entry in entries), free)
        for entry in entries:
            if entry.flag_bits & 0x1:
                raise DataError(f"{archive.name} must not be encrypted; {entry.filename!r} is")
            mode, target = entry.external_attr >> 16, ""
            kind = "folder" if entry.is_dir() else "file"
            if stat.S_ISLNK(mode):
                kind = "link"
                with opened.open(entry) as file:
                    target = _from_link(entry.filename, file.read(MAX_LINK_TEXT).decode(errors="surrogateescape"))
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive.name} must hold files and folders only; {entry.filename!r} is a device")
            read = entry.header_offset + entry.compress_size
            yield _Member(entry.filename, kind, entry.file_size, read, partial(opened.open, entry), target)


def _tar_members(archive: Path) -> Iterator[_Member]:
    """The entries of a tar archive, compressed or not.

    Raises: DataError for a device.
    """
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*", tarinfo=_StrictTarInfo) as opened:
        while (entry := opened.next()) is not None:
            opened.members = []  # type: ignore[attr-defined]  # it would remember them all
            kind, target = "file", ""
            if entry.isdir():
                kind = "folder"
            elif entry.issym():
                kind, target = "link", _from_link(entry.name, entry.linkname)
            elif entry.islnk():
                kind, target = "link", entry.linkname
            elif not entry.isfile():
                raise DataError(f"{archive.name} must hold files and folders only; {entry.name!r} is a device")
            size = entry.size if kind == "file" else 0
            yield _Member(entry.name, kind, size, raw.tell(), partial(opened.extractfile, entry), target)
        if opened.fileobj is not None:
            for _ in range(64):  # what is left is padding, and the sum that a compressed file ends with
                if not opened.fileobj.read(2**20):
                    break


def _from_link(name: str, text: str) -> str:
    """Where a symbolic link leads, seen from the archive's own folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name.replace("\\", "/")), text))
