"""What a schedule such as ``20,p,19`` means, epoch by epoch; knows nothing of training."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy_attention.errors import ConfigError

PROXY_ITEM = "p"
STALLED_ITEM = "p?"
MAX_EPOCHS = 100_000


@dataclass(frozen=True)
class PlannedEpoch:
    """One epoch of the plan.

    Attributes:
        index: position in the trial, from 0.
        item: which item of the schedule it belongs to, from 0 (the audit split ``redrawn`` draws again at each).
        step: number of the planned proxy step that follows the training of this epoch, from 0; None without one. A
            step that is skipped keeps its number, which no other step takes.
        only_if_stalled: whether that step is skipped unless validation accuracy ``has_stalled``.
    """

    index: int
    item: int
    step: int | None = None
    only_if_stalled: bool = False


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule; ``items`` holds a count of epochs, ``p`` or ``p?``, as they are written."""

    items: tuple[int | str, ...]

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read ``20,p,19``: numbers are epochs of training, ``p`` one epoch that ends with a proxy step.

        ``p?`` is one epoch, too, and ends with a proxy step only if validation accuracy has stalled.

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
        """Epochs of training: a proxy item trains one epoch, too, whether its step is skipped or not."""
        return sum(map(_epochs_of, self.items))

    @property
    def proxy_steps(self) -> int:
        """How many proxy steps the schedule asks for, those that may be skipped among them."""
        return self.items.count(PROXY_ITEM) + self.items.count(STALLED_ITEM)

    @property
    def may_skip(self) -> bool:
        """Whether there is a step that may be skipped."""
        return STALLED_ITEM in self.items

    def never_stalls(self, patience: int) -> bool:
        """Whether there are steps that wait for a stall, and each comes too early for one: see ``has_stalled``."""
        return self.may_skip and all(epoch.index < patience for epoch in self.steps if epoch.only_if_stalled)

    @property
    def steps(self) -> tuple[PlannedEpoch, ...]:
        """The epochs that end with a proxy step, in order, each at the place of its number."""
        return tuple(epoch for epoch in self.epochs() if epoch.step is not None)

    def epochs(self) -> Iterator[PlannedEpoch]:
        """Every epoch in order."""
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


def has_stalled(val_accuracies: Sequence[float], *, patience: int) -> bool:
    """The law of ``p?``: none of the last ``patience`` epochs is above the best of the epochs before them.

    Args:
        val_accuracies: of every epoch so far, the one that has just ended last.
        patience: >= 1.
    Returns: False while there are ``patience`` epochs or fewer: then none is before them.
    """
    before, last = val_accuracies[:-patience], val_accuracies[-patience:]
    return bool(before) and max(last) <= max(before)
