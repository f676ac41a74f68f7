"""Keep decoded pixels on disk, so that all trials of a host decode them once; knows no image format and no label.

The folder of an entry is named by the content that was decoded. In it, ``checked.json`` lists the unreadable images,
and for each size ``<size>px.u8`` holds the pixels of the readable ones and ``<size>px.json``, written last, their hash.
No file is changed in place: a process that has mapped one keeps it when it is deleted or written anew.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from proxy_attention.checksums import file_sha256
from proxy_attention.files import UMASK, is_own_file, read_json, write_json
from proxy_attention.locks import hold_lock

LIMIT_MB = 20_000
"""The default for the MB that all arrays together may take."""

ARRAY, UNFINISHED = ".u8", ".part"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """The cache entry of one data set; it may still be empty.

    Attributes:
        folder: of this entry; its parent folder holds the entries of all data sets.
        limit_mb: the MB that the arrays of all entries together may take.
    """

    folder: Path
    limit_mb: int

    def unreadable(self) -> frozenset[int] | None:
        """Read which images do not decode: their numbers, or None where that is not known."""
        numbers = _read(self.folder / "checked.json").get("unreadable")
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            return None
        return frozenset(numbers)

    def white_level(self) -> dict[str, Any] | None:
        """Read the white that was found for these images, as it was written; None where none was needed."""
        return _read(self.folder / "white_level.json") or None

    def write_white_level(self, found: dict[str, Any]) -> None:
        """Write the white that was found for these images; their pixels lie in the entry of that white."""
        write_json(self.folder / "white_level.json", found)

    def array(self, count: int, size: int) -> torch.Tensor | None:
        """Map the pixels into memory, which every process of the host shares, if they are what was written.

        Args:
            count: how many images are readable.
        Returns: (count, 3, size, size) uint8; None if the entry lacks them.
        """
        path = self.folder / f"{size}px{ARRAY}"
        expected = _read(path.with_suffix(".json")).get("sha256_of_array")
        length = count * 3 * size * size
        try:
            if expected is None or path.stat().st_size != length or not is_own_file(path):
                return None
            if file_sha256(path) != expected:
                log.warning("%s is not what was written: it is made again", path)
                return None
            # private: a write would be seen by nobody else
            mapped = torch.from_file(str(path), shared=False, size=length, dtype=torch.uint8)
        except (OSError, RuntimeError):  # deleted meanwhile, to make room for another
            return None
        with suppress(OSError):  # a cache that cannot be written to can still be read
            os.utime(path)  # least recently used is deleted first
        return mapped.view(count, 3, size, size)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the entry for one builder at a time, and delete what killed builders left unfinished.

        Raises: OSError where nothing can be written.
        """
        with hold_lock(self.folder / "lock"):
            for leftover in _unfinished_files(self.folder):
                leftover.unlink(missing_ok=True)
            yield

    def write_checked(self, unreadable: Iterable[int]) -> None:
        """Write which images do not decode."""
        write_json(self.folder / "checked.json", {"unreadable": sorted(unreadable)})

    def write_array(self, parts: Iterable[np.ndarray], *, at_most: int, size: int) -> None:
        """Write the pixels part by part, as they come; the caller must hold the lock.

        Args:
            parts: (n, 3, size, size) uint8 each.
            at_most: the number of images for which room is made.
        Raises: OSError if the disk is full or cannot be written to; nothing is left then.
        """
        path = self.folder / f"{size}px{ARRAY}"
        self._make_room(at_most * 3 * size * size)
        sha = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=path.name, suffix=UNFINISHED, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.truncate(at_most * 3 * size * size)  # so that other builders count this room as taken
                for part in parts:
                    content = np.ascontiguousarray(part).data
                    sha.update(content)
                    file.write(content)
                file.truncate(file.tell())
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644 & ~UMASK)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        write_json(path.with_suffix(".json"), {"sha256_of_array": sha.hexdigest()})
        self._make_room(0, keep=path)  # where several build at one time, the last keeps to the limit

    def _make_room(self, need: int, *, keep: Path | None = None) -> None:
        """Delete the least recently used arrays until ``need`` more bytes stay within the limit."""
        for folder in self.folder.parent.iterdir():
            if folder != self.folder and any(_unfinished_files(folder)):
                with suppress(BlockingIOError), hold_lock(folder / "lock", wait=False):  # held while its builder lives
                    for leftover in _unfinished_files(folder):
                        leftover.unlink(missing_ok=True)
        taken: list[tuple[float, int, Path]] = []
        for path in (*self.folder.parent.glob(f"*/*{ARRAY}"), *self.folder.parent.glob(f"*/*{UNFINISHED}")):
            with suppress(FileNotFoundError):
                taken.append((path.stat().st_mtime, path.stat().st_size, path))
        total = need + sum(length for _, length, path in taken)
        for _, length, path in sorted(taken):
            if total <= self.limit_mb * 2**20:
                break
            if path.suffix == ARRAY and path != keep:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                total -= length


def _unfinished_files(folder: Path) -> list[Path]:
    """List the files that a builder of this entry has not finished."""
    return [path for path in folder.glob("*") if path.suffix == UNFINISHED or path.name.startswith(".")]


def _read(path: Path) -> dict[str, Any]:
    """Read the values of a JSON file; none if it is missing or damaged, or others own it or may write it."""
    values = read_json(path) if is_own_file(path) else None
    return values if isinstance(values, dict) else {}
