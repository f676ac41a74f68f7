"""Checkpoints of a trial: written whole or not at all, the newest kept; a damaged one is skipped when reading."""

import logging
from pathlib import Path
from typing import Any

from proxy_attention.checksums import append_checksum, compare_appended
from proxy_attention.errors import CheckpointError
from proxy_attention.files import write_atomic

KEPT = 2
"""How many checkpoints are kept: if the newest is damaged, the one before it is used."""
FORMAT_WITHOUT_CHECKSUM = 2
"""The last format of checkpoints that were written without a checksum; they are read as they are."""
log = logging.getLogger(__name__)


def snapshot(state: Any) -> Any:
    """Copy nested dicts and lists of tensors to the CPU, so that further training does not change the copy."""
    import torch

    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(snapshot(value) for value in state)
    return state


def save_checkpoint(folder: Path, epochs_done: int, state: dict[str, Any]) -> None:
    """Write the state as the newest checkpoint, and delete old ones so that ``KEPT`` remain."""
    write_atomic(folder / f"epoch-{epochs_done:06d}.pt", lambda path: write_state(path, state))
    for old in _checkpoints(folder)[KEPT:]:
        old.unlink()


def newest_checkpoint(folder: Path, *, identity: str) -> dict[str, Any] | None:
    """Read the newest checkpoint that is not damaged; skip a damaged one with a warning in the log.

    Args:
        identity: the trial's digest, which the checkpoint must hold.
    Returns: the state; None if no checkpoint can be read.
    Raises: CheckpointError if the checkpoint belongs to another trial.
    """
    for path in _checkpoints(folder):
        state = read_state(path)
        if state is None:
            log.warning("checkpoint %s is damaged; the one before it is used", path)
            continue
        if state.get("identity") != identity:
            raise CheckpointError(f"checkpoint {path} belongs to another trial; move its folder away")
        return state
    return None


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, a dict of tensors and plain values, and its checksum."""
    import torch  # imported here, so that importing this module does not load torch

    torch.save(state, path)
    append_checksum(path)


def read_state(path: Path) -> dict[str, Any] | None:
    """Read a state that ``write_state`` wrote, if its checksum is right.

    Returns: None if the file does not exist, is damaged, or holds anything else.
    """
    import torch

    try:
        has_checksum = compare_appended(path)
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # for a damaged file torch raises errors of any type: KeyError, IndexError, struct.error, ...
        return None
    if not isinstance(state, dict):
        return None
    return state if has_checksum or state.get("format") == FORMAT_WITHOUT_CHECKSUM else None


def drop_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a trial that is complete."""
    for path in _checkpoints(folder):
        path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _checkpoints(folder: Path) -> list[Path]:
    """List the checkpoint files, newest first."""
    return sorted(folder.glob("epoch-*.pt"), reverse=True)
