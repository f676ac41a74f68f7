"""Locks on files: one holder at a time among all hosts that mount the folder; knows no file's content.

The operating system releases the locks of a process that dies. The holder of a lock may remove its file: a process that
had opened the removed file does not get the lock.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_REFUSALS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP})
"""Error numbers of a file system that has no locks."""


class LocksRefusedError(OSError):
    """The file system has no locks, like some network mounts."""


def try_lock(path: Path) -> FileLock | None:
    """Lock a file without waiting; create the file and its folder if they do not exist.

    Returns: the lock, which any thread may release; None if another process or thread holds it.
    Raises: LocksRefusedError if the file system has no locks; OSError if the file cannot be opened.
    """
    return _acquire(path, wait=False)


@contextmanager
def hold_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock on a file during a ``with`` block; create the file and its folder if they do not exist.

    Args:
        wait: whether to wait until another holder releases it.
    Raises: BlockingIOError if another holds it and ``wait`` is false; LocksRefusedError if the file system has no
        locks; OSError if the file cannot be opened.
    """
    lock = _acquire(path, wait=wait)
    if lock is None:
        raise BlockingIOError(errno.EWOULDBLOCK, "held by another process", str(path))
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path, *, wait: bool) -> FileLock | None:
    # no fallback to filelock's soft locks: they would outlive a process that dies
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
