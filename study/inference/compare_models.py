"""Compare two trained models, without proxies and with: their predictions of the same images, and the maps of these."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from proxy_attention.data.catalogue import ProgressCallback
from proxy_attention.errors import ConfigError, unknown
from proxy_attention.explanation_metrics import trained_by
from proxy_attention.models.classifier import as_float, autocast, eval_batch
from proxy_attention.saliency.maps import low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import JUDGES, METHODS, check_method, related
from study.inference.classify import by_image, classify_batch
from study.inference.predictions import Prediction
from study.inference.trained_model import TrainedModel
from study.inference.user_images import DecodedImage, ImageFile, decode_images

MOST_IMAGES = 40
"""Images that fit on one sheet."""
MAP_SIZE = 160
"""Pixels of a side of the maps, and of the images that they are laid over."""


@dataclass(frozen=True, eq=False)
class ModelPair:
    """A model trained without proxies and one with, of the same classes, and the method that explains both.

    Attributes:
        note: what the user must know of the method; may be empty.
    """

    plain: TrainedModel
    proxied: TrainedModel
    saliency: str
    note: str = ""

    @property
    def models(self) -> tuple[TrainedModel, TrainedModel]:
        """The model without proxies, then the one with."""
        return self.plain, self.proxied


@dataclass(frozen=True, eq=False)
class ComparedImage:
    """An image with what both models make of it, the model without proxies first.

    Attributes:
        pixels: (3, MAP_SIZE, MAP_SIZE) uint8.
        maps: (MAP_SIZE, MAP_SIZE) in [0, 1] each, of the predicted class; all zeros where a map has no range.
    """

    name: str
    pixels: np.ndarray
    predictions: tuple[Prediction, Prediction]
    maps: tuple[np.ndarray, np.ndarray]


def pair_models(plain: TrainedModel, proxied: TrainedModel, saliency: str | None) -> ModelPair:
    """Pair two models, with the method that was asked for, or else one that neither of them was trained with.

    Raises: ConfigError for models of different classes, an unknown method, or one that cannot explain both.
    """
    if plain.classes != proxied.classes:
        raise ConfigError(
            f"--compare needs two trials of the same classes; {plain.name} and {proxied.name} differ in theirs"
        )
    levels = [model.config.white_level for model in (plain, proxied)]
    if levels[0] != levels[1]:
        raise ConfigError(
            f"--compare needs two trials that decode images alike; {plain.name} and {proxied.name} have white_level = "
            f"{levels[0]} and {levels[1]}"
        )
    if saliency is not None and saliency not in METHODS:
        raise unknown("--saliency", saliency, METHODS)
    configs = [model.config for model in (plain, proxied)]
    used = frozenset().union(*map(trained_by, configs))
    judges = [configs[0].judge] if configs[0].judge == configs[1].judge else []
    method = saliency or next((name for name in (*judges, *JUDGES) if not related(name) & used), None)
    if method is None:
        raise ConfigError("--saliency must be given: training used every method that could be chosen")
    for model in (plain, proxied):
        check_method(method, model.classifier, name=model.config.model, field="--saliency")
    note = f"--saliency {method} shows maps that training used, too" if related(method) & used else ""
    return ModelPair(plain, proxied, method, note)


def compare_models(
    pair: ModelPair, images: Sequence[ImageFile], *, top: int, progress: ProgressCallback
) -> tuple[list[Prediction], list[ComparedImage]]:
    """Classify each image with both models, and explain the predictions.

    Args:
        images: at most ``MOST_IMAGES``: all of them are held in memory.
        top: how many classes a prediction holds.
        progress: called with (images done, images in all).
    Returns: the predictions ordered by image, then by model; and the images of which both models have one.
    """
    sizes = [MAP_SIZE, *(model.config.image_size for model in pair.models)]
    decoded = list(decode_images(images, sizes, pair.plain.config.white_level))
    of_models = [classify_batch(model, decoded, top=top) for model in pair.models]
    classified = [n for n in range(len(decoded)) if all(predictions[n].top for predictions in of_models)]
    shown = [decoded[n] for n in classified]
    maps = []
    for done, (model, predictions) in enumerate(zip(pair.models, of_models, strict=True), 1):
        maps.append(explain_predictions(model, shown, [predictions[n] for n in classified], pair.saliency))
        progress(len(images) * done // 2, len(images))
    compared = [
        ComparedImage(
            item.image.name,
            item.pixels[MAP_SIZE],
            predictions=(of_models[0][n], of_models[1][n]),
            maps=(plain_map, proxied_map),
        )
        for n, item, plain_map, proxied_map in zip(classified, shown, *maps, strict=True)
    ]
    return by_image(of_models), compared


def explain_predictions(
    model: TrainedModel, images: Sequence[DecodedImage], predictions: Sequence[Prediction], saliency: str
) -> list[np.ndarray]:
    """Explain the predicted class of each image, in the batches and the precision of an evaluation.

    Returns: maps (MAP_SIZE, MAP_SIZE) in [0, 1]; all zeros where a map has no range.
    """
    size, device = model.config.image_size, model.classifier.device
    predicted = torch.tensor([model.classes.index(one.predicted) for one in predictions], device=device)
    step = eval_batch(size)
    found: list[np.ndarray] = []
    for first in range(0, len(images), step):
        pixels = torch.from_numpy(np.stack([item.pixels[size] for item in images[first : first + step]])).to(device)
        labels = predicted[first : first + step]
        with autocast(device, model.precision):
            maps = low_resolution_maps(
                model.classifier,
                as_float(pixels),
                predicted=labels,
                true=labels,
                saliency=saliency,
                explain="predicted",
            )
        _, flat = scale(maps)  # before the interpolation, whose rounding would give a constant map a range
        full, _ = scale(upsample(maps, MAP_SIZE))
        found += list(torch.where(flat[:, None, None], 0.0, full).cpu().numpy())
    return found
