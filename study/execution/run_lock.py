"""The lock of a run, which one process at a time may drive; tells which process, and whether the disk is full."""

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

MOST_PIDS = 2**31
ROOM_MIB = 64
"""Free disk space in MiB below which the disk counts as full: a checkpoint takes tens of MiB."""


@contextmanager
def sole_driver(run: Path) -> Iterator[None]:
    """Hold the run's lock during a ``with`` block, with the pid and host of this process in the lock file.

    The operating system releases the lock when the process ends, however it ends.

    Raises: ConfigError if another process holds it, the folder cannot be written or locked, or it holds a link.
    """
    file = RunFolder(run).lock_file
    RunFolder(run).refuse_links()
    with ExitStack() as held:
        try:
            held.enter_context(hold_lock(file, wait=False))
            # written in place: a file that is replaced loses its lock
            _overwrite(file, json.dumps({"pid": os.getpid(), "host": platform.node()}))
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
        _overwrite(file, "")


def _overwrite(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC), "w") as opened:
        opened.write(text)


def driver_of(run: Path) -> str:
    """Read which process drives the run, such as ``4711 on host-a``, without taking the lock.

    Returns: an empty text if no process does. A process of another host is assumed to be alive.
    """
    try:
        values = read_json(RunFolder(run).lock_file)
        pid, host = values["pid"], values["host"]
    except (KeyError, TypeError):
        return ""
    if type(pid) is not int or not 0 < pid < MOST_PIDS or not isinstance(host, str):
        return ""
    return f"{pid} on {host}" if host != platform.node() or _is_alive(pid) else ""


def _is_alive(pid: int) -> bool:
    """Whether this host runs a process with this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is alive, and another user's
    return True


def storage_trouble(run: Path) -> str:
    """Say why no trial can be written to the run's folder; return an empty text if one can."""
    try:
        write_text(run / ".room", "?")
        (run / ".room").unlink()
    except OSError as error:
        return error.strerror or str(error)
    free = shutil.disk_usage(run).free
    return f"No space left on device ({free >> 20} MiB)" if free < ROOM_MIB << 20 else ""
