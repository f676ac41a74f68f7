"""Shared values of the tests: a few real images, a configuration that trains in a second, and how to finish a trial."""

import dataclasses
import gc
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet, load
from proxy_attention.data.sources import open_sample
from proxy_attention.data.splits import draw_split
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.models import Classifier, build
from proxy_attention.records import EpochRecord, TrialReport
from proxy_attention.training import new_state, train_epoch
from proxy_attention.trial import run_trial

QUICK: dict[str, Any] = {
    "model": "test_efficientnet",  # the fastest of timm's three tiny architectures
    "image_size": 32,
    "schedule": "1,p",
    "precision": "fp32",
    "threads": 1,
    "seed": 3,
}

Finished = tuple[list[EpochRecord], TrialReport]


def part_of(images: ImageSet, ids: torch.Tensor) -> ImageSet:
    """The images with these numbers as a data set of its own, with a digest of its own."""
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
    """Two tests that compare bits must not depend on which of them ran a trial before."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def frozen_libraries() -> Iterator[None]:
    """What was imported is no garbage: collecting after every proxy step need not search a million objects for it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def sample() -> ImageSet:
    """The whole embedded sample at 32 pixels. Read only."""
    return load(open_sample(), 32)


@pytest.fixture(scope="session")
def small(sample: ImageSet) -> ImageSet:
    """300 images of the sample, 22 a class to train and choose with and 8 a class of its own test. Read only."""
    ids = []
    for cls in range(len(sample.classes)):
        for own_test, count in ((False, 22), (True, 8)):
            ids.append(((sample.labels == cls) & (sample.own_test == own_test)).nonzero().flatten()[:count])
    return part_of(sample, torch.cat(ids).sort().values)


@pytest.fixture(scope="session")
def tiny(small: ImageSet) -> ImageSet:
    """100 images: 7 a class to train and choose with and 3 a class of its own test. Read only."""
    ids = []
    for cls in range(len(small.classes)):
        for own_test, count in ((False, 7), (True, 3)):
            ids.append(((small.labels == cls) & (small.own_test == own_test)).nonzero().flatten()[:count])
    return part_of(small, torch.cat(ids).sort().values)


@pytest.fixture(scope="session")
def config() -> Callable[..., TrialConfig]:
    """A configuration that trains in about a second, with these fields changed."""

    def make(**changes: Any) -> TrialConfig:
        return TrialConfig(**{**QUICK, **changes})

    return make


@pytest.fixture(scope="session")
def finish() -> Callable[..., Finished]:
    """Run a trial to its end: the records of the epochs that were trained, and the report."""

    def run(config: TrialConfig, images: ImageSet, directory: Path | None = None) -> Finished:
        *epochs, last = list(run_trial(config, images, directory=directory))
        assert last.report is not None
        return [progress.record for progress in epochs], last.report

    return run


@pytest.fixture(scope="session")
def metrics() -> Callable[..., dict[str, Any]]:
    """A record or report without what a clock or the process decides."""

    def pick(record: EpochRecord | TrialReport, *without: str) -> dict[str, Any]:
        return {
            name: value
            for name, value in dataclasses.asdict(record).items()
            if not name.endswith(("_seconds", "_mb")) and name not in without
        }

    return pick


@pytest.fixture(scope="session")
def training_set_of() -> Callable[..., TrainingSet]:
    """The training set with which a trial of this configuration starts."""

    def make(config: TrialConfig, images: ImageSet) -> TrainingSet:
        split = draw_split(images.labels.numpy(), images.own_test.numpy(), config)
        return TrainingSet(
            images.images,
            images.labels,
            train=split.train,
            proxies=Proxies.none(images.images),
            substitute=config.substitute,
        )

    return make


@pytest.fixture(scope="session")
def trained(config: Callable[..., TrialConfig], small: ImageSet, training_set_of: Callable[..., Any]) -> Classifier:
    """A classifier after four epochs on the small set, right about some images and wrong about others. Read only."""
    trial = config(schedule="4")
    model = build(trial.model, classes=10, image_size=32, weights="none", seed=0).to(torch.device("cpu"))
    training_set = training_set_of(trial, small)
    state = new_state(model, trial, images=len(training_set), device=torch.device("cpu"))
    for epoch in range(4):
        train_epoch(state, training_set, trial, epoch=epoch)
    return model
