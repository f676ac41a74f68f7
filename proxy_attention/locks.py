"""Locks on files: one holder at a time, on every host that mounts the folder; the system frees those of a dead process.

Knows no file's content. A lock file may be removed by its holder: whoever had opened the removed file holds nothing.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_REFUSALS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})


class LocksRefusedError(OSError):
    """The file system has no locks, as some network mounts."""


def try_lock(path: Path) -> FileLock | None:
    """Lock a file without waiting; the file and its folder are made if they are not there.

    Returns: the lock, for any thread to release; None while another holds it.
    Raises: LocksRefusedError; OSError if the file cannot be opened.
    """
    return _acquire(path, wait=False)


@contextmanager
def hold_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock on a file; the file and its folder are made if they are not there.

    Args:
        wait: until another holder is done.
    Raises: BlockingIOError if another holds it and ``wait`` is false; LocksRefusedError; OSError if the file cannot be
        opened.
    """
    lock = _acquire(path, wait=wait)
    if lock is None:
        raise BlockingIOError(errno.EWOULDBLOCK, "held by another process", str(path))
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, *, wait: bool) -> FileLock | None:
    # a lock that is not the system's would outlive its process, so there is no fallback to one
    lock = FileLock(path, mode=0o644, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return None
    except OSError as error:
        if error.errno in _REFUSALS:
            raise LocksRefusedError(error.errno, "its file system has no locks", str(path)) from error
        raise
    return lock
