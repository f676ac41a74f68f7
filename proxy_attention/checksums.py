"""SHA-256 checksums: written with a file's content, compared when it is read; knows no file's meaning.

Neither torch nor safetensors notices a flipped bit: a damaged file would be read as other numbers.
"""

import hashlib
import json
import re
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

_TRAILER = re.compile(rb"\nsha256 ([0-9a-f]{64})\n")
_LENGTH = len(b"\nsha256 \n") + 64
_MARK, _SUM = "checksum", "sha256"
"""The keys in a JSON object; with two of them, no damage to one key makes the object look like one without."""


class ChecksumError(ValueError):
    """The content is not what was written."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's whole content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kept_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file's content, computed once as long as its size, time and inode stay.

    Returns: an empty text if there is no such file, or a link in its place.
    """
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            return ""
        return _sha256_at(path, about.st_mtime_ns, about.st_size, about.st_ino)
    except OSError:
        return ""


@lru_cache(maxsize=100_000)
def _sha256_at(path: Path, *_: int) -> str:
    return file_sha256(path)


def source_digest(package: Path) -> str:
    """Return a SHA-256 over the names and contents of all Python files of a package's folder."""
    sha = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        sha.update(
            f"{source.relative_to(package).as_posix()}\0".encode() + hashlib.sha256(source.read_bytes()).digest()
        )
    return sha.hexdigest()


def append_checksum(path: Path) -> None:
    """Append the checksum of a file's content to it. ``torch.load`` reads a file with such an end as one without."""
    digest = file_sha256(path)
    with path.open("ab") as file:
        file.write(f"\nsha256 {digest}\n".encode())


def compare_appended(path: Path) -> bool:
    """Compare a file with the checksum at its end.

    Returns: whether it has one.
    Raises: ChecksumError if the content is not what was written; OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        length = file.seek(0, 2) - _LENGTH
        file.seek(max(length, 0))
        found = _TRAILER.fullmatch(file.read())
        if found is None:
            return False
        file.seek(0)
        sha = hashlib.sha256()
        while length > 0:
            part = file.read(min(length, 1 << 20))
            if not part:
                break
            sha.update(part)
            length -= len(part)
    if sha.hexdigest() != found[1].decode():
        raise ChecksumError("its content is not what was written (SHA-256)")
    return True


def with_checksum(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a JSON object with the checksum of all others."""
    plain = {key: value for key, value in values.items() if key not in (_MARK, _SUM)}
    return {**plain, _MARK: "sha256", _SUM: _sha256_of(plain)}


def without_checksum(values: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Compare the values of a JSON object with their checksum.

    Returns: the values without it, and whether there was one: files of earlier versions have none.
    Raises: ChecksumError if the values are not what was written.
    """
    plain = {key: value for key, value in values.items() if key not in (_MARK, _SUM)}
    if len(plain) == len(values):
        return plain, False
    if values.get(_MARK) != "sha256" or values.get(_SUM) != _sha256_of(plain):
        raise ChecksumError("its content is not what was written (SHA-256)")
    return plain, True


def _sha256_of(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
