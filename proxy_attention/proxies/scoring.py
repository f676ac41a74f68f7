"""Which training images the model gets wrong, and which of them are chosen; changes no pixel."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from proxy_attention import seeds
from proxy_attention.config import TrialConfig
from proxy_attention.data.training_set import TrainingSet
from proxy_attention.models.classifier import Classifier, as_float, autocast, eval_batch
from proxy_attention.proxies.masks import UNTRAINED
from proxy_attention.saliency.maps import classify_and_explain
from proxy_attention.saliency.registry import METHODS


@dataclass(frozen=True, eq=False)
class Scores:
    """What the model makes of training images: ``ids``, ``predicted``, ``losses``, ``wrong``, each (N,) on the CPU.

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
    """``collect = clean``: one eval-mode pass over the originals, without augmentation, that scores and explains.

    Which images are wrong is known at its end only; by then each has its map, which costs less than asking. A method
    that needs passes of its own is asked about the chosen images only, later.
    """
    started = time.perf_counter()
    ids, explains = training_set.train, explains_while_scoring(config)
    predicted, losses, maps = [], [], []
    model.module.eval()
    for part, images in training_set.stream_originals(ids, eval_batch(config.image_size)):
        labels = training_set.labels_of(part)
        with autocast(training_set.device, config.precision):
            if explains:
                logits, looked = classify_and_explain(
                    model,
                    as_float(images),
                    true=labels,
                    saliency=config.saliency,
                    explain=config.explain,
                    eigen_smooth=config.eigen_smooth,
                )
                maps.append(looked)
            else:
                with torch.no_grad():
                    logits = model(as_float(images)).float()
        predicted.append(logits.argmax(dim=1))
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
    guesses = torch.cat(predicted)
    wrong = (guesses != training_set.labels_of(ids)).cpu()
    found = torch.cat(losses).cpu(), wrong, torch.cat(maps).cpu() if explains else None
    return Scores(ids, guesses.cpu(), *found, seconds=time.perf_counter() - started)


def explains_while_scoring(config: TrialConfig) -> bool:
    """Whether the clean pass gives the maps, too: by one pass, and of the model that is scored."""
    return METHODS[config.saliency].one_pass and config.mask != UNTRAINED


def scoring_key(config: TrialConfig) -> str:
    """A name for what clean scores depend on beside the state of the trial: trials that agree in it may share them."""
    if not explains_while_scoring(config):
        return "scores"
    return f"scores {config.saliency} {config.explain} {config.feature_layer} {config.eigen_smooth}"


def online_scores(
    training_set: TrainingSet, *, predicted: torch.Tensor, losses: torch.Tensor, correct: torch.Tensor
) -> Scores:
    """``collect = online``: what the epoch just trained saw, slot by slot, as the thesis collected it.

    An image with two slots (``substitute = add``) is wrong if either was, and speaks with the wrong one's voice.
    """
    count = len(training_set.train)
    ids, wrong = training_set.train, ~correct[:count]
    guesses, loss = predicted[:count].clone(), losses[:count].clone()
    if len(predicted) > count:
        place = torch.searchsorted(ids, training_set.active_ids)
        louder = ~correct[count:] & ~wrong[place]
        guesses[place[louder]], loss[place[louder]] = predicted[count:][louder], losses[count:][louder]
        wrong[place[louder]] = True
    return Scores(ids, guesses, loss, wrong)


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
"""In which order wrong images are chosen: smallest key first; keys (N,) from scores, seed and step."""


def choose(scores: Scores, config: TrialConfig, *, step: int) -> torch.Tensor:
    """Positions in ``scores`` of the chosen images: the step's part of the wrong ones, rounded up, ascending.

    A part above 0 is rounded up to one image at least, while any is wrong.
    """
    wrong = scores.wrong.nonzero().flatten()
    if not len(wrong):
        return wrong
    count = math.ceil(config.subset_at(step) * len(wrong))  # exact: 0.07 * 100 is 7, not 7.000000000000001
    keys = ORDERS[config.order](scores, config.seed, step)[wrong]
    return wrong[torch.argsort(keys, stable=True)[:count]].sort().values
