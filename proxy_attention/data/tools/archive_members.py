"""Read the members of a zip or tar archive one after another, and bound their total size; writes no file.

Nothing that an archive states is trusted: not its names, its sizes or its links.
"""

import posixpath
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from proxy_attention.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_RATIO = 100
"""Unpacked bytes for a byte of the archive: images give about 1, lists and annotations up to 30, a bomb 1,000."""

ALWAYS_MB = 16
"""MB that any archive may unpack to, whatever its ratio: a small one may hold one long list."""

BLOCK = 512
"""The least bytes that a member counts for: a million empty files are a bomb, too."""

MAX_NAME = 4096
"""The most characters of a name or of a link's text: no system has longer paths."""

MAX_DEPTH = 100
"""The most folders above a file: functions that delete a tree of a thousand fail."""

MAX_HEADER = 2**13
"""The most bytes of a header that describes the entry after it: it is held in memory, and searched slowly."""

LONG_HEADERS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
"""Types of tar headers that describe the entry after them."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive.

    Attributes:
        kind: ``folder``, ``file`` or ``link``.
        size: bytes of a file's content, as the archive declares them.
        read: how many bytes of the archive are read once this entry is.
        content: opens the content; valid until the next member is asked for.
        target: the name in the archive that a link leads to.
    """

    name: str
    kind: str
    size: int
    read: int
    content: Callable[[], IO[bytes] | None]
    target: str = ""


class _StrictTarInfo(tarfile.TarInfo):
    """Read headers as tarfile does, and raise where it would go on.

    tarfile takes a damaged header for the end of the archive, goes back for a negative size (for ever in some
    versions), and reads a header of any length into memory.
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
    """Whether the name is of an archive that can be unpacked."""
    return name.lower().endswith(SUFFIXES)


def shown(name: str) -> str:
    """Quote a name of an archive in an error: control characters are spelled out, a long name is cut."""
    return repr(name) if len(name) <= 100 else f"{name[:100]!r}..."


def members_of(archive: Path, folder: Path) -> Iterator[Member]:
    """Yield the entries of an archive that is to be unpacked into this folder.

    Raises: DataError for an encrypted entry, a device, a link out of the folder, or a zip archive that is too large;
        what the readers raise for damaged bytes.
    """
    return _zip_members(archive, folder) if archive.name.lower().endswith(".zip") else _tar_members(archive, folder)


def check_size(archive: Path, declared: int, free: int) -> None:
    """Check that an archive of so many declared bytes fits on the disk and is no bomb.

    Raises: DataError.
    """
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


def _zip_members(archive: Path, folder: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        entries = opened.infolist()
        check_size(archive, sum(max(entry.file_size, BLOCK) for entry in entries), shutil.disk_usage(folder).free)
        for entry in entries:
            if entry.flag_bits & 0x1:
                raise DataError(f"{archive.name} must not be encrypted; {shown(entry.filename)} is")
            mode, target = entry.external_attr >> 16, ""
            kind = "folder" if entry.filename.endswith("/") else "file"  # is_dir fails for an empty name
            if stat.S_ISLNK(mode):
                kind = "link"
                with opened.open(entry) as file:
                    target = _link_target(entry.filename, file.read(MAX_NAME).decode(errors="surrogateescape"))
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _device_error(archive, entry.filename)
            read = entry.header_offset + entry.compress_size
            yield Member(entry.filename, kind, entry.file_size, read, partial(opened.open, entry), target)


def _tar_members(archive: Path, folder: Path) -> Iterator[Member]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*", tarinfo=_StrictTarInfo) as opened:
        while (entry := opened.next()) is not None:
            opened.members = []  # type: ignore[attr-defined]  # it would remember them all
            try:
                tarfile.data_filter(entry, str(folder))
            except tarfile.SpecialFileError as error:
                raise _device_error(archive, entry.name) from error
            except tarfile.FilterError as error:
                leads_to = shown(entry.linkname or entry.name)
                raise DataError(
                    f"{archive.name} must stay in its folder; {shown(entry.name)} leads to {leads_to}"
                ) from error
            kind, target = "folder" if entry.isdir() else "file", ""
            if entry.issym():
                kind, target = "link", _link_target(entry.name, entry.linkname)
            elif entry.islnk():
                kind, target = "link", entry.linkname
            size = entry.size if kind == "file" else 0
            yield Member(entry.name, kind, size, raw.tell(), partial(opened.extractfile, entry), target)
        if opened.fileobj is not None:
            for _ in range(64):  # padding, and the checksum at the end of a compressed file
                if not opened.fileobj.read(2**20):
                    break


def _device_error(archive: Path, name: str) -> DataError:
    return DataError(f"{archive.name} must hold files and folders only; {shown(name)} is a device")


def _link_target(name: str, text: str) -> str:
    """Make the target of a symbolic link relative to the archive's top folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name.replace("\\", "/")), text))
