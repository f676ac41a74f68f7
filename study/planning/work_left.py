"""Counts the work that is left of a run, each shared epoch, pass and explanation once; knows no speed and no time."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import torch

from proxy_attention.config import TrialConfig
from proxy_attention.proxies.explain import maps_key
from proxy_attention.proxies.scoring import explains_while_scoring, scoring_key
from proxy_attention.shared_states import Sharing
from proxy_attention.state_keys import branch_points, state_keys

WRONG_FRACTION = 0.3
"""Assumed fraction of the training images that a step finds wrong; the real one is known only at the step."""

_CHOSEN_FROM = {"wrong": WRONG_FRACTION, "right": 1 - WRONG_FRACTION, "all": 1.0, "random": WRONG_FRACTION}
"""Fraction of the training images that a step chooses from, by ``choose``."""


@dataclass(frozen=True)
class TrialCost:
    """The parts of one trial's cost.

    Attributes:
        config: with no field left ``auto``.
        state_keys: of the trial's state after each epoch; trials with equal keys share the state.
        trial_id: empty for a trial that a search has not suggested yet.
        epochs_done: number of epochs that its own files hold.
        complete: whether the trial is complete.
        explanation_passes: forward passes per image that its saliency method takes.
        judge_passes: forward passes, of all images together, that judging the trained model takes.
    """

    config: TrialConfig
    state_keys: tuple[str, ...]
    trial_id: str = ""
    epochs_done: int = 0
    complete: bool = False
    explanation_passes: int = 1
    judge_passes: int = 0

    @classmethod
    def of(
        cls,
        config: TrialConfig,
        *,
        data: str,
        weights: str | None,
        trial_id: str = "",
        epochs_done: int = 0,
        complete: bool = False,
        explanation_passes: int = 1,
        judge_passes: int = 0,
    ) -> "TrialCost":
        """Make the cost of a trial over data and weights with these content digests."""
        keys = state_keys(config, data=data, weights=weights)
        return cls(config, keys, trial_id, epochs_done, complete, explanation_passes, judge_passes)


@dataclass(frozen=True)
class Explanation:
    """The maps of a step's chosen images, if they are made by passes of their own.

    Attributes:
        saliency: the method.
        passes: forward passes per image that it takes.
        part: the fraction of the trial's training images that is chosen, as ``expected_part`` assumes it.
        images: the trial's training images, as a fraction of the first trial's.
    """

    saliency: str
    passes: int
    part: float
    images: float = 1.0


@dataclass(frozen=True)
class WorkLeft:
    """Counts of the work that is left of some trials.

    Attributes:
        trials: number of trials that are not complete.
        epochs: number of epochs to train; an epoch that trials share counts once.
        nominal_epochs: number of epochs that those trials would train without sharing.
        full_epochs: the same as ``epochs``, in epochs of the first trial: one over half of its images counts half, and
            one that added proxies make longer counts more.
        longest: the most epochs that one trial must train, in epochs of the first trial; they cannot be spread over
            machines.
        steps: number of proxy steps, including those that may be skipped.
        may_skip: whether any of them may be skipped.
        scorings: number of scoring passes over the training set; trials that share a state may share its pass.
        full_scorings: the same as ``scorings``, in passes over the first trial's training images.
        states: number of shared states to write.
        explanations: maps that are not made by a scoring pass; trials that share a state may share them.
        judge_passes: number of forward passes that judging the trained models takes; trials share none.
    """

    trials: int
    epochs: int
    nominal_epochs: int
    longest: float
    steps: int
    scorings: int
    states: int
    full_epochs: float
    full_scorings: float
    may_skip: bool = False
    explanations: tuple[Explanation, ...] = ()
    judge_passes: int = 0


@dataclass
class _Counts:
    """Running counts; work that trials share has one key, so it is counted once."""

    epochs: dict[tuple[str, int], float] = field(default_factory=dict)
    scorings: dict[tuple[str, ...], float] = field(default_factory=dict)
    explanations: dict[tuple[Hashable, ...], Explanation] = field(default_factory=dict)
    steps: int = 0
    may_skip: bool = False


def work_left(trials: Sequence[TrialCost], sharing: Sharing | None, *, device: str) -> WorkLeft:
    """Count the work that is left of a run.

    Args:
        trials: all trials of the run, at least one.
        sharing: where shared states lie, of which some may exist already; None if trials share none.
    """
    left = [trial for trial in trials if not trial.complete]
    shared = branch_points(trial.state_keys for trial in trials) if sharing is not None else frozenset()
    counts, longest = _Counts(), 0.0
    for number, trial in enumerate(left):
        images = trial.config.train_fraction / trials[0].config.train_fraction
        start = max(trial.epochs_done, _epochs_published(trial, shared, sharing, device))
        todo = range(start, len(trial.state_keys))
        lengths = [images * length for length in epoch_lengths(trial.config)]
        longest = max(longest, sum(lengths[epoch] for epoch in todo))
        own = 0 if sharing is not None else number + 1  # without sharing, every trial has epochs of its own
        counts.epochs |= {(trial.state_keys[epoch], own): lengths[epoch] for epoch in todo}
        _count_steps(counts, trial, todo, shared if sharing is not None else frozenset(), number, images)
    return WorkLeft(
        trials=len(left),
        epochs=len(counts.epochs),
        nominal_epochs=sum(len(trial.state_keys) - trial.epochs_done for trial in left),
        longest=longest,
        steps=counts.steps,
        scorings=len(counts.scorings),
        states=len(shared),
        full_epochs=sum(counts.epochs.values()),
        full_scorings=sum(counts.scorings.values()),
        may_skip=counts.may_skip,
        explanations=tuple(counts.explanations.values()),
        judge_passes=sum(trial.judge_passes for trial in left),
    )


def expected_part(config: TrialConfig, step: int) -> float:
    """Return the fraction of the training images that a proxy step is expected to choose."""
    return _CHOSEN_FROM[config.choose] * float(config.subset_at(step))


def epoch_lengths(config: TrialConfig) -> list[float]:
    """Return the expected length of each epoch, in epochs over the originals: ``substitute = add`` makes it longer."""
    lengths, added = [], 0.0
    for planned in config.planned.epochs():
        lengths.append(1 + added)
        if planned.step is not None and config.substitute == "add":
            added = config.repeats * expected_part(config, planned.step)
    return lengths


def own_explanation_passes(trial: TrialCost) -> float:
    """Count passes over all training images that a trial's explanations take, beside the passes that score."""
    config = trial.config
    own = (step for step in range(config.planned.proxy_steps) if _explained_on_its_own(config, step))
    return trial.explanation_passes * sum(expected_part(config, step) for step in own)


def _count_steps(
    counts: _Counts, trial: TrialCost, todo: range, shared: frozenset[str], number: int, images: float
) -> None:
    """Add to the counts the proxy steps that end the epochs ``todo`` of a trial."""
    config = trial.config
    for step, planned in enumerate(config.planned.steps):
        if planned.index not in todo:
            continue
        counts.steps += 1
        counts.may_skip = counts.may_skip or planned.only_if_stalled
        key = trial.state_keys[planned.index]
        owner = "" if key in shared else f"trial {number}"
        if config.collect == "clean":
            counts.scorings[key, scoring_key(config), owner] = images
        if _explained_on_its_own(config, step):
            part = expected_part(config, step)
            explanation = Explanation(config.saliency, trial.explanation_passes, part, images)
            counts.explanations[key, _explained_part(config, step), owner] = explanation


def _explained_on_its_own(config: TrialConfig, step: int) -> bool:
    """Whether a step's maps take passes of their own, beside the scoring pass, and are not known to the data set.

    They do if scores are collected in training, and for proxies of proxies.
    """
    by_scoring = config.collect == "clean" and explains_while_scoring(config) and not (config.compound and step)
    return config.has_maps and not by_scoring


def _explained_part(config: TrialConfig, step: int) -> tuple[Hashable, ...]:
    """Return everything that a step's maps depend on beside the state: ``maps_key``, and how images are chosen."""
    subset = config.subset_at(step)
    order = config.order if subset < 1 else ""
    return maps_key(config, torch.empty(0, dtype=torch.int64), step=step), config.choose, order, subset


def _epochs_published(trial: TrialCost, shared: frozenset[str], sharing: Sharing | None, device: str) -> int:
    """Return the number of epochs after which the trial's furthest shared state on disk was written; 0 without one."""
    if sharing is None or device != "cpu":  # the names of a GPU's states depend on its name, and asking takes memory
        return 0
    for epochs in range(len(trial.state_keys), 0, -1):
        key = trial.state_keys[epochs - 1]
        if key in shared and sharing.path(key, device=device).exists():
            return epochs
    return 0
