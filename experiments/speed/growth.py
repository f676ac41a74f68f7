"""How time and memory grow: with images, with trials, with rows of results; each size in a process of its own.

A child is started as ``python -m experiments.speed.growth WORK ARGUMENTS`` and prints one line of JSON.
"""

import dataclasses
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.speed.measure import (
    AS_FAST,
    Effort,
    Row,
    Section,
    Target,
    exponent,
    installed,
    race,
    row_of,
    slope,
    status_mb,
)
from study.provenance import ROOT
from study.run_folder import RunFolder

LINEAR = Target("at most", 1.1)
REPEATS = 3
TRIALS_IN_A_WORKER = 100
WARM = 10
"""Trials of a worker that are not counted: its libraries still fill their caches."""

STUDY = """
[study]
question = "How does the work of planning grow?"
seeds = [{seeds}]
[fixed]
dataset = "{dataset}"
model = "test_resnet"
image_size = 16
batch_size = 16
precision = "fp32"
threads = 1
[search]
schedule = ["1,p"]
threshold = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
"""
"""Ten trials a seed."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How far growth is followed."""

    images: tuple[int, ...] = (1_000, 4_000, 16_000, 64_000)
    trials: tuple[int, ...] = (10, 100, 1_000)
    in_a_worker: int = TRIALS_IN_A_WORKER
    rows: int = 1_000
    epochs: int = 40
    sampled: int = 50


TINY = Sizes(images=(100, 200), trials=(10, 20), in_a_worker=WARM + 2, rows=10, epochs=3, sampled=2)


def growth(effort: Effort) -> list[Section]:
    """Images, trials and rows."""
    sizes = TINY if effort.tiny else Sizes()
    notes = [
        "An exponent is the slope of log cost over log size, by least squares: 1 is linear. Each size has a process of",
        f"its own; of times, the median of {REPEATS}; memory is what is resident at the peak beyond the imports.",
        f"Memory of a worker: resident after each of {sizes.in_a_worker} tiny trials in one process; its slope from",
        f"trial {WARM} on.",
        f"Event files: {sizes.sampled} trials are read with TensorBoard's EventAccumulator; their time is taken times",
        f"{sizes.rows / sizes.sampled:g}.",
    ]
    rows = (*_images(sizes), *_trials(sizes), *_worker(sizes), *_rows(sizes, effort))
    return [Section("Growth", tuple(notes), rows)]


def _child(work: str, *arguments: object) -> Any:
    """What a fresh process says of this work."""
    command = [sys.executable, "-m", "experiments.speed.growth", work, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{work} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _growth_row(what: str, sizes: tuple[int, ...], costs: list[list[float]], unit: str, target: Target | None) -> Row:
    """Costs by size, repeated; an exponent of each repeat."""
    medians = [statistics.median(values) for values in costs]
    exponents = [exponent(sizes, [values[i] for values in costs]) for i in range(len(costs[0]))]
    said = ", ".join(f"{value:.3g}" for value in medians)
    return row_of(what, f"{said} {unit}", "", exponents, measure="(exponent)", target=target)


def _images(sizes: Sizes) -> Iterator[Row]:
    found = [_child("images", count) for count in sizes.images]
    named = ", ".join(f"{count:,}" for count in sizes.images)
    for phase in found[0]["seconds"][0]:
        costs = [[repeat[phase] for repeat in one["seconds"]] for one in found]
        yield _growth_row(f"{phase}: {named} images", sizes.images, costs, "s", LINEAR)
    yield _growth_row(f"memory: {named} images", sizes.images, [[one["memory_mb"]] for one in found], "MB", LINEAR)


def _trials(sizes: Sizes) -> Iterator[Row]:
    found = [_child("trials", count) for count in sizes.trials]
    named = ", ".join(f"{count:,}" for count in sizes.trials)
    for phase in found[0][0]:
        costs = [[repeat[phase] for repeat in one] for one in found]
        yield _growth_row(f"{phase}: {named} trials", sizes.trials, costs, "s", LINEAR)


def _worker(sizes: Sizes) -> Iterator[Row]:
    resident = _child("worker", sizes.in_a_worker)
    counted = resident[WARM:]
    value = slope(range(len(counted)), counted)
    said = f"{resident[0]:,.0f} MB after the first, {resident[-1]:,.0f} MB after trial {len(resident)}"
    yield row_of("memory of a worker", said, "", [value], measure="MB a trial", target=Target("at most", 0.2))


def _rows(sizes: Sizes, effort: Effort) -> Iterator[Row]:
    if not installed("tensorboard"):
        return
    from study.results import load_epochs, load_results

    with _folder() as storage:
        run = storage / "rows" / "grid"
        trials = _write_results(run, sizes)
        events = [run / "trials" / trial for trial in trials[: sizes.sampled]]

        def ours() -> None:
            results, epochs = load_results(run), load_epochs(run)
            assert (len(results), len(epochs)) == (sizes.rows, sizes.rows * sizes.epochs)

        found = race({"ours": ours, "event files": lambda: _read_events(events)}, effort)
    own = found.seconds["ours"]
    theirs = tuple(value * sizes.rows / sizes.sampled for value in found.seconds["event files"])
    what = f"results of {sizes.rows:,} trials x {sizes.epochs} epochs"
    said = (f"{statistics.median(own):.2f} s", f"{statistics.median(theirs):.1f} s")
    yield row_of(f"{what}: read", said[0], "", own, measure="s", target=Target("at most", 2.0))
    ratios = [other / mine for mine, other in zip(own, theirs, strict=True)]
    yield row_of(f"{what}: against event files", *said, ratios, measure=AS_FAST, target=Target("at least", 20.0))


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="speed-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _timed(seconds: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    made = work()
    seconds[name] = time.perf_counter() - started
    return made


def grow_images(count: int) -> dict[str, Any]:
    """Load, split, one epoch's order and augmentation table, one scoring pass; memory of the first time."""
    import numpy as np
    import torch
    from PIL import Image

    from proxy_attention.config import TrialConfig
    from proxy_attention.data.images import Catalogue, load
    from proxy_attention.data.splits import draw_split
    from proxy_attention.data.training_set import Proxies, TrainingSet
    from proxy_attention.models.build import build
    from proxy_attention.proxies.scoring import clean_scores

    torch.set_num_threads(2)
    config = TrialConfig(model="test_resnet", image_size=32, schedule="1,p", precision="fp32", threads=2)
    catalogue = Catalogue(
        names=tuple(map(str, range(count))),
        labels=tuple(i % 10 for i in range(count)),
        own_test=(False,) * count,
        classes=tuple("abcdefghij"),
        read=lambda i: np.random.default_rng(i).bytes(32 * 32 * 3),
        decode=lambda content: Image.frombytes("RGB", (32, 32), content),
    )
    classifier = build(config.model, classes=10, image_size=32, weights="none", seed=0).to(torch.device("cpu"))
    classifier(torch.zeros(2, 3, 32, 32))  # the kernels are found before the first time is taken
    before = status_mb("VmRSS")
    all_seconds = []
    memory = 0.0
    for _ in range(REPEATS):
        seconds: dict[str, float] = {}
        images = _timed(seconds, "load", lambda: load(catalogue, 32))
        split = _timed(seconds, "split", lambda i=images: draw_split(i.labels.numpy(), i.own_test.numpy(), config))
        training_set = TrainingSet(
            images.images,
            images.labels,
            train=split.train,
            proxies=Proxies.none(images.images),
            substitute="replace",
        )
        _timed(
            seconds,
            "order and augmentation table",
            lambda t=training_set: (t.epoch_order(0, 0), t.augmentation_table(2, 0, 0)),
        )
        _timed(seconds, "scoring pass", lambda t=training_set: clean_scores(classifier, t, config))
        seconds["all of it"] = sum(seconds.values())
        memory = memory or status_mb("VmHWM") - before
        all_seconds.append(seconds)
        del images, training_set
    return {"seconds": all_seconds, "memory_mb": memory}


def grow_trials(count: int) -> list[dict[str, float]]:
    """Plan a grid, write and read its plan, read its rows before any trial has begun."""
    from study.planning.planner import Planner
    from study.planning.search import grid_plan
    from study.planning.study_file import parse_study
    from study.results import load_results

    text = STUDY.format(seeds=", ".join(map(str, range(count // 10))), dataset="fashion-mnist-sample")
    found = []
    with _folder() as storage:
        for number in range(REPEATS):
            run = storage / str(number) / "grid"
            seconds: dict[str, float] = {}
            study = parse_study(text)
            planner = Planner.of(study, data_root=None, device="cpu", auto=lambda config: {})
            # the data set is read and the model built once, whatever follows; of a seed that is not in the plan
            planner.trial(0, "proxy", study.config({"schedule": "1,p"}, count))
            trials = _timed(seconds, "plan", lambda s=study, d=planner: grid_plan(s, d))
            assert len(trials) == count
            plan = _plan(trials)
            _timed(seconds, "write plan.json", lambda p=plan, r=run: RunFolder(r).write_plan(p))
            _timed(seconds, "read plan.json", lambda r=run: RunFolder(r).read_plan())
            _timed(seconds, "load_results", lambda r=run: load_results(r))
            seconds["all of the driver's work"] = sum(seconds.values())
            found.append(seconds)
    return found


def _plan(trials: tuple[Any, ...]) -> Any:
    from study.plan import Plan

    return Plan(
        search="grid",
        name="speed",
        question="",
        seeds=tuple(sorted({trial.config.seed for trial in trials})),
        trials=trials,
        confirmed=(),
        suggestions=0,
        confirm=0,
        measured={},
        options={"data_root": None, "cpus_per_trial": None, "gpus_per_trial": None, "concurrency": None},
        fingerprint="speed",
        about={"commit": "", "skipped_images": []},
    )


def grow_worker(count: int) -> list[float]:
    """Resident memory after each of so many trials that one process runs."""
    from PIL import Image

    from proxy_attention.memory import freeze_imports
    from study.execution.worker import WorkerSettings, run_planned
    from study.planning.planner import Planner
    from study.planning.search import grid_plan
    from study.planning.study_file import parse_study

    with _folder() as storage:
        for number in range(60):
            file = storage / "images" / str(number % 2) / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((16, 16), 20 + number).save(file)
        study = parse_study(STUDY.format(seeds=", ".join(map(str, range(-(-count // 10)))), dataset="folder"))
        planner = Planner.of(study, data_root=storage / "images", device="cpu", auto=lambda config: {})
        run = storage / "run"
        settings = WorkerSettings(RunFolder(run), storage / "images", "cpu", "")
        freeze_imports()  # as a worker of a study does
        resident = []
        for trial in grid_plan(study, planner)[:count]:
            run_planned(trial, settings, lambda metrics: None)
            resident.append(status_mb("VmRSS"))
    return resident


def _write_results(run: Path, sizes: Sizes) -> list[str]:
    """A complete run of so many trials, as its workers would have left it; event files for the sampled ones."""
    from proxy_attention.config import TrialConfig
    from proxy_attention.files import write_text
    from proxy_attention.records import as_json
    from study.plan import PlannedTrial

    trials = []
    records = [_record(epoch) for epoch in range(sizes.epochs)]
    epochs = _as_written([as_json(record) for record in records])
    for number in range(sizes.rows):
        config = TrialConfig(schedule=str(sizes.epochs), precision="fp32", threads=1, seed=number).canonical()
        digest = config.digest(data="speed", weights=None)
        name = f"{number:04d}-baseline-seed{number}-{digest[:8]}"
        trials.append(PlannedTrial(name, "baseline", config, digest, "speed", "speed"))
        folder = run / "trials" / name
        folder.mkdir(parents=True)
        (folder / "trial.json").write_text(_as_written({"planned": trials[-1].as_dict(), "commit": ""}))
        (folder / "epochs.json").write_text(epochs)
        (folder / "report.json").write_text(_as_written(_report(sizes.epochs)))
        if number < sizes.sampled:
            _write_events(folder, records, sizes)
    RunFolder(run).write_plan(_plan(tuple(trials)))
    write_text(run / "study.toml", STUDY)
    return [trial.trial_id for trial in trials]


def _as_written(values: Any) -> str:
    """As ``storage.write_json`` has it, without its fsync: a thousand of them are no part of what is measured."""
    return json.dumps(values, indent=1) + "\n"


def _write_events(folder: Path, records: list[Any], sizes: Sizes) -> None:
    """The same numbers as scalars: every field of every epoch, and the report at the end."""
    from tensorboardX import SummaryWriter

    from proxy_attention.records import as_json

    with SummaryWriter(str(folder)) as writer:
        for record in records:
            for name, value in as_json(record).items():
                if value is None:  # what an image without a group has none of
                    continue
                writer.add_scalar(f"epoch/{name}", value, record.epoch)
        for name, value in _report(sizes.epochs).items():
            writer.add_scalar(f"report/{name}", value, sizes.epochs)


def _record(epoch: int) -> Any:
    from proxy_attention.records import EpochRecord

    needed = (field for field in dataclasses.fields(EpochRecord) if field.default is dataclasses.MISSING)
    kinds = {field.name: field.type for field in needed}
    values = {name: False if kind is bool else epoch if kind is int else epoch / 7 for name, kind in kinds.items()}
    return EpochRecord(**values)


def _report(epochs: int) -> dict[str, Any]:
    from study.results import METRICS

    numbers = dict.fromkeys((name for name in METRICS if name != "judged_by"), 1 / 3)  # event files take no words
    return {**numbers, "epochs_done": epochs, "judged_images": 0, "proxy_images": 0, "flat_maps": 0}


def _read_events(folders: list[Path]) -> Any:
    """The trials as two frames, one row an epoch and one row a trial, from their event files."""
    import pandas as pd
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    epochs, reports = [], []
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        curves = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
        of_epochs = {tag: curve for tag, curve in curves.items() if tag.startswith("epoch/")}
        epochs.append(pd.DataFrame(of_epochs).assign(trial_id=folder.name))
        reports.append({tag: next(iter(curve.values())) for tag, curve in curves.items() if tag not in of_epochs})
    return pd.concat(epochs), pd.DataFrame(reports)


WORK: dict[str, Callable[[int], Any]] = {"images": grow_images, "trials": grow_trials, "worker": grow_worker}

if __name__ == "__main__":
    print(json.dumps(WORK[sys.argv[1]](int(sys.argv[2]))))
