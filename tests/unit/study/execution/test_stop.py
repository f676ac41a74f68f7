"""The signals that ask a command to stop: heard, remembered, held back, passed on."""

import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

import study
from study.execution.stop import HEARD, hear_again, signals_held, stop_asked, stop_on_signals, stopping_in_good_order


@pytest.fixture(autouse=True)
def in_the_foreground():
    """Handlers as a program in the foreground has them."""
    before = {number: signal.getsignal(number) for number in HEARD}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in HEARD[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", HEARD)
def test_a_signal_interrupts_and_the_handlers_are_given_back(number):
    before = [signal.getsignal(each) for each in HEARD]

    with stop_on_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert stop_asked()

    assert not stop_asked()
    assert [signal.getsignal(each) for each in HEARD] == before


def test_one_that_is_lost_in_a_callback_of_the_interpreter_is_remembered(monkeypatch):
    class Anything:
        pass

    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)
    with stop_on_signals():
        assert not stop_asked()
        thing = Anything()
        kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing

        assert kept() is None
        assert stop_asked()
        with pytest.raises(KeyboardInterrupt), stopping_in_good_order():
            pass


def test_what_was_ignored_before_stays_ignored_but_sigterm():
    for number in HEARD:
        signal.signal(number, signal.SIG_IGN)

    with stop_on_signals():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        assert not stop_asked()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_handlers_that_a_library_has_set_are_taken_back():
    with stop_on_signals():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(15))
        hear_again()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def test_held_signals_are_remembered_and_do_not_interrupt():
    with stop_on_signals():
        with signals_held():
            signal.raise_signal(signal.SIGINT)
        assert stop_asked()


def test_the_first_is_passed_on_to_tune_and_the_second_interrupts():
    heard = []
    before = signal.getsignal(signal.SIGUSR1)
    with stop_on_signals():
        with stopping_in_good_order():
            signal.signal(signal.SIGUSR1, lambda *_: heard.append(True))
            signal.raise_signal(signal.SIGINT)
            assert heard == [True]
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert heard == [True]
        assert signal.getsignal(signal.SIGUSR1) == before


HUNG_UP = """
import fcntl, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from study.execution.stop import stop_on_signals
with stop_on_signals():
    try:
        print("ready", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        print("nobody reads this", flush=True)
        open(sys.argv[1], "w").write("the end was reached")
"""


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_a_terminal_that_is_closed_interrupts_and_what_is_printed_then_is_no_error(tmp_path):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", HUNG_UP, tmp_path / "end"],
        env={**os.environ, "PYTHONPATH": str(Path(study.__file__).parents[1])},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert os.read(ours, 5) == b"ready"

    os.close(ours)

    assert process.wait(timeout=30) == 0
    assert (tmp_path / "end").read_text() == "the end was reached"
