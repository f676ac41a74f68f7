"""Explains the chosen images of a proxy step by passes of their own; chooses no image and changes no pixel."""

import hashlib
from collections.abc import Callable

import torch

from proxy_attention import seeds
from proxy_attention.config import TrialConfig
from proxy_attention.data.training_set import TrainingSet
from proxy_attention.models.build import untrained
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch
from proxy_attention.proxies.masks import UNTRAINED
from proxy_attention.saliency.maps import low_resolution_maps, scale
from proxy_attention.saliency.registry import METHODS


def maps_key(config: TrialConfig, ids: torch.Tensor, *, step: int) -> str:
    """Cache key of the maps of chosen images: what they depend on beside the state of the trial and its scores."""
    fields = (config.collect, config.saliency, config.explain, config.feature_layer, config.eigen_smooth)
    about = (*fields, config.mask == UNTRAINED, config.compound, config.seed, step, ids.tolist())
    return f"maps {hashlib.sha256(repr(about).encode()).hexdigest()}"


def explain(
    model: Classifier,
    training_set: TrainingSet,
    ids: torch.Tensor,
    predicted: torch.Tensor,
    config: TrialConfig,
    *,
    step: int,
) -> torch.Tensor:
    """Compute maps of the chosen images, and bring them to the CPU.

    Maps of the feature map's size stay float32, unscaled. Maps of the images' size are scaled and rounded to float16:
    that is precise enough to multiply pixels with, and halves the checkpoint, which holds one an image.

    Args:
        ids, predicted: (P,) int64, the images and the classes they were taken for.
    Returns: (P, h, w) float32, positive part only; or (P, S, S) float16 in [0, 1].
    """
    device, source, method = training_set.device, source_of(training_set, config), METHODS[config.saliency]
    explained = _untrained(model, config, device) if config.mask == UNTRAINED else model
    parts = []
    for part in in_parts(len(ids), eval_batch(config.image_size)):
        draws = [seeds.derive_seed(config.seed, "saliency", step, number) for number in ids[part].tolist()]
        with autocast(device, config.precision):  # methods with passes of their own ignore it
            maps = low_resolution_maps(
                explained,
                as_float(source(ids[part])),
                predicted=predicted[part].to(device),
                true=training_set.labels_of(ids[part]),
                saliency=config.saliency,
                explain=config.explain,
                eigen_smooth=config.eigen_smooth,
                seeds=draws if method.seeded else None,
            )
        parts.append((maps if maps.shape[1:] == explained.grid else scale(maps)[0].half()).cpu())
    return torch.cat(parts) if parts else torch.empty(0, *model.grid)


def source_of(training_set: TrainingSet, config: TrialConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from ids to the images that proxies are made from: originals, or what stands for them now."""
    return training_set.current if config.compound else training_set.originals


def in_parts(count: int, size: int) -> tuple[torch.Tensor, ...]:
    """Split the positions 0 .. count - 1 into parts of at most ``size``; no part at all of no position."""
    return torch.arange(count).split(size) if count else ()


def _untrained(model: Classifier, config: TrialConfig, device: torch.device) -> Classifier:
    """Build the same architecture at random weights of a stream of their own, in eval mode."""
    twin = untrained(
        config.model,
        classes=model.classes,
        image_size=config.image_size,
        weights=config.weights,
        seed=config.seed,
        feature_layer=config.feature_layer,
    ).to(device)
    twin.module.eval()
    return twin
