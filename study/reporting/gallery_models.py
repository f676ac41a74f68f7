"""Train the networks of the gallery on images of this package, and make proxies of their training images."""

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

Report = Callable[[str], None]

PHOTOGRAPHS = ("china", "flower")
"""The photographs that scikit-learn ships, CC BY 2.0; its README names their authors."""
FLOWER = (107, 10, 400)
"""The crop of the second photograph that the gallery shows: left, top and side in pixels."""


@dataclass(frozen=True)
class GallerySize:
    """How much the gallery trains and draws; the defaults are the published gallery."""

    image_size: int = 112
    epochs: int = 5
    train_fraction: float = 0.5
    crops: int = 96
    columns: int = 3
    methods: tuple[str, ...] = field(default_factory=lambda: tuple(METHODS))


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained classifier with its training images and their scores."""

    model: Classifier
    training_set: TrainingSet
    scores: Scores
    config: TrialConfig
    classes: tuple[str, ...]


def config_of(size: GallerySize, model: str) -> TrialConfig:
    """Return the config of a network that is trained on Fashion-MNIST images."""
    return TrialConfig(
        model=model,
        image_size=size.image_size,
        schedule=str(size.epochs),
        train_fraction=size.train_fraction,
        precision="fp32",
        threads=1,
    )


def photograph_config(size: GallerySize) -> TrialConfig:
    """Return the config of the network that is trained on crops of two photographs."""
    # a crop is told from its colours at once: few images are enough, and a mirrored one is another picture
    return dataclasses.replace(config_of(size, "test_resnet"), dataset="folder", augment="none", train_fraction=1.0)


def photograph_crops(size: GallerySize) -> ImageSet:
    """Cut square crops of two photographs; the first of the second photograph is ``FLOWER``."""
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


def train(config: TrialConfig, images: ImageSet, *, report: Report) -> TrainedNetwork:
    """Train a classifier as a trial does, and score its training images."""
    # crops of two photographs have no val and no test images
    everything = images.classes == PHOTOGRAPHS
    ids = (
        np.arange(len(images))
        if everything
        else draw_split(images.labels.numpy(), images.own_test.numpy(), config).train
    )
    training_set = TrainingSet(
        images.images, images.labels, train=ids, proxies=Proxies.none(images.images), substitute=config.substitute
    )
    model = build_for(config, classes=len(images.classes)).to(torch.device("cpu"))
    state = new_state(model, config, images=len(training_set), device=torch.device("cpu"))
    for epoch in range(config.planned.total_epochs):
        report(f"{config.model} on {len(ids)} images: epoch {epoch + 1} of {config.planned.total_epochs}")
        train_epoch(state, training_set, config, epoch=epoch)
    return TrainedNetwork(model, training_set, clean_scores(model, training_set, config), config, images.classes)


def proxies_of(network: TrainedNetwork, ids: torch.Tensor, **fields: object) -> Examples:
    """Make proxies of training images by a proxy step with these fields changed.

    Args:
        ids: (E,) int64 ascending, at most eight training images; they need not be wrong.
        fields: fields of TrialConfig.
    """
    config = dataclasses.replace(network.config, **fields)  # type: ignore[arg-type]
    fits = scoring_key(config) == scoring_key(network.config)
    scores = dataclasses.replace(
        network.scores,
        wrong=torch.isin(network.scores.ids, ids),
        maps=network.scores.maps if fits else None,
    )
    return proxy_step(network.model, network.training_set, scores, config, step=0).examples


def wrong_images(network: TrainedNetwork, count: int) -> torch.Tensor:
    """Return the first wrong training image of each of ``count`` true classes: (count,) int64 ascending."""
    wrong = network.scores.ids[network.scores.wrong]
    labels = network.training_set.labels_of(wrong).tolist()
    first: dict[int, int] = {}
    for label, number in zip(labels, wrong.tolist(), strict=True):
        first.setdefault(label, number)
    return torch.tensor(sorted(list(first.values())[:count]), dtype=torch.int64)
