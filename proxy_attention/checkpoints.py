"""Checkpoints of a trial: written whole, read back or passed over, the newest few kept."""

import logging
from pathlib import Path
from typing import Any

from proxy_attention.errors import CheckpointError
from proxy_attention.files import write_atomic

KEPT = 2
log = logging.getLogger(__name__)


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
