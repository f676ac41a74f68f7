"""Hears the signals that ask a command to stop, and remembers that one has come; knows no run.

A KeyboardInterrupt is lost where it is raised inside of a callback of the interpreter (a weak reference, ``__del__``):
that one has come is kept beside it, and asked for before anything new is begun.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from study.streams import leave_lost_terminal

HEARD = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, ``kill``, and a terminal that was closed."""


@dataclass
class _State:
    """The handlers of a process are its own, and so is what they have heard."""

    asked: bool = False
    held: bool = False
    forwards: bool = False
    before: dict[Any, Any] = field(default_factory=dict)


_state = _State()


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on the signals in ``HEARD`` during a ``with`` block.

    A signal that this process was started to ignore, as with ``nohup`` or in the background of a script, stays ignored.
    """
    _state.asked, _state.before = False, {number: signal.getsignal(number) for number in HEARD}
    hear_again()
    try:
        yield
    finally:
        for number, handler in _state.before.items():
            signal.signal(number, handler)
        _state.asked, _state.before = False, {}


def hear_again() -> None:
    """Set the handlers again, after a library has set its own."""
    for number, before in _state.before.items():
        if before != signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, _hear)


def stop_asked() -> bool:
    """Whether a signal has come, or ``ask_to_stop`` was called."""
    return _state.asked


def ask_to_stop() -> None:
    """Do what a signal does."""
    first, _state.asked = not _state.asked, True
    if _state.held:
        return
    if _state.forwards and first:
        signal.raise_signal(signal.SIGUSR1)
    else:
        raise KeyboardInterrupt


@contextmanager
def signals_held() -> Iterator[None]:
    """Only remember signals during a ``with`` block: what it does is short and must be whole."""
    _state.held = True
    try:
        yield
    finally:
        _state.held = False


@contextmanager
def stopping_in_good_order() -> Iterator[None]:
    """Pass the first signal on as SIGUSR1 during a ``with`` block, on which Tune stops its trials; raise on the second.

    Raises: KeyboardInterrupt if one has come before.
    """
    if _state.asked:
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until Tune sets its handler; by itself it kills
    _state.forwards = True
    try:
        yield
    finally:
        _state.forwards = False
        signal.signal(signal.SIGUSR1, before)


def _hear(number: int, _frame: Any) -> None:
    if number == getattr(signal, "SIGHUP", None):
        leave_lost_terminal()
        if _state.asked:  # a terminal that is closed sends two
            return
    ask_to_stop()
