"""Pixels on disk, decoded once for all trials of a host; knows no image format and no label.

An entry is a folder named by the content that was decoded. It holds ``checked.json``, which images are unreadable,
and for each size ``<size>px.u8``, the bytes of the others, beside ``<size>px.json``, written last. Nothing is changed
in place: what is mapped somewhere stays valid there when it is deleted or written anew.
"""

import hashlib
import json
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

from proxy_attention.files import write_json
from proxy_attention.locks import hold_lock

LIMIT_MB = 20_000
"""What all arrays together may take, unless the caller says otherwise."""

ARRAY, UNFINISHED = ".u8", ".part"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One data set in the cache, whether anything is there or not.

    Attributes:
        folder: its parent holds the entries of all data sets.
        limit_mb: what the arrays of all entries together may take.
    """

    folder: Path
    limit_mb: int

    def unreadable(self) -> frozenset[int] | None:
        """Numbers of the images that do not decode; None if that is not known."""
        numbers = _read(self.folder / "checked.json").get("unreadable")
        return None if numbers is None else frozenset(numbers)

    def array(self, count: int, size: int, *, verify: bool = False) -> torch.Tensor | None:
        """The pixels, mapped: (count, 3, size, size) uint8, shared with every process of the host; None if not there.

        Args:
            verify: read all of it, and see that it is what was written.
        """
        path = self.folder / f"{size}px{ARRAY}"
        expected = _read(path.with_suffix(".json")).get("sha256")
        length = count * 3 * size * size
        try:
            if expected is None or path.stat().st_size != length:
                return None
            if verify and _sha256(path) != expected:
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
        """Let one builder in at a time, and sweep up after those that were killed; a killed one holds no lock.

        Raises: OSError where nothing can be written.
        """
        with hold_lock(self.folder / "lock"):
            for leftover in _leftovers(self.folder):
                leftover.unlink(missing_ok=True)
            yield

    def write_checked(self, unreadable: Iterable[int]) -> None:
        """Note which images do not decode."""
        write_json(self.folder / "checked.json", {"unreadable": sorted(unreadable)})

    def write_array(self, parts: Iterable[np.ndarray], *, at_most: int, size: int) -> None:
        """Write the pixels as they come, part by part; call it under the lock.

        Args:
            parts: (n, 3, size, size) uint8 each.
            at_most: how many images there can be, to make room for.
        Raises: OSError if the disk is full or cannot be written to; nothing is left then.
        """
        path = self.folder / f"{size}px{ARRAY}"
        self._make_room(at_most * 3 * size * size)
        sha = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=path.name, suffix=UNFINISHED, delete=False) as file:
            temporary = Path(file.name)
            try:
                file.truncate(at_most * 3 * size * size)  # other builders see how much room is taken
                for part in parts:
                    content = np.ascontiguousarray(part).data
                    sha.update(content)
                    file.write(content)
                file.truncate(file.tell())
                file.flush()
                os.fsync(file.fileno())
                temporary.chmod(0o644)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        write_json(path.with_suffix(".json"), {"sha256": sha.hexdigest()})
        self._make_room(0, keep=path)  # of builders at work at one time, the last keeps the limit

    def _make_room(self, need: int, *, keep: Path | None = None) -> None:
        """Delete arrays, the least recently used first, until so many bytes more stay within the limit."""
        for folder in self.folder.parent.iterdir():
            if folder != self.folder and any(_leftovers(folder)):
                with suppress(BlockingIOError), hold_lock(folder / "lock", wait=False):  # else its builder is alive
                    for leftover in _leftovers(folder):
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


def _leftovers(folder: Path) -> list[Path]:
    """What a builder of this entry has not finished, or never will."""
    return [path for path in folder.glob("*") if path.suffix == UNFINISHED or path.name.startswith(".")]


def _read(path: Path) -> dict[str, Any]:
    """The values of a JSON file; none if it is not there or not whole."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
