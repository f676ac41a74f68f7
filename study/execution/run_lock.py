"""One driver at a time for a run's folder, and a clear word where its disk refuses."""

import fcntl
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy_attention.errors import ConfigError
from proxy_attention.files import write_text
from study.run_folder import RunFolder

ROOM_MIB = 64
"""A trial that fails with less free than this has failed for want of it: a checkpoint is tens of MiB."""


@contextmanager
def sole_driver(run: Path) -> Iterator[None]:
    """Hold the run's lock; it goes with the process, however that ends.

    Raises: ConfigError if another process holds it, or the folder cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        handle = os.open(RunFolder(run).lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ConfigError(
            f"--storage must be a folder that can be written; got {str(run)!r}: {error.strerror}"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ConfigError(f"a run must have one driver; {str(run)!r} is being run by another process") from error
    try:
        os.truncate(handle, 0)
        os.write(handle, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode())
        yield
        os.truncate(handle, 0)
    finally:
        os.close(handle)


def storage_trouble(run: Path) -> str:
    """Why a trial cannot be written here, in words; empty if it can."""
    try:
        write_text(run / ".room", "?")
        (run / ".room").unlink()
    except OSError as error:
        return error.strerror or str(error)
    free = shutil.disk_usage(run).free
    return f"No space left on device ({free >> 20} MiB)" if free < ROOM_MIB << 20 else ""
