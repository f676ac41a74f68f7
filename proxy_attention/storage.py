"""Files of one trial, each written whole or not at all; knows no model and nothing of what it stores."""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from proxy_attention.errors import CheckpointError

KEPT = 2
log = logging.getLogger(__name__)


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, flush it to the disk, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write text, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all; a NaN is refused, because other readers would refuse it."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


class Background:
    """One thread that writes while training goes on; one job at a time, so that memory holds one state beside it.

    Leaving the ``with`` block waits for the job. An error of a job is raised by the next ``submit``, or on leaving.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._job: Future[None] | None = None

    def __enter__(self) -> "Background":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if kind is None or kind is GeneratorExit:
                self.wait()
        finally:
            self._pool.shutdown(wait=True)

    def submit(self, job: Callable[[], None]) -> None:
        """Do this after the job before it, and meanwhile go on."""
        self.wait()
        self._job = self._pool.submit(job)

    def wait(self) -> None:
        """Wait for the job.

        Raises: its error.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()


def snapshot(state: Any) -> Any:
    """A copy on the CPU of nested dicts and lists of tensors, which the next step of training cannot reach."""
    import torch

    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(snapshot(value) for value in state)
    return state


def save_checkpoint(folder: Path, epochs_done: int, state: dict[str, Any]) -> None:
    """Keep this state as the newest checkpoint, and the one before it."""
    import torch  # here, because an analysis reads and writes JSON without it

    write_atomic(folder / f"epoch-{epochs_done:06d}.pt", lambda path: torch.save(state, path))
    for old in _checkpoints(folder)[KEPT:]:
        old.unlink()


def newest_checkpoint(folder: Path, *, identity: str) -> dict[str, Any] | None:
    """The newest readable checkpoint, or None; an unreadable one is named in the log and passed over.

    Args:
        identity: what the state must carry under that name.
    Raises: CheckpointError if it is another trial's.
    """
    for path in _checkpoints(folder):
        state = read_state(path)
        if state is None:
            log.warning("checkpoint %s is unreadable; the one before it is used", path)
            continue
        if state.get("identity") != identity:
            raise CheckpointError(f"checkpoint {path} belongs to another trial; move its folder away")
        return state
    return None


def read_state(path: Path) -> dict[str, Any] | None:
    """What ``torch.save`` wrote, tensors and plain values only; None if there is no such file, or it is damaged."""
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of a damaged file torch raises what it stumbles over: KeyError, IndexError, struct.error, ...
        return None
    return state if isinstance(state, dict) else None


def drop_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a trial that is complete."""
    for path in _checkpoints(folder):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("epoch-*.pt"), reverse=True)
