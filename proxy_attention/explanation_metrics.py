"""Measures explanations of a trained model on test images: faithfulness, sparseness and the pointing game."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from proxy_attention.augment.registry import augmentation_of
from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.data.pixels import in_batches
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch
from proxy_attention.proxies.replacement import smooth
from proxy_attention.region_maps import nearest
from proxy_attention.saliency import faithfulness
from proxy_attention.saliency.maps import low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import related
from proxy_attention.seeds import derive_seed, stream

BLUR = 1 / 16
"""Sigma of the blurred image into which pixels are inserted, as a fraction of the image's side."""


@dataclass(frozen=True, kw_only=True)
class ExplanationMetrics:
    """Metrics of a trained model's explanations: means over images, each in [0, 1].

    Attributes:
        insertion_auc, deletion_auc, average_drop, average_increase, sparseness: of the maps of the predicted classes;
            see ``saliency.faithfulness``.
        pointing_game: of the maps of the true classes, over images whose object region is known; None without any.
        judged_by: the saliency method; None if nothing was judged: then all other fields are None or 0.
        judged_images: number of images.
        judge_seconds: seconds that it took.
    """

    insertion_auc: float | None = None
    deletion_auc: float | None = None
    average_drop: float | None = None
    average_increase: float | None = None
    sparseness: float | None = None
    pointing_game: float | None = None
    judged_by: str | None = None
    judged_images: int = 0
    judge_seconds: float = 0.0


def trained_by(config: TrialConfig) -> frozenset[str]:
    """Collect the saliency methods that a trial trains by, for proxies or augmentation, and all methods ``related``."""
    proxies = related(config.saliency, eigen_smooth=config.eigen_smooth) if config.has_maps else frozenset()
    return proxies.union(*map(related, augmentation_of(config.augment).saliency_methods))


def judge_of(config: TrialConfig) -> str | None:
    """Return the saliency method that judges a trial's model; None if none does, or if the trial trains by it."""
    return config.judge if config.judge_images and not related(config.judge) & trained_by(config) else None


def judged_ids(test: np.ndarray, config: TrialConfig) -> np.ndarray:
    """Draw the test images on which explanations are judged; trials with the same split and split seed draw the same.

    Returns: at most ``judge_images`` numbers of images, sorted; a smaller draw is a subset of a larger one.
    """
    drawn = torch.randperm(len(test), generator=stream(config.effective_split_seed, "judge"))
    return np.sort(test[drawn[: config.judge_images].numpy()])


def check_regions(images: ImageSet, ids: np.ndarray) -> None:
    """Check that the object regions of these images can be read, without reading pixels.

    Raises: DataError for an impossible box or mask.
    """
    if images.region is not None:
        for number in ids.tolist():
            images.region(number)


def judge_explanations(
    model: Classifier, images: ImageSet, *, ids: np.ndarray, saliency: str, precision: str, seed: int
) -> ExplanationMetrics:
    """Explain the model's predictions for these images, in eval mode, and measure how faithful the maps are.

    Args:
        images: the whole data set, on the model's device.
        ids: numbers of the images to explain; at least one.
        saliency: a key of ``METHODS`` that ``check_method`` accepts for the model.
        precision: a key of ``PRECISIONS``.
        seed: for methods that draw at random; the draws of an image do not depend on the other images.
    """
    started = time.perf_counter()
    model.module.eval()
    index = torch.from_numpy(ids)
    size = eval_batch(images.images.shape[-1])
    measured: list[torch.Tensor] = []
    pointed: list[torch.Tensor] = []
    with autocast(images.images.device, precision):
        batches = in_batches(images.images, index, size)
        for part, batch in zip(index.split(size), batches, strict=True):
            explained = _ExplainedBatch(model, images, part, as_float(batch), saliency, seed)
            measured.append(_measured(explained))
            pointed += _pointed(explained)
    means = torch.cat(measured).mean(dim=0).tolist()
    names = ("insertion_auc", "deletion_auc", "average_drop", "average_increase", "sparseness")
    return ExplanationMetrics(
        **dict(zip(names, means, strict=True)),
        pointing_game=float(torch.cat(pointed).float().mean()) if pointed else None,
        judged_by=saliency,
        judged_images=len(ids),
        judge_seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, eq=False)
class _ExplainedBatch:
    """A batch of images to explain: their numbers ``ids`` (N,) and their ``pixels`` (N, 3, S, S) float in [0, 1]."""

    model: Classifier
    images: ImageSet
    ids: torch.Tensor
    pixels: torch.Tensor
    saliency: str
    seed: int

    def maps(self, pixels: torch.Tensor, ids: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Compute the maps of these images for these classes: (N, S, S) float in [0, 1]."""
        found = low_resolution_maps(
            self.model,
            pixels,
            predicted=classes,
            true=classes,
            saliency=self.saliency,
            explain="predicted",
            seeds=[derive_seed(self.seed, "judge", number) for number in ids.tolist()],
        )
        return scale(upsample(found, pixels.shape[-1]))[0]


def _measured(batch: _ExplainedBatch) -> torch.Tensor:
    """Measure the maps of the predicted classes: (N, 5) float, in the order of ``ExplanationMetrics``."""
    model, pixels = batch.model, batch.pixels
    with torch.no_grad():
        whole, predicted = model(pixels).float().softmax(dim=1).max(dim=1)
    maps = batch.maps(pixels, batch.ids, predicted)

    def confidence(changed: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model(changed).float().softmax(dim=1).gather(1, predicted[:, None])[:, 0]
        return found

    with torch.no_grad():
        masked = confidence(pixels * maps[:, None])
        blurred = smooth(pixels, sigma=BLUR * pixels.shape[-1])
        each = (
            faithfulness.insertion_auc(confidence, pixels, maps, whole=whole, blurred=blurred),
            faithfulness.deletion_auc(confidence, pixels, maps, whole=whole, blank=model.blank),
            faithfulness.drop(whole, masked),
            faithfulness.increase(whole, masked),
            faithfulness.sparseness(maps),
        )
        return torch.stack([one.float() for one in each], dim=1)


def _pointed(batch: _ExplainedBatch) -> Iterator[torch.Tensor]:
    """Measure, for the images whose object region is known, whether their map points at the object: yield (n,) bool."""
    if batch.images.region is None:
        return
    regions = [batch.images.region(number) for number in batch.ids.tolist()]
    known = [place for place, region in enumerate(regions) if region is not None]
    if not known:
        return
    size = batch.pixels.shape[-1]
    inside = np.stack([nearest(region, size) for region in regions if region is not None])
    rows = torch.tensor(known)
    there = rows.to(batch.pixels.device)
    true = batch.images.labels[batch.ids[rows].to(batch.images.labels.device)]
    maps = batch.maps(batch.pixels[there], batch.ids[rows], true)
    yield faithfulness.points_inside(maps, torch.from_numpy(inside).to(maps.device))
