"""What a schedule such as ``20,p,19`` means, epoch by epoch; knows nothing of training."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from proxy_attention.errors import ConfigError

PROXY_ITEM = "p"
MAX_EPOCHS = 100_000


@dataclass(frozen=True)
class PlannedEpoch:
    """One epoch of the plan.

    Attributes:
        index: position in the trial, from 0.
        item: which item of the schedule it belongs to, from 0 (the audit split ``redrawn`` draws again at each).
        ends_with_proxy_step: whether a proxy step follows the training of this epoch.
    """

    index: int
    item: int
    ends_with_proxy_step: bool


@dataclass(frozen=True)
class Schedule:
    """A parsed schedule; ``items`` holds a count of epochs, or 0 for a proxy epoch."""

    items: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Read ``20,p,19``: numbers are epochs of training, ``p`` one epoch that ends with a proxy step.

        Raises: ConfigError for anything else, for an empty schedule and for one of more than 100,000 epochs.
        """
        law = "schedule must be counts of epochs >= 1 and p, separated by commas, such as 20,p,19"
        if not isinstance(text, str):
            raise ConfigError(f"{law}; got {text!r}")
        items: list[int] = []
        for part in text.split(","):
            word = part.strip()
            if word == PROXY_ITEM:
                items.append(0)
            elif re.fullmatch(r"0*[1-9][0-9]{0,9}", word):
                items.append(int(word))
            else:
                raise ConfigError(f"{law}; got {text!r}")
        schedule = cls(tuple(items))
        if schedule.total_epochs > MAX_EPOCHS:
            raise ConfigError(f"schedule must have at most {MAX_EPOCHS} epochs; got {text!r}")
        return schedule

    def __str__(self) -> str:
        return ",".join(str(count) if count else PROXY_ITEM for count in self.items)

    @property
    def total_epochs(self) -> int:
        """Epochs of training: a proxy item trains one epoch, too."""
        return sum(max(count, 1) for count in self.items)

    @property
    def proxy_steps(self) -> int:
        """How many proxy steps the schedule asks for."""
        return self.items.count(0)

    @property
    def steps(self) -> tuple[PlannedEpoch, ...]:
        """The epochs that end with a proxy step, in order."""
        return tuple(epoch for epoch in self.epochs() if epoch.ends_with_proxy_step)

    def epochs(self) -> Iterator[PlannedEpoch]:
        """Every epoch in order."""
        index = 0
        for item, count in enumerate(self.items):
            for _ in range(max(count, 1)):
                yield PlannedEpoch(index=index, item=item, ends_with_proxy_step=count == 0)
                index += 1
