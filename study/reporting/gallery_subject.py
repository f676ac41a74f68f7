"""The networks that the gallery shows: trained on embedded images or crops of a photograph, with their wrong images."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.datasets import load_sample_image

from proxy_attention import seeds
from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.data.splits import draw_split
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.models.build import build_for
from proxy_attention.models.classifier import Classifier
from proxy_attention.proxies.scoring import Scores, clean_scores, scoring_key
from proxy_attention.proxies.step import Examples, proxy_step
from proxy_attention.saliency.registry import METHODS
from proxy_attention.training import new_state, train_epoch

Tell = Callable[[str], None]

PHOTOGRAPHS = ("china", "flower")
"""Those that scikit-learn ships, CC BY 2.0; its README names their authors."""


FLOWER = (107, 10, 400)
"""Left, top and side of the square that is shown of the second, in its pixels."""


@dataclass(frozen=True)
class Size:
    """How much is trained and drawn. The defaults are what is published; tests take less."""

    image_size: int = 112
    epochs: int = 5
    train_fraction: float = 0.5
    crops: int = 96
    columns: int = 3
    methods: tuple[str, ...] = field(default_factory=lambda: tuple(METHODS))


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained classifier, the images that it was trained on, and what it makes of them."""

    model: Classifier
    training_set: TrainingSet
    scores: Scores
    config: TrialConfig
    classes: tuple[str, ...]


def subject_config(size: Size, model: str) -> TrialConfig:
    return TrialConfig(
        model=model,
        image_size=size.image_size,
        schedule=str(size.epochs),
        train_fraction=size.train_fraction,
        precision="fp32",
        threads=1,
    )


def photograph_config(size: Size) -> TrialConfig:
    # a crop is told from its colours at once: few images are enough, and a mirrored one is another picture
    return dataclasses.replace(
        subject_config(size, "test_resnet"), dataset="folder", augment="none", train_fraction=1.0
    )


def photograph_crops(size: Size) -> ImageSet:
    """Square crops of two photographs, the shown one of the second first of its class."""
    draws = seeds.table(size.crops, 3, 0, "gallery-crops").tolist()
    images, names = [], []
    for name in PHOTOGRAPHS:
        pixels = torch.from_numpy(load_sample_image(f"{name}.jpg").copy()).permute(2, 0, 1)
        height, width = pixels.shape[1:]
        squares = [FLOWER] if name == PHOTOGRAPHS[1] else []
        for left, top, share in draws[len(squares) :]:
            side = int(height * (0.5 + 0.5 * share))
            squares.append((int(left * (width - side)), int(top * (height - side)), side))
        for left, top, side in squares:
            crop = pixels[None, :, top : top + side, left : left + side].float()
            images.append(torch.nn.functional.interpolate(crop, size=(size.image_size,) * 2, mode="area")[0])
            names.append(f"{name} {left} {top} {side}")
    return ImageSet(
        images=torch.stack(images).round().to(torch.uint8),
        labels=torch.arange(len(PHOTOGRAPHS)).repeat_interleave(size.crops),
        own_test=torch.zeros(len(names), dtype=torch.bool),
        names=tuple(names),
        classes=PHOTOGRAPHS,
        digest="",
    )


def learn(config: TrialConfig, images: ImageSet, *, tell: Tell) -> Subject:
    """Train a classifier as a trial does, and score its training images; no other image is looked at."""
    # crops of two photographs are no data set: there is nothing to choose or to test
    everything = images.classes == PHOTOGRAPHS
    train = (
        np.arange(len(images))
        if everything
        else draw_split(images.labels.numpy(), images.own_test.numpy(), config).train
    )
    training_set = TrainingSet(
        images.images, images.labels, train=train, proxies=Proxies.none(images.images), substitute=config.substitute
    )
    model = build_for(config, classes=len(images.classes)).to(torch.device("cpu"))
    state = new_state(model, config, images=len(training_set), device=torch.device("cpu"))
    for epoch in range(config.planned.total_epochs):
        tell(f"{config.model} on {len(train)} images: epoch {epoch + 1} of {config.planned.total_epochs}")
        train_epoch(state, training_set, config, epoch=epoch)
    return Subject(model, training_set, clean_scores(model, training_set, config), config, images.classes)


def step(subject: Subject, ids: torch.Tensor, **fields: object) -> Examples:
    """What a proxy step makes of these images under these fields: eight at most.

    Args:
        ids: (E,) int64 ascending, training images; they need not be wrong.
    """
    config = dataclasses.replace(subject.config, **fields)  # type: ignore[arg-type]
    fits = scoring_key(config) == scoring_key(subject.config)
    scores = dataclasses.replace(
        subject.scores,
        wrong=torch.isin(subject.scores.ids, ids),
        maps=subject.scores.maps if fits else None,
    )
    return proxy_step(subject.model, subject.training_set, scores, config, step=0).examples


def wrong_images(subject: Subject, count: int) -> torch.Tensor:
    """Wrong training images, the first of each true class, as many classes as asked for; (count,) ascending."""
    wrong = subject.scores.ids[subject.scores.wrong]
    labels = subject.training_set.labels_of(wrong).tolist()
    first: dict[int, int] = {}
    for label, number in zip(labels, wrong.tolist(), strict=True):
        first.setdefault(label, number)
    return torch.tensor(sorted(list(first.values())[:count]), dtype=torch.int64)
