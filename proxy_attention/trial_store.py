"""Files of a trial: checkpoints and epochs.json while it runs; weights, recipes and report.json at its end."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from proxy_attention.checkpoints import (
    FORMAT_WITHOUT_CHECKSUM,
    drop_checkpoints,
    newest_checkpoint,
    save_checkpoint,
)
from proxy_attention.checksums import file_sha256
from proxy_attention.files import (
    CHECKPOINTS_FOLDER,
    EPOCHS_FILE,
    RECIPES_FILE,
    REPORT_FILE,
    WEIGHTS_FILE,
    BackgroundWriter,
    write_atomic,
    write_epochs,
    write_json,
)
from proxy_attention.proxies.step import Recipe
from proxy_attention.records import EpochRecord, TrialReport, as_json
from proxy_attention.trial_state import FORMAT, TrialState

PARTS = ("ids", "predicted", "maps")
"""The tensors of a recipe, each stored as ``<step>.<part>``."""

log = logging.getLogger(__name__)


class TrialStore:
    """Writes the files of a trial, and restores its state from the newest checkpoint.

    Args:
        directory: the trial's own folder; None writes nothing.
        identity: the trial's digest; a checkpoint of another trial is refused.
        started: ``time.perf_counter()`` when this process started or resumed the trial.
    """

    def __init__(self, directory: Path | None, identity: str, *, started: float) -> None:
        self._directory, self._identity, self._started = directory, identity, started
        self._earlier_seconds = 0.0

    @property
    def wall_seconds(self) -> float:
        """Seconds that the trial has taken so far, including those before it was interrupted."""
        return self._earlier_seconds + time.perf_counter() - self._started

    def restore(self, state: TrialState) -> None:
        """Restore the state from the newest checkpoint that can be read; leave it as it is if there is none.

        Raises: CheckpointError for a checkpoint of another trial.
        """
        if self._directory is None:
            return
        saved = newest_checkpoint(self._directory / CHECKPOINTS_FOLDER, identity=self._identity)
        if saved is None or saved.get("format") not in (FORMAT, FORMAT_WITHOUT_CHECKSUM):
            return
        state.restore(saved)
        self._earlier_seconds = float(saved["wall_seconds"])
        log.info("resuming after epoch %d", state.epochs_done - 1)

    def checkpoint(self, state: TrialState, writer: BackgroundWriter) -> None:
        """Write a checkpoint and ``epochs.json`` while training goes on."""
        if self._directory is None:
            return
        saved = {"identity": self._identity, "wall_seconds": self.wall_seconds, **state.snapshot()}
        writer.submit(partial(_write, saved, list(state.records), self._directory))

    def complete(self, state: TrialState, report: TrialReport) -> None:
        """Write weights, recipes and, last of all, ``report.json``; then delete the checkpoints."""
        if self._directory is None:
            return
        weights = {name: tensor.contiguous() for name, tensor in state.training.model.module.state_dict().items()}
        write_atomic(self._directory / WEIGHTS_FILE, lambda path: save_file(weights, path))
        if state.recipes:
            write_atomic(self._directory / RECIPES_FILE, lambda path: save_file(_as_tensors(state.recipes), path))
        sums = checksums_of(self._directory)
        write_json(self._directory / REPORT_FILE, {"identity": self._identity, "sha256_of": sums, **as_json(report)})
        drop_checkpoints(self._directory / CHECKPOINTS_FOLDER)


def _write(saved: dict[str, Any], records: list[EpochRecord], directory: Path) -> None:
    save_checkpoint(directory / CHECKPOINTS_FOLDER, len(records), saved)
    write_epochs(directory / EPOCHS_FILE, records)


def checksums_of(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a report belongs to, by its name: epochs, weights, recipes."""
    files = [directory / name for name in (EPOCHS_FILE, WEIGHTS_FILE, RECIPES_FILE)]
    return {file.name: file_sha256(file) for file in files if file.exists()}


def _as_tensors(recipes: list[Recipe]) -> dict[str, torch.Tensor]:
    return {f"{recipe.step}.{part}": getattr(recipe, part).contiguous() for recipe in recipes for part in PARTS}


def read_recipes(directory: Path) -> list[Recipe]:
    """Read the recipes of a complete trial, one per proxy step that was not skipped; there may be none."""
    if not (directory / RECIPES_FILE).exists():
        return []
    tensors = load_file(directory / RECIPES_FILE)
    steps = sorted({int(name.partition(".")[0]) for name in tensors})
    return [Recipe(step, *(tensors[f"{step}.{part}"] for part in PARTS)) for step in steps]
