"""Shares states between trials: where state keys are equal, one trial trains the epoch and the others read its state.

Knows no model and no image; ``state_keys`` says what a state depends on.
"""

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from proxy_attention.checkpoints import read_state, write_state
from proxy_attention.config import TrialConfig
from proxy_attention.files import is_own_file, write_atomic
from proxy_attention.locks import try_lock
from proxy_attention.state_keys import environment, key_of, state_keys

POLL_SECONDS = 0.05
"""Seconds between two looks for a state that another trial is making."""
STALE_SECONDS = 3600
"""Age at which a temporary file counts as left behind by a process that died."""
LIMIT_MB = 20 * 1024
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sharing:
    """The states that the trials of a run share, and the folder that holds them.

    Attributes:
        folder: where the states are; several runs may use it, and several hosts if its file system has locks.
        names: keys of the states that several trials of the run need (see ``state_keys.branch_points``).
        epochs: numbers of epochs after which trials that are not planned yet may differ: a trial shares these states,
            too, as long as it uses no proxies.
        limit_mb: limit of the folder's size in MiB; the least recently used states are removed first.
    """

    folder: Path
    names: frozenset[str] = frozenset()
    epochs: frozenset[int] = frozenset()
    limit_mb: int = LIMIT_MB

    def path(self, name: str, *, device: str, part: str = "state") -> Path:
        """Return the file of a state; its name depends also on the source code, the libraries and the processor.

        Args:
            name: the state's key.
            part: ``state``, or the key of what is computed from the state.
        """
        return self.folder / f"{key_of([name, environment(device), part])[:40]}-{part.split()[0]}.pt"

    def of(self, config: TrialConfig, *, data: str, weights: str | None, device: str) -> "SharedStates":
        """Return the shared states of one trial."""
        names = state_keys(config, data=data, weights=weights)
        steps = config.planned.steps
        before_proxies = steps[0].index + 1 if steps else len(names)
        shared = {n for n, name in enumerate(names, start=1) if name in self.names}
        shared |= {n for n in self.epochs if n <= before_proxies}
        return SharedStates(self, {n: names[n - 1] for n in sorted(shared)}, device)


@dataclass
class SharedStates:
    """The shared states of one trial, and its locks on those that it must make.

    The holder of a state's lock makes the state; the other trials wait. If its process dies, the operating system
    releases the lock, and the next trial makes the state.

    Attributes:
        names: the key of each shared state, by the number of epochs after which it is shared.
    """

    sharing: Sharing
    names: dict[int, str]
    device: str
    _locks: dict[Path, FileLock] = field(default_factory=dict)

    def __enter__(self) -> "SharedStates":
        return self

    def __exit__(self, *error: object) -> None:
        for path in list(self._locks):
            self._release(path)

    def borrow(self, after: int) -> dict[str, Any] | None:
        """Return the furthest published state beyond this many epochs; wait while another trial is making the next.

        Args:
            after: the number of epochs that this trial has done.
        Returns: the published state; None if this trial must train the next epoch itself.
        """
        ahead = [n for n in self.names if n > after]
        for n in reversed(ahead):
            state = self._read(self._path(n))
            if state is not None:
                for passed in ahead[: ahead.index(n) + 1]:
                    self._release(self._path(passed))  # this trial will not make them any more
                return state
        return self._claim(self._path(ahead[0])) if ahead else None

    def publish(self, epochs: int, state: dict[str, Any]) -> None:
        """Write a state for the other trials; if it cannot be written, they train it themselves."""
        if epochs in self.names:
            self._write(self._path(epochs), state)

    def compute_once(self, epochs: int, part: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Compute something from the state after ``epochs`` once: the first trial writes it, the others read it.

        Args:
            part: the key of what is computed.
            make: computes it.
        """
        if epochs not in self.names:
            return make()
        path = self._path(epochs, part)
        found = self._claim(path)
        if found is None:
            found = make()
            self._write(path, found)
        return found

    def is_shared(self, epochs: int) -> bool:
        """Whether other trials need the state after this many epochs."""
        return epochs in self.names

    def _path(self, epochs: int, part: str = "state") -> Path:
        return self.sharing.path(self.names[epochs], device=self.device, part=part)

    def _claim(self, path: Path) -> dict[str, Any] | None:
        """Wait for the file and read it; return None as soon as this trial holds its lock and so must make it."""
        while True:
            if path in self._locks:
                return None
            found = self._read(path)
            if found is not None:
                return found
            try:
                lock = try_lock(path.with_suffix(".lock"))
            except OSError as error:  # a file system without locks, or one that cannot be written
                log.warning("a shared state could not be locked (%s); this trial shares nothing", error)
                self.names.clear()
                return None
            if lock is None:
                time.sleep(POLL_SECONDS)
                continue
            self._locks[path] = lock
            found = self._read(path)  # another trial may have written it just before
            if found is not None:
                self._release(path)
            return found

    def _release(self, path: Path) -> None:
        """Release the lock on a file, if this trial holds it."""
        lock = self._locks.pop(path, None)
        if lock is not None:
            path.with_suffix(".lock").unlink(missing_ok=True)
            lock.release()

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Read a published state; return None if it does not exist, is damaged, or was written under another name."""
        if not os.path.lexists(path):
            return None
        if not is_own_file(path):
            log.warning("shared state %s is not used: others own it or may write it", path)
            return None
        found = read_state(path)
        if found is None or found.get("of") != path.name:
            if os.path.lexists(path):  # not removed meanwhile
                log.warning("shared state %s is damaged; it is made again", path)
            return None
        with suppress(OSError):
            os.utime(path)  # used now, so removed last
        state: dict[str, Any] = found["state"]
        return state

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        """Write a state and release its lock; if it cannot be written, warn."""
        try:
            write_atomic(path, lambda temporary: write_state(temporary, {"of": path.name, "state": state}))
            _keep_below(path.parent, self.sharing.limit_mb << 20, newest=path)
        except (OSError, RuntimeError) as error:  # torch.save raises the latter on a full disk
            log.warning("a shared state could not be written (%s); every trial trains it", error)
        finally:
            self._release(path)


def _keep_below(folder: Path, limit: int, *, newest: Path) -> None:
    """Remove the least recently used files until the folder holds at most ``limit`` bytes; remove ``newest`` last."""
    for path in folder.glob(".*"):  # temporary files of processes that were killed
        with suppress(OSError):  # another process has removed it, or this user may not
            if path.stat().st_mtime < time.time() - STALE_SECONDS:
                path.unlink()
    found = []
    for path in folder.glob("*.pt"):
        with suppress(FileNotFoundError):
            about = path.stat()
            found.append((path == newest, about.st_mtime, about.st_size, path))
    total = sum(size for _, _, size, _ in found)
    for _, _, size, path in sorted(found):
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
