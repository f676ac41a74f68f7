"""Runs one planned trial in a worker of Tune: reports every epoch, and releases the memory at the end."""

import os
import platform
import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from proxy_attention.data.cache import LIMIT_MB
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.images import ImageSet
from proxy_attention.errors import ConfigError
from proxy_attention.files import write_atomic, write_epochs, write_json
from proxy_attention.memory import clear_caches, live_tensors
from proxy_attention.models.weights import weights_digest
from proxy_attention.proxies.step import Examples
from proxy_attention.records import EpochRecord
from proxy_attention.shared_states import Sharing
from proxy_attention.trial import run_trial
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import checksums_of, read_recipes
from study.execution.tensorboard import PADDING, TensorBoardLog, sheet
from study.plan import PlannedTrial
from study.planned_images import images_of
from study.provenance import code_digest
from study.run_folder import RunFolder, TrialFolder

SLACK_TENSORS, SLACK_MB = 64, 64.0
"""Number of tensors and MiB of GPU memory that a worker may gain after its first trial, such as for other images."""

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class WorkerSettings:
    """Settings that all trials of a run share. Paths are absolute: a worker has another working directory.

    Attributes:
        run: the run's folder.
        data_root: where the data set lies, or None.
        device: ``cuda`` or ``cpu``.
        commit: commit of the code, which trial.json records.
        sharing: the states that trials share; None if they share none.
        cache: where decoded images lie for all processes of a host; None to decode in each.
        cache_mb: disk space that they may take, in MiB.
        max_pixels: the most pixels of an image.
        reuse: whether a worker trains one trial after another.
        code: digest of the driver's source code; a worker with another refuses to train. Empty: not compared.
    """

    run: RunFolder
    data_root: Path | None
    device: str
    commit: str
    sharing: Sharing | None = None
    cache: Path | None = None
    cache_mb: int = LIMIT_MB
    max_pixels: int = MAX_PIXELS
    reuse: bool = True
    code: str = ""


def metrics(planned: PlannedTrial, record: EpochRecord, *, trained: bool = True) -> dict[str, Any]:
    """Return the values that Tune is told after every epoch: always the same keys, nothing of the test split.

    Args:
        trained: whether this trial has trained the epoch itself.
    """
    return {
        "trial": planned.trial_id,
        "arm": planned.arm,
        "epochs_done": record.epoch + 1,
        "val_accuracy": record.val_accuracy,
        "val_loss": record.val_loss,
        "train_accuracy": record.train_accuracy,
        "train_loss": record.train_loss,
        "proxy_images": record.proxy_images,
        "train_seconds": record.train_seconds,
        "proxy_seconds": record.proxy_seconds,
        "trained": int(trained),
    }


def memory_came_back(device: str) -> bool:
    """Whether this worker holds about as much memory as after its first trial; if not, it must not train another."""
    tensors, allocated_mb = _held(device)
    tensors_first, allocated_first_mb = _held_at_first(device)
    return tensors <= tensors_first + SLACK_TENSORS and allocated_mb <= allocated_first_mb + SLACK_MB


@cache
def _held_at_first(device: str) -> tuple[int, float]:
    """Return what the first call of ``_held`` returned, after the worker's first trial."""
    return _held(device)


def _held(device: str) -> tuple[int, float]:
    """Return the number of live tensors, and the allocated GPU memory in MiB."""
    return live_tensors(), torch.cuda.memory_allocated() / 2**20 if device == "cuda" else 0.0


def run_planned(planned: PlannedTrial, settings: WorkerSettings, report: Report) -> None:
    """Run one planned trial to its end, from its newest checkpoint; write everything about it into its folder.

    If another trial of the run with the same digest is complete, its result is copied and nothing is trained.
    A trial that is complete itself (its worker died afterwards) is only reported.

    Raises: the error that stopped the trial, after it is written to ``error.json``.
    """
    started = time.perf_counter()
    folder = settings.run.trial(planned.trial_id)
    if folder.is_complete:
        report(metrics(planned, folder.epochs()[-1], trained=False))
        return
    folder.begin(planned, settings.commit)
    try:
        if settings.code not in ("", code_digest()):
            raise ConfigError(
                f"the code of {platform.node()} must be the driver's; its study and proxy_attention are "
                f"{code_digest()[:12]}, the driver's {settings.code[:12]} (SHA-256 of the source files)"
            )
        twin = _complete_twin(planned, settings.run)
        if twin is not None:
            _take_over(twin, folder, planned, report, started)
        else:
            _train(planned, settings, folder, report)
    except Exception as error:  # not KeyboardInterrupt: an interrupted trial goes on later
        with suppress(OSError):  # on a full disk this fails, too, and must not hide the error itself
            folder.write_error(planned, f"{type(error).__name__}: {error}", traceback.format_exc())
        traceback.clear_frames(error.__traceback__)  # else the traceback keeps the model alive in a reused worker
        raise
    finally:
        clear_caches(torch.device(settings.device))


def _train(planned: PlannedTrial, settings: WorkerSettings, folder: TrialFolder, report: Report) -> None:
    """Train the trial to its end; report every epoch, and write its curves and examples."""
    config = planned.config
    images = images_of(
        planned,
        settings.data_root,
        cache=settings.cache,
        cache_mb=settings.cache_mb,
        max_pixels=settings.max_pixels,
    )
    if config.digest(data=images.digest, weights=weights_digest(config.weights)) != planned.config_digest:
        raise ConfigError(f"weights must be the file of the plan; {config.weights!r} has changed since it was made")
    reported = False
    if config.compile and settings.cache is not None:
        # compiled code is kept here, not in the system's temporary folder
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.run.compiled))
    trial = run_trial(config, images, device=settings.device, directory=folder.path, sharing=settings.sharing)
    # closed even if interrupted: the traceback would keep the trial alive, and with it the locks that others wait for
    with TensorBoardLog(folder.path) as board, closing(trial) as running:
        for progress in running:
            if progress.report is None:
                for record in (*progress.earlier, progress.record):
                    board.epoch(record)
                if progress.examples is not None:
                    board.examples(progress.record, progress.examples)
                    _keep_examples(folder, progress.record, progress.examples, images)
            else:
                _make_missing_examples(planned, folder, images, board)
                board.end(progress.record, progress.report)
            # a trial that is resumed after its last epoch yields no epoch, but Tune must know its accuracy
            if progress.report is None or not reported:
                trained = progress.report is None and not progress.borrowed
                report(metrics(planned, progress.record, trained=trained))
                reported = True


def _keep_examples(folder: TrialFolder, record: EpochRecord, examples: Examples, images: ImageSet) -> None:
    """Write the examples of a proxy step as a picture, and what its rows show; without examples, keep the last ones."""
    if not len(examples.ids):
        return
    rows = [
        {"image": images.names[number], "true": images.classes[true], "predicted": images.classes[predicted]}
        for number, true, predicted in zip(
            examples.ids.tolist(), examples.true.tolist(), examples.predicted.tolist(), strict=True
        )
    ]
    picture = Image.fromarray(sheet(examples).transpose(1, 2, 0))
    write_atomic(folder.proxies_png, lambda path: picture.save(path, format="PNG"))
    write_json(folder.proxies_file, {"epoch": record.epoch, "padding": PADDING, "rows": rows})


def _make_missing_examples(planned: PlannedTrial, folder: TrialFolder, images: ImageSet, board: TensorBoardLog) -> None:
    """Write the newest examples of a complete trial if it lacks them, because it took over a later epoch."""
    made = [record for record in folder.epochs() if record.made_images]
    kept = folder.proxies()
    if not made or (kept is not None and kept["epoch"] == made[-1].epoch):
        return
    recipes = read_recipes(folder.path)
    newest = max(number for number, recipe in enumerate(recipes) if len(recipe.ids))
    step = next(islice(replay_steps(planned.config, images, recipes), newest, None))
    board.examples(made[-1], step.examples)
    _keep_examples(folder, made[-1], step.examples, images)


def _complete_twin(planned: PlannedTrial, run: RunFolder) -> TrialFolder | None:
    """Find another complete trial with the same digest; a search may suggest a setting twice."""
    for folder in run.trial_folders(f"*-{planned.config_digest[:8]}"):
        if folder.trial_id == planned.trial_id:
            continue
        other = folder.planned()
        if other is not None and other.config_digest == planned.config_digest and folder.is_complete:
            return folder
    return None


def _take_over(twin: TrialFolder, folder: TrialFolder, planned: PlannedTrial, report: Report, started: float) -> None:
    """Copy the epochs, examples and result of another trial with the same digest; the wall time is that of copying."""
    epochs = twin.epochs()
    write_epochs(folder.epochs_file, epochs)
    for source, target in ((twin.proxies_png, folder.proxies_png), (twin.proxies_file, folder.proxies_file)):
        if source.exists():
            write_atomic(target, partial(shutil.copyfile, source))
    report(metrics(planned, epochs[-1], trained=False))
    wall_seconds = time.perf_counter() - started
    own = {"wall_seconds": wall_seconds, "same_as": twin.trial_id, "sha256_of": checksums_of(folder.path)}
    write_json(folder.report_file, {**(twin.report() or {}), **own})
