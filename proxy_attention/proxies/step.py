"""One proxy step: score, choose, explain, control, replace; knows no schedule and trains nothing.

It reaches pixels through a TrainingSet only, so it cannot see a validation or test image.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from proxy_attention import seeds
from proxy_attention.config import TrialConfig
from proxy_attention.data.training_set import Proxies, TrainingSet
from proxy_attention.models.build import untrained
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch
from proxy_attention.proxies.masks import MASKS, UNTRAINED, changed_pixels, partners
from proxy_attention.proxies.replacement import Statistics, replace, smooth, statistics
from proxy_attention.proxies.scoring import Scores, choose
from proxy_attention.saliency.maps import low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import METHODS

EXAMPLES = 8


@dataclass(frozen=True, eq=False)
class Recipe:
    """What one step's proxies are made of, beside the originals and the config.

    A map is a few bytes of most methods; of those whose maps have the images' size it is two thirds of an image.

    Attributes:
        step: number of the planned proxy step, from 0, skipped ones counted; it names the random streams.
        ids: (P,) int64 ascending, the chosen images.
        predicted: (P,) int64, the classes they were taken for.
        maps: (P, h, w) float32, positive part only, not yet scaled; or (P, S, S) float16, scaled to [0, 1].
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
    """What a step did: the training set to go on with, how to make it again, and the counts that the record shows."""

    training_set: TrainingSet
    recipe: Recipe
    wrong: int
    made: int
    flat: int
    examples: Examples
    seconds: float


ComputeOnce: TypeAlias = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""From a part's name and how it is made to what it holds; whoever shares it with other trials makes it once."""


def proxy_step(
    model: Classifier,
    training_set: TrainingSet,
    scores: Scores,
    config: TrialConfig,
    *,
    step: int,
    compute_once: ComputeOnce = lambda part, make: make(),
) -> ProxyStep:
    """Make proxies of training images that the model got wrong, and put them into the training set.

    Args:
        model: left in eval mode; its weights are not changed.
        scores: of every training image, by ``clean_scores`` or ``online_scores``.
        step: number of this step among the planned, from 0; it names the random streams.
        compute_once: how maps that need passes of their own are made, so that trials which agree may share them.
    """
    started = time.perf_counter()
    model.module.eval()
    chosen = choose(scores, config, step=step)
    ids, guesses = scores.ids[chosen], scores.predicted[chosen]
    # maps of the scoring pass are of originals; a proxy of a proxy is explained on its own
    if scores.maps is not None and not (config.compound and len(training_set.proxies)):
        maps = scores.maps[chosen]
    else:
        maps = compute_once(
            maps_key(config, ids, step=step),
            lambda: {"maps": _maps(model, training_set, ids, guesses, config, step=step)},
        )["maps"]
    recipe = Recipe(step=step, ids=ids, predicted=guesses, maps=maps)
    made = apply_recipe(recipe, training_set, config)
    seconds = scores.seconds + time.perf_counter() - started
    return dataclasses.replace(made, wrong=int(scores.wrong.sum()), seconds=seconds)


def apply_recipe(recipe: Recipe, training_set: TrainingSet, config: TrialConfig) -> ProxyStep:
    """Make a step's proxies: control, replace, substitute. Asks no model, and gives the same pixels again.

    Args:
        training_set: as it was before the step.
    Returns: the step; ``wrong`` is not known here, and 0.
    """
    started = time.perf_counter()
    ids, step = recipe.ids, recipe.step
    source = _source(training_set, config)
    maps = _controlled(recipe, training_set, config)
    flat: list[torch.Tensor] = []  # on the device: nothing waits for it
    made: list[torch.Tensor] = []
    shown: list[torch.Tensor] = []
    dataset = _dataset_statistics(training_set, config)
    offsets = _per_image(ids, training_set, config.seed, "proxy-mask", step)
    for part in _parts(len(ids), config.batch_size):
        images = as_float(source(ids[part]))
        # a part at a time: all maps of the images' size may be too many for the device
        some = maps[part].to(training_set.device, torch.float32)
        flat.append(scale(some)[1])
        controlled = MASKS[config.mask](_full_size(some, config), offsets[part])
        changed = changed_pixels(controlled, threshold=config.threshold, max_area=config.max_area)
        noise = _noise(ids[part], images, config.seed, step) if config.replacement == "noise" else None
        pixels = replace(
            images,
            controlled,
            changed,
            weight=config.weight,
            replacement=config.replacement,
            stats=statistics(images, scope=config.scope, dataset=dataset),
            noise=noise,
        )
        made.append((pixels * 255).round().to(torch.uint8))
        shown.append(controlled[: max(EXAMPLES - sum(map(len, shown)), 0)].cpu())
    fresh = Proxies(ids=ids, pixels=torch.cat(made) if made else training_set.proxies.pixels[:0])
    proxies = fresh if config.clear_every_step else training_set.proxies.joined(fresh)
    examples = Examples(
        ids=ids[:EXAMPLES],
        true=training_set.labels_of(ids[:EXAMPLES]).cpu(),
        predicted=recipe.predicted[:EXAMPLES].cpu(),
        originals=source(ids[:EXAMPLES]).cpu(),
        maps=torch.cat(shown) if shown else torch.empty(0, config.image_size, config.image_size),
        proxies=fresh.pixels[:EXAMPLES].cpu(),
    )
    return ProxyStep(
        training_set=training_set.with_proxies(proxies),
        recipe=recipe,
        wrong=0,
        made=len(ids),
        flat=int(torch.cat(flat).sum()) if flat else 0,
        examples=examples,
        seconds=time.perf_counter() - started,
    )


def _source(training_set: TrainingSet, config: TrialConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    """What proxies are made from."""
    return training_set.current if config.compound else training_set.originals


def maps_key(config: TrialConfig, ids: torch.Tensor, *, step: int) -> str:
    """A name for what maps of chosen images depend on beside the state of the trial and its scores."""
    fields = (config.collect, config.saliency, config.explain, config.feature_layer, config.eigen_smooth)
    about = (*fields, config.mask == UNTRAINED, config.compound, config.seed, step, ids.tolist())
    return f"maps {hashlib.sha256(repr(about).encode()).hexdigest()}"


def _maps(
    model: Classifier,
    training_set: TrainingSet,
    ids: torch.Tensor,
    guesses: torch.Tensor,
    config: TrialConfig,
    *,
    step: int,
) -> torch.Tensor:
    """Maps of the chosen images on the CPU, from passes of their own.

    Those of the feature map's size are float32 as they are. Those of the images' size are scaled, and rounded to
    half precision: a value that a pixel is multiplied with needs no more, and a checkpoint holds one an image.
    """
    device, source, method = training_set.device, _source(training_set, config), METHODS[config.saliency]
    explained = _untrained(model, config, device) if config.mask == UNTRAINED else model
    parts = []
    for part in _parts(len(ids), eval_batch(config.image_size)):
        draws = [seeds.derive_seed(config.seed, "saliency", step, number) for number in ids[part].tolist()]
        with autocast(device, config.precision):  # which only a method of one pass computes in
            found = low_resolution_maps(
                explained,
                as_float(source(ids[part])),
                predicted=guesses[part].to(device),
                true=training_set.labels_of(ids[part]),
                saliency=config.saliency,
                explain=config.explain,
                eigen_smooth=config.eigen_smooth,
                seeds=draws if method.seeded else None,
            )
        parts.append((found if found.shape[1:] == explained.grid else scale(found)[0].half()).cpu())
    return torch.cat(parts) if parts else torch.empty(0, *model.grid)


def _untrained(model: Classifier, config: TrialConfig, device: torch.device) -> Classifier:
    """The same architecture at random weights of a stream of their own, in eval mode."""
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


def _controlled(recipe: Recipe, training_set: TrainingSet, config: TrialConfig) -> torch.Tensor:
    """The maps, each image with another's under ``mask = other``."""
    if config.mask != "other":
        return recipe.maps
    if len(recipe.ids) < 2:  # a lone image has no other's map: none at all is honest, its own would not be
        return torch.zeros_like(recipe.maps)
    priorities = _per_image(recipe.ids, training_set, config.seed, "proxy-partner", recipe.step)[:, 0]
    return recipe.maps[partners(len(recipe.ids), priorities)]


def _parts(count: int, size: int) -> tuple[torch.Tensor, ...]:
    """The positions 0 .. count - 1 cut into parts; none of no position, of which ``split`` would make an empty part."""
    return torch.arange(count).split(size) if count else ()


def _full_size(maps: torch.Tensor, config: TrialConfig) -> torch.Tensor:
    """Low-resolution maps to (N, S, S) in [0, 1]: upsampled, smoothed, scaled; without a range, zeros."""
    flat = scale(maps)[1]  # judged before the interpolation can add rounding to a constant
    full = smooth(upsample(maps, config.image_size), sigma=config.smoothing)
    return torch.where(flat[:, None, None], 0.0, scale(full)[0])


def _per_image(ids: torch.Tensor, training_set: TrainingSet, seed: int, name: str, step: int) -> torch.Tensor:
    """(N, 1) draws, one an image, whichever others were chosen."""
    return seeds.table(training_set.dataset_size, 1, seed, name, step)[ids]


def _noise(ids: torch.Tensor, images: torch.Tensor, seed: int, step: int) -> torch.Tensor:
    """Standard normal draws shaped like the images, from a stream an image: whichever others were chosen."""
    draws = torch.empty(images.shape)
    for row, number in zip(draws, ids.tolist(), strict=True):  # a table of all images would be as large as they are
        row.normal_(generator=seeds.stream(seed, "proxy-noise", step, number))
    return draws.to(images.device)


def _dataset_statistics(training_set: TrainingSet, config: TrialConfig) -> Statistics | None:
    """Per-channel statistics over the training originals, if the configuration needs them."""
    if config.scope != "dataset":
        return None
    stream = training_set.stream_originals(training_set.train, eval_batch(config.image_size))
    parts = [Statistics.per_image(as_float(images)) for _, images in stream]
    return Statistics.over(parts, [len(part.mean) for part in parts])
