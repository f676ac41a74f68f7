"""One proxy step: choose, explain, control, replace, substitute; knows no schedule and trains nothing.

It reaches pixels through a TrainingSet only, so it cannot see a validation or test image.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from proxy_attention import seeds
from proxy_attention.config import REGION, TrialConfig
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.models.classifier import Classifier, as_float, eval_batch
from proxy_attention.proxies.explain import explain, in_parts, maps_key, source_of
from proxy_attention.proxies.masks import MASKS, changed_pixels, partners
from proxy_attention.proxies.replacement import Statistics, replace, smooth, statistics
from proxy_attention.proxies.scoring import Scores, choose
from proxy_attention.region_maps import Region, region_maps
from proxy_attention.saliency.maps import scale, upsample

EXAMPLES = 8


@dataclass(frozen=True, eq=False)
class Recipe:
    """What one step's proxies are made from, beside the originals and the config.

    Maps of the feature map's size take few bytes; one of the images' size takes two thirds of an image.

    Attributes:
        step: number of the planned proxy step, from 0, skipped ones counted; it names the random streams.
        ids: (P,) int64 ascending, the chosen images.
        predicted: (P,) int64, the classes they were taken for.
        maps: (P, h, w) float32, positive part only, not yet scaled; or (P, S, S) float16, scaled to [0, 1]; or
            (P, S, S) bool, true in the known place.
    """

    step: int
    ids: torch.Tensor
    predicted: torch.Tensor
    maps: torch.Tensor


@dataclass(frozen=True, eq=False)
class Examples:
    """A few images of a step, for people: originals and proxies (E, 3, S, S) uint8, maps (E, S, S) in [0, 1].

    ``true`` and ``predicted`` are (E,) class numbers, ``predicted`` of the scores that the images were chosen by.
    """

    ids: torch.Tensor
    true: torch.Tensor
    predicted: torch.Tensor
    originals: torch.Tensor
    maps: torch.Tensor
    proxies: torch.Tensor


@dataclass(frozen=True, eq=False)
class ProxyStep:
    """The result of a step: the training set to go on with, its recipe, and the counts that the record shows.

    ``wrong_ids`` are the training images that the model got wrong, whichever were chosen, (W,) int64; empty where they
    are not known.
    """

    training_set: TrainingSet
    recipe: Recipe
    made: int
    flat: int
    examples: Examples
    seconds: float
    wrong_ids: torch.Tensor

    @property
    def wrong(self) -> int:
        """Number of training images that the model got wrong."""
        return len(self.wrong_ids)


ComputeOnce: TypeAlias = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""From a cache key and a function to what the function returns; trials that share the cache call it once."""


def proxy_step(
    model: Classifier,
    training_set: TrainingSet,
    scores: Scores,
    config: TrialConfig,
    *,
    step: int,
    region: Region | None = None,
    compute_once: ComputeOnce = lambda key, make: make(),
) -> ProxyStep:
    """Choose among the scored images, explain them, and put their proxies into the training set.

    Args:
        model: left in eval mode; its weights are not changed.
        scores: of every training image, by ``clean_scores`` or ``online_scores``.
        step: number of this step among the planned, from 0; it names the random streams.
        region: tells the known places of images, which ``mask = region`` replaces; None if none is known.
        compute_once: how maps that need passes of their own are made, so that trials which agree may share them.
    """
    started = time.perf_counter()
    model.module.eval()
    chosen = choose(scores, config, step=step)
    ids, predicted = scores.ids[chosen], scores.predicted[chosen]
    if config.mask == REGION:
        maps = region_maps(region, ids.tolist(), config.image_size)
    # maps of the scoring pass are of originals; a proxy of a proxy is explained on its own
    elif scores.maps is not None and not (config.compound and len(training_set.proxies)):
        maps = scores.maps[chosen]
    else:
        maps = compute_once(
            maps_key(config, ids, step=step),
            lambda: {"maps": explain(model, training_set, ids, predicted, config, step=step)},
        )["maps"]
    made = apply_recipe(Recipe(step=step, ids=ids, predicted=predicted, maps=maps), training_set, config)
    seconds = scores.seconds + time.perf_counter() - started
    return dataclasses.replace(made, wrong_ids=scores.ids[scores.wrong], seconds=seconds)


def apply_recipe(recipe: Recipe, training_set: TrainingSet, config: TrialConfig) -> ProxyStep:
    """Make a step's proxies: control, replace, substitute. Asks no model, and gives the same pixels again.

    Args:
        training_set: as it was before the step.
    Returns: the step; ``wrong_ids`` are not known here, and empty.
    """
    started = time.perf_counter()
    replaced = _replaced(recipe, _controlled(recipe, training_set, config), training_set, config)
    proxies = replaced.proxies if config.clear_every_step else training_set.proxies.joined(replaced.proxies)
    return ProxyStep(
        training_set=training_set.with_proxies(proxies),
        recipe=recipe,
        made=len(recipe.ids),
        flat=replaced.flat,
        examples=_examples(recipe, replaced, training_set, config),
        seconds=time.perf_counter() - started,
        wrong_ids=recipe.ids[:0],
    )


def _controlled(recipe: Recipe, training_set: TrainingSet, config: TrialConfig) -> torch.Tensor:
    """Give each image another's map under ``mask = other``, its own under any other; ``MASKS`` do the rest."""
    if config.mask != "other":
        return recipe.maps
    if len(recipe.ids) < 2:  # a lone image has no other's map; its own would be no control
        return torch.zeros_like(recipe.maps)
    priorities = _per_image(recipe.ids, training_set, config.seed, "proxy-partner", recipe.step)[:, 0]
    return recipe.maps[partners(len(recipe.ids), priorities)]


@dataclass(frozen=True, eq=False)
class _Replaced:
    """Fresh proxies, the first ``EXAMPLES`` maps that they were made by, and how many maps had no range."""

    proxies: Proxies
    shown: torch.Tensor
    flat: int


def _replaced(recipe: Recipe, maps: torch.Tensor, training_set: TrainingSet, config: TrialConfig) -> _Replaced:
    """Replace pixels of the chosen images where their maps reach the threshold, a batch at a time."""
    ids, step, source = recipe.ids, recipe.step, source_of(training_set, config)
    flat: list[torch.Tensor] = []  # on the device: nothing waits for it
    made: list[torch.Tensor] = []
    shown: list[torch.Tensor] = []
    dataset = _dataset_statistics(training_set, config)
    offsets = _per_image(ids, training_set, config.seed, "proxy-mask", step)
    threshold = 0.5 if config.mask == REGION else config.threshold  # a known place is 1 inside and 0 outside
    for part in in_parts(len(ids), config.batch_size):
        images = as_float(source(ids[part]))
        # a part at a time: all maps of the images' size may be too many for the device
        some = maps[part].to(training_set.device, torch.float32)
        flat.append(scale(some)[1])
        controlled = MASKS[config.mask](_full_size(some, config), offsets[part])
        pixels = replace(
            images,
            controlled,
            changed_pixels(controlled, threshold=threshold, max_area=config.max_area),
            weight=config.weight,
            replacement=config.replacement,
            stats=statistics(images, scope=config.scope, dataset=dataset),
            noise=_noise(ids[part], images, config.seed, step) if config.replacement == "noise" else None,
        )
        made.append((pixels * 255).round().to(torch.uint8))
        shown.append(controlled[: max(EXAMPLES - sum(map(len, shown)), 0)].cpu())
    return _Replaced(
        proxies=Proxies(ids=ids, pixels=torch.cat(made) if made else training_set.proxies.pixels[:0]),
        shown=torch.cat(shown) if shown else torch.empty(0, config.image_size, config.image_size),
        flat=int(torch.cat(flat).sum()) if flat else 0,
    )


def _examples(recipe: Recipe, replaced: _Replaced, training_set: TrainingSet, config: TrialConfig) -> Examples:
    """Collect the first images of a step beside their maps and proxies."""
    ids = recipe.ids[:EXAMPLES]
    return Examples(
        ids=ids,
        true=training_set.labels_of(ids).cpu(),
        predicted=recipe.predicted[:EXAMPLES].cpu(),
        originals=source_of(training_set, config)(ids).cpu(),
        maps=replaced.shown,
        proxies=replaced.proxies.pixels[:EXAMPLES].cpu(),
    )


def _full_size(maps: torch.Tensor, config: TrialConfig) -> torch.Tensor:
    """Upsample, smooth and scale maps to (N, S, S) in [0, 1]; a map without a range becomes zeros.

    So does a known place that is all of its image.
    """
    flat = scale(maps)[1]  # before upsampling, whose rounding gives a constant map a range
    sigma = 0.0 if config.mask == REGION else config.smoothing
    full = smooth(upsample(maps, config.image_size), sigma=sigma)
    return torch.where(flat[:, None, None], 0.0, scale(full)[0])


def _per_image(ids: torch.Tensor, training_set: TrainingSet, seed: int, name: str, step: int) -> torch.Tensor:
    """Look up draws (N, 1), one an image, that do not depend on which others were chosen."""
    return seeds.table(training_set.dataset_size, 1, seed, name, step)[ids]


def _noise(ids: torch.Tensor, images: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """Draw standard normal numbers shaped like the images, from one stream an image."""
    draws = torch.empty(images.shape)
    for row, number in zip(draws, ids.tolist(), strict=True):  # a table of all images would be as large as they are
        row.normal_(generator=seeds.stream(seed, "proxy-noise", step, number))
    return draws.to(images.device)


def _dataset_statistics(training_set: TrainingSet, config: TrialConfig) -> Statistics | None:
    """Compute per-channel statistics over the training originals, under ``scope = dataset`` alone."""
    if config.scope != "dataset":
        return None
    stream = training_set.stream_originals(training_set.train, eval_batch(config.image_size))
    parts = [Statistics.per_image(as_float(images)) for _, images in stream]
    return Statistics.over(parts, [len(part.mean) for part in parts])
