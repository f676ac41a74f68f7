"""Classify images with trained models, in the pixels, precision and batch size of their trials' evaluation."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from proxy_attention.data.catalogue import ProgressCallback
from proxy_attention.models.classifier import as_float, autocast, eval_batch
from study.inference.predictions import Prediction
from study.inference.trained_model import TrainedModel
from study.inference.user_images import DecodedImage, ImageFile, decode_images, true_class

NOT_FINITE = "the classifier's logits for it are not finite"


def classify_images(
    models: Sequence[TrainedModel], images: Sequence[ImageFile], *, top: int, progress: ProgressCallback
) -> list[Prediction]:
    """Classify each image with each model; predictions are ordered by image, then by model.

    A model has its images in the batches of an evaluation, so that its predictions are those of its evaluation.

    Args:
        top: how many classes a prediction holds.
        progress: called with (images done, images in all).
    """
    ways = sorted({_decoded(model) for model in models}, key=str)
    of_models: list[list[Prediction]] = [[] for _ in models]
    done = 0
    for size, white_level in ways:  # one as a rule
        alike = [pair for pair in zip(models, of_models, strict=True) if _decoded(pair[0]) == (size, white_level)]
        for batch in _in_batches(decode_images(images, [size], white_level), eval_batch(size)):
            for model, predictions in alike:
                predictions += classify_batch(model, batch, top=top)
            done += len(batch)
            progress(done // len(ways), len(images))
    return by_image(of_models)


def _decoded(model: TrainedModel) -> tuple[int, float | str]:
    """Return the size and the white level at which a model's images are decoded."""
    return model.config.image_size, model.config.white_level


def by_image(of_models: Sequence[Sequence[Prediction]]) -> list[Prediction]:
    """Order the predictions of several models by image, then by model."""
    return [prediction for of_one_image in zip(*of_models, strict=True) for prediction in of_one_image]


def _in_batches(images: Iterable[DecodedImage], size: int) -> Iterator[list[DecodedImage]]:
    """Yield batches of ``size`` readable images, the last with fewer; unreadable ones stay between them, uncounted."""
    batch: list[DecodedImage] = []
    readable = 0
    for image in images:
        batch.append(image)
        readable += not image.error
        if readable == size:
            yield batch
            batch, readable = [], 0
    if batch:
        yield batch


def classify_batch(model: TrainedModel, batch: Sequence[DecodedImage], *, top: int) -> list[Prediction]:
    """Classify decoded images; an image that could not be read, or whose logits are not finite, has an error."""
    size = model.config.image_size
    probabilities = _class_probabilities(model, [item.pixels[size] for item in batch if not item.error])
    finite = probabilities.isfinite().all(dim=1).tolist()
    ranked = _rank_classes(probabilities)[:, :top]
    values = probabilities.gather(1, ranked).tolist()
    of_readable = iter(zip(finite, ranked.tolist(), values, strict=True))

    predictions = []
    for item in batch:
        error = item.error
        top_classes: tuple[tuple[str, float], ...] = ()
        if not error:
            is_finite, numbers, shares = next(of_readable)
            if is_finite:
                top_classes = tuple((model.classes[n], share) for n, share in zip(numbers, shares, strict=True))
            else:
                error = NOT_FINITE
        true = true_class(item.image.path, model.config, model.classes, model.data_root)
        predictions.append(
            Prediction(item.image.name, model.name, model.arm, model.config.seed, top_classes, true, error)
        )
    return predictions


def _class_probabilities(model: TrainedModel, pixels: Sequence[np.ndarray]) -> torch.Tensor:
    """Compute the probabilities of all classes as an evaluation does.

    Args:
        pixels: (3, S, S) uint8 each, at the model's image size.
    Returns: (N, C) float32 on the CPU.
    """
    device = model.classifier.device
    parts = [torch.empty(0, len(model.classes))]
    step = eval_batch(model.config.image_size)
    with torch.no_grad(), autocast(device, model.precision):
        for first in range(0, len(pixels), step):
            batch = torch.from_numpy(np.stack(pixels[first : first + step])).to(device)
            parts.append(model.classifier(as_float(batch)).float().softmax(dim=1).cpu())
    return torch.cat(parts)


def _rank_classes(probabilities: torch.Tensor) -> torch.Tensor:
    """Order the classes (N, C) of each image by falling probability; among equals, the one that ``max`` names first."""
    first = probabilities.max(dim=1, keepdim=True).indices  # what an evaluation takes for the predicted class
    return probabilities.scatter(1, first, torch.inf).argsort(dim=1, descending=True, stable=True)
