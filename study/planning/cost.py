"""Estimates the cost of a run: wall time and disk of the work that is left, at a measured speed; measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from study.planning.benchmark import Speed
from study.planning.work_left import TrialCost, WorkLeft, own_explanation_passes

START_SECONDS = 12.0
"""Seconds until Ray and its first workers, which import torch and timm, are ready."""

TRIAL_SECONDS = 1.0
"""Seconds that a trial takes beside its epochs, for the model, the files and the reports."""


@dataclass(frozen=True)
class RunCost:
    """The time and disk of the work that is left of a run, at a measured speed.

    Attributes:
        train_images, val_images, test_images: sizes of the first trial's split.
        concurrency: number of trials at once on this machine.
        images_mb: size of the decoded images in the cache, in MiB.
    """

    work: WorkLeft
    speed: Speed
    train_images: int
    val_images: int
    test_images: int
    concurrency: int
    images_mb: float = 0.0

    @property
    def seconds_per_epoch(self) -> float:
        """Seconds of one epoch and its evaluation, on one worker."""
        return self.train_images * self.speed.train_seconds + self.val_images * self.speed.pass_seconds

    @property
    def explanation_seconds(self) -> float:
        """Seconds of all explanations on one worker, if each of their passes takes ``speed.pass_seconds``."""
        passes = sum(each.passes * each.part * each.images for each in self.work.explanations)
        return self.train_images * passes * self.speed.pass_seconds

    def extra_epochs(self, trial: TrialCost) -> float:
        """Return the time that a trial takes beside its epochs, counted in epochs, if it shares no explanation."""
        explained = self.train_images * own_explanation_passes(trial)
        seconds = TRIAL_SECONDS + (explained + trial.judge_passes) * self.speed.pass_seconds
        return seconds / self.seconds_per_epoch

    def seconds(self, machines: int = 1) -> float:
        """Return the expected wall time in seconds on so many machines like this one, including Ray's start."""
        work = self.work
        if not work.trials:
            return 0.0
        passes = work.full_scorings * self.train_images + work.trials * self.test_images + work.judge_passes
        total = (
            work.full_epochs * self.seconds_per_epoch
            + passes * self.speed.pass_seconds
            + self.explanation_seconds
            + work.trials * TRIAL_SECONDS
        )
        at_once = min(self.concurrency * machines, work.trials)
        return START_SECONDS + max(total / at_once, work.longest * self.seconds_per_epoch)

    @property
    def states_mb(self) -> float:
        """Disk space of weights and shared states, in MiB; a state is three times as large: AdamW has two moments."""
        return (self.work.trials + 3 * self.work.states + 6 * self.concurrency) * self.speed.weights_mb


@dataclass(frozen=True)
class ExpectedProgress:
    """The expected work and time of a run, for its progress line.

    Attributes:
        epochs: number of epochs to train.
        extra_epochs: the time that each trial takes beside its epochs, counted in epochs, by trial_id.
        seconds_per_epoch: wall time per epoch, while trials run side by side; NaN if it is not known.
    """

    epochs: int = 0
    extra_epochs: dict[str, float] = field(default_factory=dict)
    seconds_per_epoch: float = float("nan")


def expected_progress(cost: RunCost, trials: Sequence[TrialCost]) -> ExpectedProgress:
    """Spread the expected wall time over the epochs that are left and the time that trials take beside them."""
    extra = {trial.trial_id: cost.extra_epochs(trial) for trial in trials if not trial.complete}
    epochs = cost.work.epochs
    return ExpectedProgress(epochs, extra, cost.seconds() / max(epochs + sum(extra.values()), 1))
