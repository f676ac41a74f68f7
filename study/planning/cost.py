"""What a run will cost before it runs: epochs that must really be trained, wall time, disk; measures nothing."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

from proxy_attention.config import TrialConfig
from proxy_attention.proxies.scoring import explains_while_scoring, scoring_key
from proxy_attention.proxies.step import maps_key
from proxy_attention.shared_states import Sharing
from proxy_attention.state_keys import branch_points, state_keys
from study.planning.benchmark import Speed

START_SECONDS = 12.0
"""Ray and its first workers, which import torch and timm."""

TRIAL_SECONDS = 1.0
"""What a trial takes beside its epochs: the model, the files, the reports."""

WRONG = 0.3
"""The part of the training images that a step is taken to find wrong: how many they are is known only then."""


@dataclass(frozen=True)
class TrialCost:
    """One trial as its price sees it.

    Attributes:
        config: with no field left ``auto``.
        names: of the states on its road (``sharing.road``).
        done: epochs that its own files hold.
        complete: whether nothing is left of it.
        passes: forward passes an image that its method of explanation takes.
        judging: forward passes, of all images together, that judging the trained model takes.
    """

    config: TrialConfig
    names: tuple[str, ...]
    done: int = 0
    complete: bool = False
    passes: int = 1
    judging: int = 0

    @classmethod
    def of(
        cls,
        config: TrialConfig,
        *,
        data: str,
        weights: str | None,
        done: int = 0,
        complete: bool = False,
        passes: int = 1,
        judging: int = 0,
    ) -> "TrialCost":
        """The passage of a trial over these contents."""
        return cls(config, state_keys(config, data=data, weights=weights), done, complete, passes, judging)


@dataclass(frozen=True)
class Explanation:
    """Maps of a step's chosen images from passes of their own.

    Attributes:
        saliency: the method.
        passes: that it takes an image.
        subset: the part of the wrong images that is chosen.
        images: of how many they are, as a part of the first trial's training images.
    """

    saliency: str
    passes: int
    subset: float
    images: float = 1.0


@dataclass(frozen=True)
class Work:
    """What is left to do of some trials.

    Attributes:
        trials: that are not complete.
        epochs: to train, each once however many trials pass it.
        full_epochs: what they come to in epochs of the first trial: one over a part of its images is a part of one.
        nominal: epochs that those trials would train without sharing.
        longest: epochs of the first trial that one trial must train one after another: no number of machines makes it
            shorter.
        steps: proxy steps; those that may be skipped are counted as if they were not.
        may_skip: whether there are such.
        scorings: passes over the training set that they need: settings of one step share one.
        full_scorings: what they come to in passes over the first trial's training images.
        states: shared states to be kept.
        explanations: what the passes that score do not explain; settings of one step may share one.
        judging: forward passes that judging the trained models takes; they share none.
    """

    trials: int
    epochs: int
    nominal: int
    longest: float
    steps: int
    scorings: int
    states: int
    full_epochs: float
    full_scorings: float
    may_skip: bool = False
    explanations: tuple[Explanation, ...] = ()
    judging: int = 0


def work(trial_costs: Sequence[TrialCost], sharing: Sharing | None, *, device: str) -> Work:
    """Count what is left.

    Args:
        sharing: where shared states lie, of which some may be there already; None shares nothing.
    """
    left = [passage for passage in trial_costs if not passage.complete]
    shared = branch_points(passage.names for passage in trial_costs) if sharing is not None else frozenset()
    epochs: dict[tuple[str, int], float] = {}
    scorings: dict[tuple[str, ...], float] = {}
    explanations: dict[tuple[Hashable, ...], Explanation] = {}
    may_skip = False
    nominal, steps, longest = 0, 0, 0.0
    for number, passage in enumerate(left):
        config = passage.config
        images = config.train_fraction / trial_costs[0].config.train_fraction
        start = max(passage.done, _published(passage, shared, sharing, device))
        todo = range(start, len(passage.names))
        alone = 0 if sharing is not None else number + 1  # without sharing, every trial has epochs of its own
        epochs |= {(passage.names[n], alone): images for n in todo}
        nominal, longest = nominal + len(passage.names) - passage.done, max(longest, len(todo) * images)
        for step, planned in enumerate(config.planned.steps):
            if planned.index not in todo:
                continue
            steps, may_skip = steps + 1, may_skip or planned.only_if_stalled
            name = passage.names[planned.index]
            whose = "" if sharing is not None and name in shared else f"trial {number}"
            if config.collect == "clean":
                scorings[name, scoring_key(config), whose] = images
            if not _explained_by_scoring(config, step):
                part = _explained_part(config, step)
                explanations[name, part, whose] = Explanation(
                    config.saliency, passage.passes, float(config.subset_at(step)), images
                )
    return Work(
        trials=len(left),
        epochs=len(epochs),
        nominal=nominal,
        longest=longest,
        steps=steps,
        scorings=len(scorings),
        states=len(shared),
        full_epochs=sum(epochs.values()),
        full_scorings=sum(scorings.values()),
        may_skip=may_skip,
        explanations=tuple(explanations.values()),
        judging=sum(passage.judging for passage in left),
    )


def explaining_passes(config: TrialConfig, passes: int) -> float:
    """Passes over all wrong images that the explanations of one trial take, beside the passes that score."""
    own = (step for step in range(config.planned.proxy_steps) if not _explained_by_scoring(config, step))
    return passes * sum(float(config.subset_at(step)) for step in own)


def _explained_by_scoring(config: TrialConfig, step: int) -> bool:
    """Whether a step's maps come with its scores: not of what was scored in training, nor of proxies of proxies."""
    return config.collect == "clean" and explains_while_scoring(config) and not (config.compound and step)


def _explained_part(config: TrialConfig, step: int) -> tuple[Hashable, ...]:
    """What a step's maps depend on beside the state: that of ``maps_key``, with how images are chosen."""
    subset = config.subset_at(step)
    order = config.order if subset < 1 else ""
    return maps_key(config, torch.empty(0, dtype=torch.int64), step=step), order, subset


def _published(passage: TrialCost, shared: frozenset[str], sharing: Sharing | None, device: str) -> int:
    """Epochs of the furthest shared state on this road that is there already."""
    if sharing is None or device != "cpu":  # naming a GPU's states would claim its memory here
        return 0
    there = (
        n
        for n in range(len(passage.names), 0, -1)
        if passage.names[n - 1] in shared and sharing.path(passage.names[n - 1], device=device).exists()
    )
    return next(there, 0)


@dataclass(frozen=True)
class Price:
    """The work of a run at a measured speed.

    Attributes:
        train, val, test: images of each part of the first trial's split.
        concurrency: trials at once on this machine.
    """

    work: Work
    speed: Speed
    train: int
    val: int
    test: int
    concurrency: int

    @property
    def seconds_per_epoch(self) -> float:
        """Of one epoch and its evaluation, on one worker."""
        return self.train * self.speed.train_seconds + self.val * self.speed.look_seconds

    @property
    def explaining_seconds(self) -> float:
        """Of all explanations on one worker, if ``WRONG`` of the images are wrong and every pass is a plain one."""
        passes = sum(each.passes * each.subset * each.images for each in self.work.explanations)
        return WRONG * self.train * passes * self.speed.look_seconds

    def epochs_worth(self, config: TrialConfig, passes: int, *, judging: int = 0) -> float:
        """What a trial takes beside its epochs, in epochs, if it shares no explanation."""
        looked_at = WRONG * self.train * explaining_passes(config, passes) + judging
        return (TRIAL_SECONDS + looked_at * self.speed.look_seconds) / self.seconds_per_epoch

    def seconds(self, machines: int = 1) -> float:
        """Expected wall time on so many machines like this one, Ray's start included."""
        if not self.work.trials:
            return 0.0
        looked_at = self.work.full_scorings * self.train + self.work.trials * self.test + self.work.judging
        looking = looked_at * self.speed.look_seconds + self.explaining_seconds
        total = self.work.full_epochs * self.seconds_per_epoch + looking + self.work.trials * TRIAL_SECONDS
        at_once = min(self.concurrency * machines, self.work.trials)
        return START_SECONDS + max(total / at_once, self.work.longest * self.seconds_per_epoch)

    @property
    def disk_mb(self) -> float:
        """What the trials' weights and the shared states take; a state holds AdamW's two moments, too."""
        return (self.work.trials + 3 * self.work.states + 6 * self.concurrency) * self.speed.weights_mb
