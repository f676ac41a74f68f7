"""The archives of a data set are fetched and unpacked below its root; knows no data set and opens none.

What is unfinished lies in ``.preparing`` below the root: after a kill at any point nothing there can be taken for
whole, and the same call goes on. What a person put into the root is used if it is what the publisher ships.
"""

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from proxy_attention.data.loading import Report
from proxy_attention.data.source import Archive
from proxy_attention.data.tools.unpacking import is_archive, unpack
from proxy_attention.errors import ConfigError, DataError, ProxyAttentionError
from proxy_attention.locks import hold_lock

WORK = ".preparing"
TIMEOUT_SECONDS = 60
"""Of silence, after which a server is given up."""

Tell = Callable[[str], None]


class FetchError(ProxyAttentionError):
    """A file cannot be fetched, or is not what was promised; another day it may be."""


def unfinished(root: Path) -> bool:
    """Whether preparing was begun there, and not finished."""
    return (root / WORK).is_dir()


def download(archives: Sequence[Archive], root: Path, *, tell: Tell, progress: Report | None = None) -> None:
    """Fetch and unpack what is not yet there; ``finish`` says that it was seen to be whole.

    Args:
        tell: called with what is done, a line each.
        progress: called with bytes (read, in all) of the archive that is unpacked.
    Raises: FetchError; DataError for an archive that is refused; ConfigError if another process prepares there; OSError
        where nothing can be written.
    """
    with _alone(root) as work:
        for number, archive in enumerate(archives):
            file = root / archive.filename
            done = work / f"{file.name}.done"
            if done.exists():
                continue
            try:
                _fetch(archive, root, work, tell, instead=_instead(archives[number:], root))
            except FetchError:
                if not [*work.glob("*.done"), *work.glob("*.unpacked")]:
                    finish(root)  # nothing was begun that must be completed: what is put there by hand will do
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
    """Forget how far preparing was."""
    _remove(root / WORK)


@contextmanager
def _alone(root: Path) -> Iterator[Path]:
    """The folder for what is unfinished, for one process at a time; a killed one holds no lock.

    Raises: ConfigError if another is at work.
    """
    work = root / WORK
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(work / "lock", wait=False))
        except BlockingIOError:
            raise ConfigError(
                f"--root must be prepared by one process at a time; another is at {str(root)!r}"
            ) from None
        yield work


def _fetch(archive: Archive, root: Path, work: Path, tell: Tell, *, instead: str) -> None:
    """Download a file beside its place, see that it is what was promised, and rename it into its place.

    Raises: FetchError; OSError where it cannot be written.
    """
    from torchvision.datasets.utils import check_integrity, download_url  # here: it takes a second to import

    file = root / archive.filename
    if not archive.md5:
        raise FetchError(f"{file.name} must have a known md5 to be fetched; get it from {archive.url} by hand")
    if file.exists():
        if check_integrity(file, archive.md5):
            tell(f"{file.name} is there and whole")
            return
        tell(f"{file.name} is there and is not what the publisher ships: it is fetched again")
    tell(f"fetching {archive.url}")
    partial = work / "download" / file.name
    try:
        with _patience():
            download_url(archive.url, str(partial.parent), filename=partial.name, md5=archive.md5)
    except (URLError, HTTPException, TimeoutError, ConnectionError, RuntimeError, ValueError) as error:
        partial.unlink(missing_ok=True)
        raise FetchError(f"{archive.url} cannot be fetched: {_reason(error)}; try again, or {instead}") from error
    file.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(file)


def _instead(archives: Sequence[Archive], root: Path) -> str:
    """What a person may do where nothing can be fetched: it names every file that is left, for another machine."""
    names = ", ".join(archive.filename for archive in archives)
    return f"put {names} into {str(root)!r} (from {', '.join(archive.url for archive in archives)})"


def _reason(error: Exception) -> str:
    """Why a file cannot be fetched, in a few words."""
    if isinstance(error, HTTPError):
        error.close()
    elif isinstance(error, URLError):
        return str(error.reason)
    elif str(error).startswith("File not found or corrupted"):  # torchvision's words
        return "what came is not whole, or not what the publisher ships"
    return str(error) or type(error).__name__


def _archives_in(folder: Path) -> list[Path]:
    """Archives inside an archive, as Caltech-101 has them; not those of a hidden name, which may be none."""
    found = [
        Path(place, name)
        for place, _, names in os.walk(folder)
        for name in names
        if is_archive(name) and not name.startswith(".")
    ]
    return sorted(found)


@contextmanager
def _patience() -> Iterator[None]:
    """A server that falls silent is an error, not a wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _move_into(source: Path, target: Path) -> None:
    """Rename what lies in one folder into another; folders that are in both are joined, files replaced.

    Raises: DataError for a name that is ours.
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
