"""Fixtures of the tests: a few real images, a trial that takes a second, a small run of a study."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

# What trains is imported where it is used: the process that hands tests to the workers of xdist needs none of it.
if TYPE_CHECKING:
    import torch

    from proxy_attention.config import TrialConfig
    from proxy_attention.data.images import ImageSet
    from proxy_attention.data.training_set import TrainingSet
    from proxy_attention.models.classifier import Classifier
    from proxy_attention.records import EpochRecord, TrialReport

    Finished = tuple[list[EpochRecord], TrialReport]

QUICK: dict[str, Any] = {
    "model": "test_efficientnet",  # the fastest of timm's three tiny architectures
    "image_size": 32,
    "schedule": "1,p",
    "precision": "fp32",
    "threads": 1,
    "judge_images": 4,
    "seed": 3,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of whole studies first: of tests that run side by side, the longest must not begin last."""
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


def part_of(images: ImageSet, ids: torch.Tensor) -> ImageSet:
    """Make a data set of the images with these numbers, with a digest of its own."""
    names = tuple(images.names[i] for i in ids.tolist())
    return dataclasses.replace(
        images,
        images=images.images[ids].clone(),
        labels=images.labels[ids].clone(),
        own_test=images.own_test[ids].clone(),
        names=names,
        digest=hashlib.sha256(repr(names).encode()).hexdigest(),
    )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Use one thread, so that tests that compare bits do not depend on which tests ran before."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def frozen_libraries() -> Iterator[None]:
    """Exclude imported objects from garbage collection, which runs after every proxy step and would search them all."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def sample() -> ImageSet:
    """The whole embedded sample at 32 pixels. Read only."""
    from proxy_attention.data.embedded.sample import open_sample
    from proxy_attention.data.images import load

    return load(open_sample(), 32)


@pytest.fixture(scope="session")
def small(sample: ImageSet) -> ImageSet:
    """300 images of the sample: of each class 22 for train and val, and 8 of its own test split. Read only."""
    import torch

    ids = []
    for cls in range(len(sample.classes)):
        for own_test, count in ((False, 22), (True, 8)):
            ids.append(((sample.labels == cls) & (sample.own_test == own_test)).nonzero().flatten()[:count])
    return part_of(sample, torch.cat(ids).sort().values)


@pytest.fixture(scope="session")
def tiny(small: ImageSet) -> ImageSet:
    """100 images of the sample: of each class 7 for train and val, and 3 of its own test split. Read only."""
    import torch

    ids = []
    for cls in range(len(small.classes)):
        for own_test, count in ((False, 7), (True, 3)):
            ids.append(((small.labels == cls) & (small.own_test == own_test)).nonzero().flatten()[:count])
    return part_of(small, torch.cat(ids).sort().values)


@pytest.fixture(scope="session")
def config() -> Callable[..., TrialConfig]:
    """Make a configuration that trains in about a second, with these fields changed."""
    from proxy_attention.config import TrialConfig

    def make(**changes: Any) -> TrialConfig:
        return TrialConfig(**{**QUICK, **changes})

    return make


@pytest.fixture(scope="session")
def finish() -> Callable[..., Finished]:
    """Run a trial to its end; return the records of the epochs that were trained, and the report."""
    from proxy_attention.trial import run_trial

    def run(config: TrialConfig, images: ImageSet, directory: Path | None = None) -> Finished:
        *epochs, last = list(run_trial(config, images, directory=directory))
        assert last.report is not None
        return [progress.record for progress in epochs], last.report

    return run


@pytest.fixture(scope="session")
def metrics() -> Callable[..., dict[str, Any]]:
    """Return the fields of a record or report, without seconds, memory and the fields named."""

    def pick(record: EpochRecord | TrialReport, *without: str) -> dict[str, Any]:
        return {
            name: value
            for name, value in dataclasses.asdict(record).items()
            if not name.endswith(("_seconds", "_mb")) and name not in without
        }

    return pick


@pytest.fixture(scope="session")
def training_set_of() -> Callable[..., TrainingSet]:
    """Make the training set with which a trial of this configuration starts."""
    from proxy_attention.data.splits import draw_split
    from proxy_attention.data.training_set import Proxies, TrainingSet

    def make(config: TrialConfig, images: ImageSet) -> TrainingSet:
        split = draw_split(images.labels.numpy(), images.own_test.numpy(), config)
        return TrainingSet(
            images.images,
            images.labels,
            train=split.train,
            proxies=Proxies.none(images.images),
            substitute=config.substitute,
            repeats=config.repeats,
        )

    return make


@pytest.fixture(scope="session")
def trained(config: Callable[..., TrialConfig], small: ImageSet, training_set_of: Callable[..., Any]) -> Classifier:
    """A classifier after four epochs on the small set, right about some images and wrong about others. Read only."""
    import torch

    from proxy_attention.models.build import build
    from proxy_attention.training import new_state, train_epoch

    trial = config(schedule="4")
    model = build(trial.model, classes=10, image_size=32, weights="none", seed=0).to(torch.device("cpu"))
    training_set = training_set_of(trial, small)
    state = new_state(model, trial, images=len(training_set), device=torch.device("cpu"))
    for epoch in range(4):
        train_epoch(state, training_set, trial, epoch=epoch)
    return model


# ---- the study. Its modules are imported where they are used, because the library's tests must run without pandas.

STUDY = """
[study]
question = "Does a small thing work?"
seeds = [0, 1]
[fixed]
dataset = "folder"
model = "test_resnet"
image_size = 32
batch_size = 8
precision = "fp32"
threads = 1
judge_images = 4
[search]
schedule = ["2", "1,p"]
threshold = [0.3, 0.6]
[[arm]]
name = "random-mask"
schedule = "1,p"
threshold = 0.3
mask = "random"
"""
"""Eight trials of less than a second: on each of two seeds a baseline, two thresholds and a control."""


@pytest.fixture(scope="session")
def study_text() -> str:
    """A study.toml whose grid has eight trials; its images are in ``image_folder``."""
    return STUDY


@pytest.fixture
def study_file(study_text, tmp_path):
    """Write the small study, or another text, as a study.toml."""

    def write(text=study_text):
        folder = tmp_path / "asked"
        folder.mkdir(exist_ok=True)
        (folder / "study.toml").write_text(text)
        return str(folder)

    return write


def write_images(images: ImageSet, root: Path) -> Path:
    """Write PNG files of four classes: of each ten images for train and val, and four of its own test split."""
    from PIL import Image

    for cls in range(4):
        for own_test, count in ((False, 10), (True, 4)):
            folder = root / ("test" if own_test else "train") / images.classes[cls]
            folder.mkdir(parents=True)
            for i in ((images.labels == cls) & (images.own_test == own_test)).nonzero().flatten()[:count].tolist():
                pixels = images.images[i].permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(folder / f"{images.classes[cls]}_{i:04d}.png")
    return root


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the workers of xdist share: the first that needs it makes it, the others wait."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / name, base / f"{name}.done"
    with FileLock(base / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def image_folder(sample: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root of four classes, with 40 images for train and val and 16 of its own test split. Read only."""
    return made_once(tmp_path_factory, "images", lambda folder: write_images(sample, folder))


@pytest.fixture
def own_images(sample: ImageSet, tmp_path: Path) -> Path:
    """The same images in a folder that a test may change."""
    return write_images(sample, tmp_path / "images")


@pytest.fixture(scope="session")
def prepared_run(image_folder: Path) -> Callable[..., Any]:
    """Plan a run of a study's text on these images, write its plan.json, start nothing."""
    from study.planning.prepare import Prepared, write_plan
    from study.planning.request import Request
    from study.planning.resources import Machine
    from study.planning.study_file import parse_study

    def make(run: Path, text: str = STUDY, *, write: bool = True, **changes: Any) -> Any:
        request = Request(
            **{
                "study": parse_study(text),
                "search": "grid",
                "name": run.parent.name,
                "run": run,
                "suggestions": 0,
                "confirm": 0,
                "data_root": image_folder,
                "cpus_per_trial": None,
                "gpus_per_trial": None,
                "concurrency": None,
                "command": "python study/run.py",
                **changes,
            }
        )
        prepared = Prepared.of(request, Machine(cpus=2, gpus=0, total_cpus=2, total_gpus=0))
        if write:
            write_plan(prepared)
        return prepared

    return make


@pytest.fixture(scope="session")
def run_one() -> Callable[..., list[dict[str, Any]]]:
    """Run one planned trial of a prepared run in this process, without Ray; return what it reported."""
    from study.execution.worker import WorkerSettings, run_planned

    def run(prepared: Any, number: int, *, stop_after: int | None = None) -> list[dict[str, Any]]:
        reports: list[dict[str, Any]] = []

        def report(metrics: dict[str, Any]) -> None:
            reports.append(metrics)
            if len(reports) == stop_after:
                raise KeyboardInterrupt

        settings = WorkerSettings(prepared.run, prepared.settings.data_root, "cpu", "abc123")
        run_planned(prepared.plan.trials[number], settings, report)
        return reports

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, prepared_run: Any, run_one: Any) -> Path:
    """A complete run of the eight trials, trained once for all workers of xdist. Read only."""
    from study.reporting.report import finish

    def train(folder: Path) -> None:
        prepared = prepared_run(folder / "small" / "grid")
        for number in range(len(prepared.plan.trials)):
            run_one(prepared, number)
        finish(prepared.run.path)

    return made_once(tmp_path_factory, "finished", train) / "small" / "grid"


@pytest.fixture(scope="session")
def broken_run(tmp_path_factory: pytest.TempPathFactory, prepared_run: Any, run_one: Any) -> Path:
    """A run whose four trials are complete, interrupted, failed and missing, in this order. Read only."""
    from proxy_attention.errors import DivergedError

    text = STUDY.replace("seeds = [0, 1]", "seeds = [0]").replace("threshold = [0.3, 0.6]", "threshold = [0.3]")
    text = text.replace('mask = "random"', "lr = 1e30") + '[[arm]]\nname = "late"\nschedule = "1,p"\n'

    def train(folder: Path) -> None:
        prepared = prepared_run(folder / "small" / "grid", text)
        run_one(prepared, 0)
        with pytest.raises(KeyboardInterrupt):
            run_one(prepared, 1, stop_after=1)
        with pytest.raises(DivergedError):
            run_one(prepared, 2)

    return made_once(tmp_path_factory, "broken", train) / "small" / "grid"
