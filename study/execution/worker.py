"""One Tune trial: run the library's trial in this worker, report every epoch, give the memory back."""

import json
import os
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
from proxy_attention.data.images import ImageSet
from proxy_attention.files import write_atomic, write_json
from proxy_attention.memory import clear_caches, live_tensors
from proxy_attention.proxies.step import Examples
from proxy_attention.records import EpochRecord, as_json
from proxy_attention.shared_states import Sharing
from proxy_attention.trial import run_trial
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import read_recipes
from study.execution.tensorboard import PADDING, TensorBoardLog, sheet
from study.plan import PlannedTrial, folder_of, is_complete, read_json
from study.planned_images import images_of

SLACK_TENSORS, SLACK_MB = 64, 64.0
"""What a worker may hold beyond what it held after its first trial: other images, another method's tables."""

SHEET = ("proxies.png", "proxies.json")
"""A few proxies of a trial beside their originals, and what its rows show."""

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class WorkerSettings:
    """What every trial of a run shares. Paths are absolute: a worker has another working directory.

    Attributes:
        run: the run's folder.
        data_root: where the data set lies, or None.
        device: ``cuda`` or ``cpu``.
        commit: of the code, for the record.
        sharing: what the trials share of their epochs; None for nothing.
        cache: where decoded images lie for all processes of a host; None to decode in each.
        cache_mb: disk that they may take.
        reuse: whether a worker trains one trial after another.
    """

    run: Path
    data_root: Path | None
    device: str
    commit: str
    sharing: Sharing | None = None
    cache: Path | None = None
    cache_mb: int = LIMIT_MB
    reuse: bool = True


def metrics(planned: PlannedTrial, record: EpochRecord, *, trained: bool = True) -> dict[str, Any]:
    """What is reported to Tune after every epoch: always the same keys, nothing of the test split.

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


def write_error(folder: Path, planned: PlannedTrial, error: str, trace: str = "") -> None:
    """Write down why a trial failed."""
    values = {"error": " ".join(error.split()), "traceback": trace, "config": planned.config.as_dict()}
    write_json(folder / "error.json", values)


def memory_came_back(device: str) -> bool:
    """Whether this worker holds no more than it did after its first trial; else it must not train another."""
    tensors, allocated_mb = _held(device)
    tensors_first, allocated_first_mb = _held_at_first(device)
    return tensors <= tensors_first + SLACK_TENSORS and allocated_mb <= allocated_first_mb + SLACK_MB


@cache
def _held_at_first(device: str) -> tuple[int, float]:
    return _held(device)


def _held(device: str) -> tuple[int, float]:
    return live_tensors(), torch.cuda.memory_allocated() / 2**20 if device == "cuda" else 0.0


def run_planned(planned: PlannedTrial, workplace: WorkerSettings, report: Report) -> None:
    """Run one planned trial to its end, from wherever it was cut; its folder then tells everything about it.

    A trial of the run with the same digest that is complete is not trained again: its report is taken over. One that
    is complete itself (its worker died after it) only says so.

    Raises: whatever stopped the trial, after it is written down in ``error.json``.
    """
    started = time.perf_counter()
    folder = folder_of(workplace.run, planned.trial_id)
    if is_complete(workplace.run, planned.trial_id):
        report(metrics(planned, _epochs_of(folder)[-1], trained=False))
        return
    write_json(folder / "trial.json", {"planned": planned.as_dict(), "commit": workplace.commit})
    (folder / "error.json").unlink(missing_ok=True)
    try:
        twin = _complete_twin(planned, workplace.run)
        if twin is not None:
            _take_over(twin, folder, planned, report, started)
        else:
            _train(planned, workplace, folder, report)
    except Exception as error:  # an interruption is no failure: the trial goes on later
        with suppress(OSError):  # a full disk is the error itself, and must not hide behind one of writing it down
            write_error(folder, planned, f"{type(error).__name__}: {error}", traceback.format_exc())
        traceback.clear_frames(error.__traceback__)  # else the traceback keeps the model alive in a reused worker
        raise
    finally:
        clear_caches(torch.device(workplace.device))


def _train(planned: PlannedTrial, workplace: WorkerSettings, folder: Path, report: Report) -> None:
    config = planned.config
    images = images_of(planned, workplace.data_root, cache=workplace.cache, cache_mb=workplace.cache_mb)
    reported = False
    if config.compile and workplace.cache is not None:  # else it writes to the system's temporary folder
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(workplace.cache / "compiled"))
    trial = run_trial(config, images, device=workplace.device, directory=folder, sharing=workplace.sharing)
    # closed even if interrupted: the traceback would keep the trial alive, and with it the locks that others wait for
    with TensorBoardLog(folder) as scalars, closing(trial) as running:
        for progress in running:
            if progress.report is None:
                for record in (*progress.earlier, progress.record):
                    scalars.epoch(record)
                if progress.examples is not None:
                    scalars.examples(progress.record, progress.examples)
                    _keep_examples(folder, progress.record, progress.examples, images)
            else:
                _make_missing_examples(planned, folder, images, scalars)
                scalars.end(progress.record, progress.report)
            if progress.report is None or not reported:  # a trial cut after its last epoch still tells its accuracy
                trained = progress.report is None and not progress.borrowed
                report(metrics(planned, progress.record, trained=trained))
                reported = True


def _keep_examples(folder: Path, record: EpochRecord, examples: Examples, images: ImageSet) -> None:
    """Write the sheet of the newest step that made any, and what its rows show."""
    if not len(examples.ids):
        return
    rows = [
        {"image": images.names[number], "true": images.classes[true], "predicted": images.classes[predicted]}
        for number, true, predicted in zip(
            examples.ids.tolist(), examples.true.tolist(), examples.predicted.tolist(), strict=True
        )
    ]
    picture = Image.fromarray(sheet(examples).transpose(1, 2, 0))
    drawn, told = (folder / name for name in SHEET)
    write_atomic(drawn, lambda path: picture.save(path, format="PNG"))
    write_json(told, {"epoch": record.epoch, "padding": PADDING, "rows": rows})


def _make_missing_examples(planned: PlannedTrial, folder: Path, images: ImageSet, scalars: TensorBoardLog) -> None:
    """Keep a complete trial's newest sheet where it has none: it took over an epoch beyond the step from another."""
    made = [record for record in _epochs_of(folder) if record.made_images]
    if not made or (read_json(folder / SHEET[1]) or {}).get("epoch") == made[-1].epoch:
        return
    recipes = read_recipes(folder)
    newest = max(number for number, recipe in enumerate(recipes) if len(recipe.ids))
    step = next(islice(replay_steps(planned.config, images, recipes), newest, None))
    scalars.examples(made[-1], step.examples)
    _keep_examples(folder, made[-1], step.examples, images)


def _complete_twin(planned: PlannedTrial, run: Path) -> Path | None:
    """Another trial's folder with the same digest and a report: a search may suggest a setting twice."""
    for folder in sorted((run / "trials").glob(f"*-{planned.config_digest[:8]}")):
        other = read_json(folder / "trial.json")
        same = other is not None and other["planned"]["config_digest"] == planned.config_digest
        if same and folder.name != planned.trial_id and is_complete(run, folder.name):
            return folder
    return None


def _epochs_of(folder: Path) -> list[EpochRecord]:
    return [EpochRecord(**epoch) for epoch in json.loads((folder / "epochs.json").read_text(encoding="utf-8"))]


def _take_over(twin: Path, folder: Path, planned: PlannedTrial, report: Report, started: float) -> None:
    """Report the twin's epochs, and its result with the little time that this took."""
    epochs = _epochs_of(twin)
    result = json.loads((twin / "report.json").read_text(encoding="utf-8"))
    write_json(folder / "epochs.json", [as_json(epoch) for epoch in epochs])
    for name in SHEET:
        if (twin / name).exists():
            write_atomic(folder / name, partial(shutil.copyfile, twin / name))
    report(metrics(planned, epochs[-1], trained=False))
    write_json(
        folder / "report.json",
        {**result, "wall_seconds": time.perf_counter() - started, "same_as": twin.name},
    )
