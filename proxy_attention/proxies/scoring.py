"""Scores training images by the model, and chooses those that become proxies; changes no pixel."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from proxy_attention import seeds
from proxy_attention.config import REGION, TrialConfig
from proxy_attention.data.training_set import TrainingSet
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch
from proxy_attention.proxies.masks import UNTRAINED
from proxy_attention.saliency.maps import classify_and_explain
from proxy_attention.saliency.registry import METHODS


@dataclass(frozen=True, eq=False)
class Scores:
    """What the model predicted of training images: ``ids``, ``predicted``, ``losses``, ``wrong``, each (N,) on the CPU.

    Attributes:
        maps: (N, h, w) float32 on the CPU, where the pass that scored also explained; None where it did not. They
            depend on the fields that ``scoring_key`` names, and on no other of a proxy.
        seconds: what scoring (and explaining) took.
    """

    ids: torch.Tensor
    predicted: torch.Tensor
    losses: torch.Tensor
    wrong: torch.Tensor
    maps: torch.Tensor | None = None
    seconds: float = 0.0


def clean_scores(model: Classifier, training_set: TrainingSet, config: TrialConfig) -> Scores:
    """Score by one eval-mode pass over the originals, without augmentation (``collect = clean``).

    A method that needs no pass of its own explains every image in this pass: that costs less than a second pass over
    the chosen ones. Any other method explains the chosen images later.
    """
    started = time.perf_counter()
    ids, explains = training_set.train, explains_while_scoring(config)
    predicted, losses, maps = [], [], []
    model.module.eval()
    for part, images in training_set.stream_originals(ids, eval_batch(config.image_size)):
        labels = training_set.labels_of(part)
        with autocast(training_set.device, config.precision):
            if explains:
                logits, batch_maps = classify_and_explain(
                    model,
                    as_float(images),
                    true=labels,
                    saliency=config.saliency,
                    explain=config.explain,
                    eigen_smooth=config.eigen_smooth,
                )
                maps.append(batch_maps)
            else:
                with torch.no_grad():
                    logits = model(as_float(images)).float()
        predicted.append(logits.argmax(dim=1))
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
    predictions = torch.cat(predicted)
    wrong = (predictions != training_set.labels_of(ids)).cpu()
    found = torch.cat(losses).cpu(), wrong, torch.cat(maps).cpu() if explains else None
    return Scores(ids, predictions.cpu(), *found, seconds=time.perf_counter() - started)


def explains_while_scoring(config: TrialConfig) -> bool:
    """Whether the scoring pass gives the maps too: the method needs no other pass and explains this very model."""
    return METHODS[config.saliency].one_pass and config.mask not in (UNTRAINED, REGION)


def scoring_key(config: TrialConfig) -> str:
    """Cache key of the scoring pass: what clean scores depend on beside the state of the trial."""
    if not explains_while_scoring(config):
        return "scores"
    return f"scores {config.saliency} {config.explain} {config.feature_layer} {config.eigen_smooth}"


def online_scores(
    training_set: TrainingSet, *, predicted: torch.Tensor, losses: torch.Tensor, correct: torch.Tensor
) -> Scores:
    """Score by the predictions of the epoch just trained, as the thesis did (``collect = online``).

    Under ``substitute = add`` an image has several slots: if any copy is misclassified, use the first such copy's
    prediction and loss, the original's before any other's.

    Args:
        predicted, losses, correct: (slots,), the originals first, then the proxies that joined them, each repeat whole.
    """
    count, ids = len(training_set.train), training_set.train
    predictions, loss, wrong = predicted[:count].clone(), losses[:count].clone(), ~correct[:count]
    place = torch.searchsorted(ids, training_set.active_ids)
    for repeat in range(training_set.repeats):
        slots = count + repeat * len(place) + torch.arange(len(place))
        first = ~correct[slots] & ~wrong[place]
        predictions[place[first]], loss[place[first]] = predicted[slots][first], losses[slots][first]
        wrong[place[first]] = True
    return Scores(ids, predictions, loss, wrong)


def _random(scores: Scores, seed: int, step: int) -> torch.Tensor:
    # one priority an image, so that a smaller subset is a part of a larger one
    return seeds.table(len(scores.ids), 1, seed, "proxy-choice", step)[:, 0]


def _hardest(scores: Scores, seed: int, step: int) -> torch.Tensor:
    return -scores.losses


def _first(scores: Scores, seed: int, step: int) -> torch.Tensor:
    return scores.ids


COLLECT = ("clean", "online")
"""Where the scores of a step come from."""

ORDERS: dict[str, Callable[[Scores, int, int], torch.Tensor]] = {
    "random": _random,
    "hardest": _hardest,
    "first": _first,
}
"""Orders of choice by name: keys (N,) from scores, seed and step; the smallest key is chosen first."""


CHOOSE: dict[str, str] = {
    "wrong": "those that the model gets wrong",
    "right": "those that it gets right",
    "all": "all of them",
    "random": "as many as it gets wrong, drawn from all: the control of whom",
}
"""The training images that a step chooses from, by name."""


def choose(scores: Scores, config: TrialConfig, *, step: int) -> torch.Tensor:
    """Choose the part ``subset`` of the images that ``choose`` names, rounded up; none where there is none.

    Under ``choose = random`` the wrong images are counted, and as many of all images are drawn, in whatever ``order``.

    Returns: their positions in ``scores``, ascending.
    """
    wrong = scores.wrong
    places = {"wrong": wrong, "right": ~wrong}.get(config.choose, torch.ones_like(wrong)).nonzero().flatten()
    counted = int(wrong.sum()) if config.choose == "random" else len(places)
    count = math.ceil(config.subset_at(step) * counted)  # exact: 0.07 * 100 is 7, not 7.000000000000001
    order = "random" if config.choose == "random" else config.order
    keys = ORDERS[order](scores, config.seed, step)[places]
    return places[torch.argsort(keys, stable=True)[:count]].sort().values
