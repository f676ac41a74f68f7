"""Download the archives of a data set and unpack them in its data root; knows no data set and opens none.

Unfinished files lie in ``.preparing`` below the data root, so that nobody takes them for complete; after a kill at any
point the same call continues. An archive that a person put into the data root is used if it has the publisher's hashes.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from proxy_attention.data.catalogue import ProgressCallback
from proxy_attention.data.source import Archive
from proxy_attention.data.tools.archive_members import is_archive
from proxy_attention.data.tools.http_file import FetchError, download_file, has_hashes
from proxy_attention.data.tools.unpacking import unpack
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.locks import hold_lock

WORK = ".preparing"
MB = 1_000_000
TIMEOUT_SECONDS = 60
"""The longest time that a server may be silent."""

Tell = Callable[[str], None]


def unfinished(root: Path) -> bool:
    """Whether a download into this data root was begun and not finished."""
    return (root / WORK).is_dir()


def download(archives: Sequence[Archive], root: Path, *, tell: Tell, progress: ProgressCallback | None = None) -> None:
    """Download and unpack the archives that were not done yet; call ``finish`` once the data set opens.

    Args:
        tell: called with a line of text for each step.
        progress: called with (bytes read, bytes in all) of the archive that is being unpacked.
    Raises: FetchError; DataError for an archive that is refused; ConfigError if another process downloads into the same
        data root; OSError where nothing can be written.
    """
    with _sole_process(root) as work:
        for number, archive in enumerate(archives):
            file = root / archive.filename
            done = work / f"{file.name}.done"
            if done.exists():
                continue
            try:
                _fetch(archive, root, work, tell, instead=_by_hand(archives[number:], root))
            except FetchError:
                if not [*work.glob("*.done"), *work.glob("*.unpacked")]:
                    finish(root)  # nothing is half done, so files that are put there by hand are enough
                raise
            if is_archive(file.name):
                tell(f"unpacking {file.name}")
                fresh = work / f"{file.name}.unpacked"
                _remove(fresh)
                unpack(file, fresh, progress=progress)
                for inner in _archives_in(fresh):
                    tell(f"unpacking {inner.name}")
                    unpack(inner, inner.parent, progress=progress)
                    inner.unlink()
                _move_into(fresh, root)
                _remove(fresh)
            done.touch()


def finish(root: Path) -> None:
    """Delete the folder of unfinished files."""
    _remove(root / WORK)


@contextmanager
def _sole_process(root: Path) -> Iterator[Path]:
    """Lock the folder of unfinished files for one process at a time; yields the folder.

    Raises: ConfigError if another process holds it, or a link leads out of it.
    """
    work = root / WORK
    if links := [path for path in (work, *work.glob("*")) if path.is_symlink()]:
        raise ConfigError(f"data root must hold no link where preparing keeps its files; {str(links[0])!r} is one")
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(work / "lock", wait=False))
        except BlockingIOError:
            raise ConfigError(
                f"data root must be prepared by one process at a time; another is at work in {str(root)!r}"
            ) from None
        yield work


def _fetch(archive: Archive, root: Path, work: Path, tell: Tell, *, instead: str) -> None:
    """Download a file into the folder of unfinished files, check its hashes, and move it into the data root.

    Raises: FetchError; OSError where it cannot be written.
    """
    file = root / archive.filename
    if not archive.md5:
        raise FetchError(f"{file.name} must have a known md5 to be fetched; get it from {archive.url} by hand")
    if file.exists():
        if file.is_file() and has_hashes(file, md5=archive.md5, sha256=archive.sha256):
            tell(f"{file.name} is there and whole")
            return
        tell(f"{file.name} is there and is not what the publisher ships: it is fetched again")
    tell(f"fetching {archive.url}")
    partial = work / "download" / file.name
    try:
        download_file(
            archive.url,
            partial,
            md5=archive.md5,
            sha256=archive.sha256,
            most_bytes=archive.most_mb * MB,
            timeout_seconds=TIMEOUT_SECONDS,
        )
    except FetchError as error:
        raise FetchError(f"{archive.url} cannot be fetched: {error}; try again, or {instead}") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(file)


def _by_hand(archives: Sequence[Archive], root: Path) -> str:
    """Say how to go on by hand: name every file that is left, so that it can be downloaded on another machine."""
    names = ", ".join(archive.filename for archive in archives)
    return f"put {names} into {str(root)!r} (from {', '.join(archive.url for archive in archives)})"


def _archives_in(folder: Path) -> list[Path]:
    """List the archives inside an unpacked archive, as Caltech-101 has them; hidden files are no archives."""
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if is_archive(name) and not name.startswith(".")
    ]
    return sorted(found)


def _move_into(source: Path, target: Path) -> None:
    """Move the content of one folder into another; folders in both are merged, files replaced.

    Raises: DataError for a folder named as that of unfinished files.
    """
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.name == WORK:
            raise DataError(f"an archive must not hold {WORK!r}, where preparing keeps its own files")
        if entry.is_dir() and place.is_dir() and not place.is_symlink():
            _move_into(entry, place)
        else:
            entry.replace(place)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
