"""One Tune trial: run the library's trial in this worker, report every epoch, give the memory back."""

import json
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from proxy_attention.data.images import ImageSet, load
from proxy_attention.data.sources import open_source
from proxy_attention.errors import DataError
from proxy_attention.memory import clear_caches
from proxy_attention.proxies import Examples
from proxy_attention.records import EpochRecord
from proxy_attention.storage import write_atomic, write_json
from proxy_attention.trial import run_trial
from study.plan import PlannedTrial, folder_of, is_complete, read_json
from study.scalars import PADDING, Scalars, sheet

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Workplace:
    """What every trial of a run shares. Paths are absolute: a worker has another working directory.

    Attributes:
        run: the run's folder.
        data_root: where the data set lies, or None.
        device: ``cuda`` or ``cpu``.
        commit: of the code, for the record.
    """

    run: Path
    data_root: Path | None
    device: str
    commit: str


def metrics(planned: PlannedTrial, record: EpochRecord) -> dict[str, Any]:
    """What is reported to Tune after every epoch: always the same keys, nothing of the test split."""
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
    }


def write_error(folder: Path, planned: PlannedTrial, error: str, trace: str = "") -> None:
    """Write down why a trial failed."""
    values = {"error": " ".join(error.split()), "traceback": trace, "config": planned.config.as_dict()}
    write_json(folder / "error.json", values)


def run_planned(planned: PlannedTrial, workplace: Workplace, report: Report) -> None:
    """Run one planned trial to its end, from wherever it was cut; its folder then tells everything about it.

    A trial of the run with the same digest that is complete is not trained again: its report is taken over.

    Raises: whatever stopped the trial, after it is written down in ``error.json``.
    """
    started = time.perf_counter()
    folder = folder_of(workplace.run, planned.trial_id)
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


def _train(planned: PlannedTrial, workplace: Workplace, folder: Path, report: Report) -> None:
    config = planned.config
    images = _images(workplace.data_root, config.dataset, config.image_size, config.on_bad_image, config.label_function)
    if images.digest != planned.data_digest:
        raise DataError(
            f"the images of {config.dataset} must be those of the plan; they have changed since it was made"
        )
    reported = False
    with Scalars(folder) as scalars:
        for progress in run_trial(config, images, device=workplace.device, directory=folder):
            if progress.report is None:
                scalars.epoch(progress.record)
                if progress.examples is not None:
                    scalars.examples(progress.record, progress.examples)
                    _keep_examples(folder, progress.record, progress.examples, images)
            else:
                scalars.end(progress.record, progress.report)
            if progress.report is None or not reported:  # a trial cut after its last epoch still tells its accuracy
                report(metrics(planned, progress.record))
                reported = True


def _keep_examples(folder: Path, record: EpochRecord, examples: Examples, images: ImageSet) -> None:
    """Write ``proxies.png``, the sheet of the newest step that made any, and ``proxies.json``, what its rows show."""
    if not len(examples.ids):
        return
    rows = [
        {"image": images.names[number], "true": images.classes[true], "predicted": images.classes[predicted]}
        for number, true, predicted in zip(
            examples.ids.tolist(), examples.true.tolist(), examples.predicted.tolist(), strict=True
        )
    ]
    picture = Image.fromarray(sheet(examples).transpose(1, 2, 0))
    write_atomic(folder / "proxies.png", lambda path: picture.save(path, format="PNG"))
    write_json(folder / "proxies.json", {"epoch": record.epoch, "padding": PADDING, "rows": rows})


@lru_cache(maxsize=1)
def _images(root: Path | None, dataset: str, size: int, on_bad_image: str, label_function: str) -> ImageSet:
    """The images, kept for the next trial of a reused worker; no trial writes to them."""
    return load(open_source(dataset, root, label_function), size, on_bad_image)


def _complete_twin(planned: PlannedTrial, run: Path) -> Path | None:
    """Another trial's folder with the same digest and a report: a search may suggest a setting twice."""
    for folder in sorted((run / "trials").glob(f"*-{planned.config_digest[:8]}")):
        other = read_json(folder / "trial.json")
        same = other is not None and other["planned"]["config_digest"] == planned.config_digest
        if same and folder.name != planned.trial_id and is_complete(run, folder.name):
            return folder
    return None


def _take_over(twin: Path, folder: Path, planned: PlannedTrial, report: Report, started: float) -> None:
    """Report the twin's epochs, and its result with the little time that this took."""
    epochs = json.loads((twin / "epochs.json").read_text(encoding="utf-8"))
    result = json.loads((twin / "report.json").read_text(encoding="utf-8"))
    write_json(folder / "epochs.json", epochs)
    for epoch in epochs:
        report(metrics(planned, EpochRecord(**epoch)))
    write_json(
        folder / "report.json",
        {**result, "wall_seconds": time.perf_counter() - started, "same_as": twin.name},
    )
