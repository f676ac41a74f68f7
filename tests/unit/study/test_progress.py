"""What the progress of a run and of a data tool tells, on a terminal and in a log."""

import io

import pytest
from rich.console import Console
from traps import TRAPS, controls

from study.progress import ItemProgress, RunProgress


@pytest.fixture
def line():
    """The progress of a run of 4 trials, one of which was done before, with 6 epochs left to train, in a log."""
    out = io.StringIO()
    return (
        RunProgress(
            Console(file=out, width=160),
            trials=4,
            epochs=6,
            trials_done=1,
            seconds_per_epoch=10,
        ),
        out,
    )


def test_progress_counts_what_was_done_before(line):
    assert line[0].text() == "1/4 trials · 0/6 epochs · 1:00 left"


def test_progress_tells_the_mean_val_accuracy_of_each_arm(line):
    progress, _ = line
    progress.epoch()
    progress.trial("0001-proxy", "proxy", 80.0)
    progress.trial("0002-proxy", "proxy", 70.0)
    progress.trial("0003-baseline", "baseline", 60.0)

    assert progress.text() == "4/4 trials · 1/6 epochs · 0:50 left · val so far: baseline 60.0 %, proxy 75.0 %"


def test_in_a_log_progress_is_a_line_a_trial(line):
    progress, out = line
    with progress:
        progress.epoch()
        progress.trial("0001-proxy", "proxy", 80.0)
        progress.failure("0002-proxy")

    first, second = out.getvalue().splitlines()
    assert first.startswith("0001-proxy: val 80.0 %   (2/4 trials · 1/6 epochs")
    assert "0002-proxy failed" in second


def test_what_trials_take_beside_their_epochs_counts_as_work():
    beside = {"0001-proxy": 4.0, "0002-proxy": 1.0}  # the third is not known yet: their mean, 2.5
    progress = RunProgress(
        Console(file=io.StringIO()), trials=4, epochs=6, trials_done=1, seconds_per_epoch=10, beside=beside
    )
    assert "2:15 left" in progress.text()

    progress.epoch()
    progress.trial("0001-proxy", "proxy", 80.0)
    assert "1:25 left" in progress.text()

    progress.trial("0003-proxy", "proxy", 80.0)
    assert "1:00 left" in progress.text()


def test_failures_are_counted(line):
    progress, _ = line
    progress.failure("0001-proxy")

    assert "1 failed" in progress.text()


@pytest.mark.parametrize("trap", TRAPS)
def test_no_name_acts_in_the_progress_of_a_run(line, trap):
    progress, out = line
    with progress:
        progress.trial(trap, trap, 80.0)
        progress.failure(trap)

    assert len(out.getvalue().splitlines()) == 2
    assert controls(out.getvalue()) == []
    assert trap in progress.text() or controls(trap, keep="")


def test_a_run_on_a_terminal_is_one_line_that_vanishes():
    out = io.StringIO()
    terminal = Console(file=out, width=160, force_terminal=True, _environ={"TERM": "xterm"})

    with RunProgress(terminal, trials=2, epochs=2, trials_done=0, seconds_per_epoch=10) as progress:
        progress.trial("0001-proxy", "proxy", 80.0)
        progress._progress.refresh()

    assert "1/2 trials · 0/2 epochs · 0:20 left · val so far: proxy 80.0 %" in out.getvalue()
    assert "0001-proxy: val" not in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")


# ---- items


@pytest.fixture
def clock():
    """The time in a list of one, for a test to set."""
    return [100.0]


def test_a_terminal_shows_what_is_done_how_fast_and_the_time_left(clock):
    out = io.StringIO()
    terminal = Console(file=out, width=160, force_terminal=True, _environ={"TERM": "xterm"}, get_time=lambda: clock[0])
    mb = 2**20

    with ItemProgress("unpacking", "MB", scale=mb, console=terminal) as progress:
        for seconds, done in ((0, 10 * mb), (2, 20 * mb), (4, 30 * mb)):
            clock[0] = 100.0 + seconds
            progress(done, 2000 * mb)
        progress._progress.refresh()

    assert "unpacking: 30/2,000 MB · 5.0 MB/s · 6:34 left" in out.getvalue()


def test_a_log_has_a_line_now_and_then(clock):
    out = io.StringIO()

    with ItemProgress("reading", "images", console=Console(file=out, width=160, get_time=lambda: clock[0])) as progress:
        for seconds in range(0, 25, 4):
            clock[0] = 100.0 + seconds
            progress(seconds, 100)

    assert [line.partition(" · ")[0] for line in out.getvalue().splitlines()] == [
        "reading: 12/100 images",
        "reading: 24/100 images",
    ]


def test_fewer_items_than_before_are_other_work(clock):
    out = io.StringIO()

    with ItemProgress("reading", "images", console=Console(file=out, width=160, get_time=lambda: clock[0])) as progress:
        for seconds, done in ((0, 90), (9, 95), (18, 1), (29, 2)):
            clock[0] = 100.0 + seconds
            progress(done, 100)

    assert out.getvalue().splitlines() == ["reading: 2/100 images · 0.1 images/s · 17:58 left"]
