"""The lock of a run: one process drives a run at a time; tells who, and whether the disk takes another file."""

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from proxy_attention.errors import ConfigError
from proxy_attention.files import read_json, write_text
from proxy_attention.locks import LocksRefusedError, hold_lock
from study.run_folder import RunFolder

ROOM_MIB = 64
"""A trial that fails with less free than this has failed for want of it: a checkpoint is tens of MiB."""


@contextmanager
def sole_driver(run: Path) -> Iterator[None]:
    """Hold the run's lock, with this process' pid and host in it; it goes with the process, however that ends.

    Raises: ConfigError if another process holds it, or the folder cannot be written or locked.
    """
    file = RunFolder(run).lock_file
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(file, wait=False))
            file.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))  # in place: this file is locked
        except BlockingIOError as error:
            driver = driver_of(run)
            who = f"another process (pid {driver})" if driver else "another process"
            raise ConfigError(f"{who} is running {run}") from error
        except LocksRefusedError as error:
            raise ConfigError(f"--storage must be on a file system with locks; {str(run)!r} is not") from error
        except OSError as error:
            raise ConfigError(
                f"--storage must be a folder that can be written; got {str(run)!r}: {error.strerror}"
            ) from error
        yield
        file.write_text("")


def driver_of(run: Path) -> str:
    """Read which process drives the run, such as ``4711 on host-a``; empty if none does. Takes no lock.

    A process of another host is believed to live.
    """
    try:
        values = read_json(RunFolder(run).lock_file)
        pid, host = int(values["pid"]), str(values["host"])
    except (ValueError, KeyError, TypeError):
        return ""
    return f"{pid} on {host}" if host != platform.node() or _lives(pid) else ""


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, under another user
    return True


def storage_trouble(run: Path) -> str:
    """Return why a trial cannot be written here, in words; empty if it can."""
    try:
        write_text(run / ".room", "?")
        (run / ".room").unlink()
    except OSError as error:
        return error.strerror or str(error)
    free = shutil.disk_usage(run).free
    return f"No space left on device ({free >> 20} MiB)" if free < ROOM_MIB << 20 else ""
