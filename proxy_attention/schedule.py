"""Parses a schedule such as ``20,p,19`` into epochs and proxy steps; knows nothing of training."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from proxy_attention.errors import ConfigError

PROXY_ITEM = "p"
STALLED_ITEM = "p?"
MAX_EPOCHS = 100_000


@dataclass(frozen=True)
class PlannedEpoch:
    """One epoch of a schedule.

    Attributes:
        index: number of the epoch in the trial, from 0.
        item: number of the schedule's item that the epoch belongs to, from 0.
        step: number of the proxy step that follows this epoch, from 0; None if none follows. Steps that are skipped
            are counted.
        only_if_stalled: whether the step is skipped unless val accuracy ``has_stalled``.
    """

    index: int
    item: int
    step: int | None = None
    only_if_stalled: bool = False


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule: each of ``items`` is a number of epochs, ``p`` or ``p?``, in the order of the text."""

    items: tuple[int | str, ...]

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Parse text such as ``20,p,19``: a number is that many epochs, ``p`` one epoch that ends with a proxy step.

        ``p?`` is one epoch that ends with a proxy step only if val accuracy has stalled.

        Raises: ConfigError for anything else, for an empty schedule and for one of more than 100,000 epochs.
        """
        law = "schedule must be counts of epochs >= 1 and p or p?, separated by commas, such as 20,p,19"
        if not isinstance(text, str):
            raise ConfigError(f"{law}; got {text!r}")
        items: list[int | str] = []
        for part in text.split(","):
            word = part.strip()
            if word in (PROXY_ITEM, STALLED_ITEM):
                items.append(word)
            elif re.fullmatch(r"0*[1-9][0-9]{0,9}", word):
                items.append(int(word))
            else:
                raise ConfigError(f"{law}; got {text!r}")
        schedule = cls(tuple(items))
        if schedule.total_epochs > MAX_EPOCHS:
            raise ConfigError(f"schedule must have at most {MAX_EPOCHS} epochs; got {text!r}")
        return schedule

    def __str__(self) -> str:
        return ",".join(map(str, self.items))

    @property
    def total_epochs(self) -> int:
        """The number of epochs; ``p`` and ``p?`` are one epoch each, whether or not the step is skipped."""
        return sum(map(_epochs_of, self.items))

    @property
    def proxy_steps(self) -> int:
        """The number of proxy steps, including those that may be skipped."""
        return self.items.count(PROXY_ITEM) + self.items.count(STALLED_ITEM)

    @property
    def may_skip(self) -> bool:
        """Whether the schedule has a step that may be skipped (``p?``)."""
        return STALLED_ITEM in self.items

    def never_stalls(self, patience: int) -> bool:
        """Whether the schedule has ``p?`` steps, and all of them come too early to be taken: see ``has_stalled``."""
        return self.may_skip and all(epoch.index < patience for epoch in self.steps if epoch.only_if_stalled)

    @property
    def steps(self) -> tuple[PlannedEpoch, ...]:
        """The epochs that end with a proxy step: ``steps[n]`` ends with step number ``n``."""
        return tuple(epoch for epoch in self.epochs() if epoch.step is not None)

    def epochs(self) -> Iterator[PlannedEpoch]:
        """Yield every epoch in order."""
        index = steps = 0
        for number, item in enumerate(self.items):
            if isinstance(item, str):
                yield PlannedEpoch(index, number, step=steps, only_if_stalled=item == STALLED_ITEM)
                steps += 1
            else:
                yield from (PlannedEpoch(index + n, number) for n in range(item))
            index += _epochs_of(item)


def _epochs_of(item: int | str) -> int:
    return 1 if isinstance(item, str) else item


def part_at(step: int, *, first: float, decay: float) -> Fraction:
    """Compute the exact part of its images that a proxy step chooses: ``first * decay**step``.

    Args:
        step: number of the step in the schedule, from 0; skipped steps are counted.
    """
    return Fraction(repr(first)) * Fraction(repr(decay)) ** step


def has_stalled(val_accuracies: Sequence[float], *, patience: int) -> bool:
    """Whether a ``p?`` step is taken: none of the last ``patience`` epochs is better than the best epoch before them.

    Args:
        val_accuracies: of every epoch so far, in order.
        patience: >= 1.
    Returns: False if there are at most ``patience`` epochs, because no epoch is before them.
    """
    before, last = val_accuracies[:-patience], val_accuracies[-patience:]
    return bool(before) and max(last) <= max(before)
