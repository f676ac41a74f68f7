"""Shows the progress of long work in one line: on a terminal rewritten in place, in a log written now and then."""

import math
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
from rich.table import Column
from rich.text import Text

from study.console import PlainConsole, duration, shown

LOG_SECONDS = 10.0
"""The fewest seconds between two lines of a log."""
DAY_SECONDS = 86_400.0
"""Seconds over which rich measures the speed: an epoch may take hours."""
FEWEST_REPORTS = 8
"""The number of first reports that do not count for a run's speed: they are late, because workers start."""


class ItemProgress:
    """Shows on the error stream how many items are done, how fast, and how long the rest takes.

    Call it with (items done, items in all). If fewer items are done than before, other work has begun.

    Args:
        what: the work, such as ``reading``.
        unit: the unit of the numbers shown, such as ``images``.
        scale: number of items in one unit, such as the bytes in a MB.
    """

    def __init__(self, what: str, unit: str, *, scale: int = 1, console: Console | None = None) -> None:
        self.unit, self.scale = unit, scale
        self._console = console or PlainConsole(stderr=True)
        self._progress = _one_line(self._console, lambda task: shown(self._words(task)))
        self._task = self._progress.add_task(what, total=0)
        self._logged = self._progress.get_time()

    def __enter__(self) -> "ItemProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def __call__(self, done: int, total: int) -> None:
        """Show that so many items are done."""
        if done / self.scale < self._progress.tasks[0].completed:
            self.pause()
        self._progress.update(self._task, completed=done / self.scale, total=total / self.scale)
        if self._console.is_interactive:
            self._progress.start()
        elif self._progress.get_time() - self._logged >= LOG_SECONDS:
            self._logged = self._progress.get_time()
            self._console.print(shown(self._words(self._progress.tasks[0])), soft_wrap=True)

    def pause(self) -> None:
        """Clear the line, so that other text can be printed; the next call measures anew."""
        if self._console.is_interactive:
            self._progress.stop()
        self._progress.reset(self._task)
        self._logged = self._progress.get_time()

    def _words(self, task: Task) -> str:
        left = math.nan if task.time_remaining is None else task.time_remaining
        rate = f" · {task.speed:,.1f} {self.unit}/s" if task.speed else ""
        count = f"{int(task.completed):,}/{int(task.total or 0):,} {self.unit}"
        return f"{task.description}: {count}{rate} · {duration(left)} left"


class RunProgress:
    """Shows how far a run is: trials, epochs, the time left, and each arm's mean val accuracy so far.

    In a log it writes one line for each trial that ends.

    Args:
        trials: number of trials of the run, including those done before.
        epochs: number of epochs left to train.
        trials_done: number of trials done before.
        seconds_per_epoch: the expected time of an epoch, used until enough epochs were timed.
        beside: the time that each remaining trial takes beside its epochs, counted in epochs, by trial_id; explanations
            may take longer than training. A trial that is not listed is assumed to take the mean of the others.
    """

    def __init__(
        self,
        out: Console,
        *,
        trials: int,
        epochs: int,
        trials_done: int,
        seconds_per_epoch: float,
        beside: Mapping[str, float] | None = None,
    ) -> None:
        self.out, self.trials, self.epochs = out, trials, epochs
        self.trials_done, self.epochs_done, self.failed = trials_done, 0, 0
        self._expected, self._reports = seconds_per_epoch, 0
        self._beside = beside or {}
        self._usual = sum(self._beside.values()) / max(len(self._beside), 1)
        unknown = max(trials - trials_done - len(self._beside), 0)
        self._val: dict[str, list[float]] = {}
        self._progress = _one_line(out, lambda _: self._line())
        work = epochs + sum(self._beside.values()) + unknown * self._usual
        self._task = self._progress.add_task("", total=work)

    def __enter__(self) -> "RunProgress":
        if self.out.is_interactive:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.out.is_interactive:
            self._progress.stop()

    def epoch(self) -> None:
        """Count an epoch that a trial has trained."""
        self.epochs_done += 1
        self._advance(1)

    def trial(self, trial_id: str, arm: str, val_accuracy: float) -> None:
        """Count a trial that is complete."""
        self.trials_done += 1
        self._advance(self._beside.get(trial_id, self._usual))
        self._val.setdefault(arm, []).append(val_accuracy)
        if not self.out.is_interactive:
            line = shown(f"{trial_id}: val {val_accuracy:.1f} %   (")
            self.out.print(line + self._line(short=True) + shown(")"), soft_wrap=True)

    def failure(self, trial_id: str) -> None:
        """Count a trial that failed, and name it."""
        self.failed += 1
        self.out.print(shown(f"{trial_id} failed", "red"))

    def text(self) -> str:
        """Return the line without its colours."""
        return self._line().plain

    def _line(self, *, short: bool = False) -> Text:
        """Compose the line; the short one leaves out the val accuracies, which a log shows for each trial."""
        val = ", ".join(f"{arm} {sum(v) / len(v):.1f} %" for arm, v in sorted(self._val.items()))
        parts = [f"{self.trials_done}/{self.trials} trials", f"{self.epochs_done}/{self.epochs} epochs"]
        parts += [f"{duration(self._seconds_left())} left"]
        parts += [f"val so far: {val}"] if val and not short else []
        line = [shown(part) for part in parts] + ([shown(f"{self.failed} failed", "red")] if self.failed else [])
        return Text(" · ").join(line)

    def _seconds_left(self) -> float:
        task = self._progress.tasks[0]
        each = 1 / task.speed if self._reports > FEWEST_REPORTS and task.speed else self._expected
        return each * max(task.remaining or 0.0, 0.0)

    def _advance(self, epochs: float) -> None:
        if epochs:
            self._reports += 1
            self._progress.advance(self._task, epochs)


class _Words(ProgressColumn):
    """A column of text that may wrap, such as the accuracies of many arms."""

    def __init__(self, text: Callable[[Task], Text]) -> None:
        super().__init__(table_column=Column(ratio=1))
        self._text = text

    def render(self, task: Task) -> Text:
        return self._text(task)


def _one_line(console: Console, text: Callable[[Task], Text]) -> Progress:
    """Make a one-line display that is erased at its end; on the error stream it leaves standard output alone."""
    return Progress(
        SpinnerColumn(),
        _Words(text),
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=console.stderr is False,
        speed_estimate_period=DAY_SECONDS,
    )
