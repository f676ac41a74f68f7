"""Runs command lines as a person does: ``python study/run.py`` in a session of its own, watched through /proc."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy_attention.files import read_json
from study.results import load_epochs, load_results

ROOT = Path(__file__).parent.parent
TIMEOUT = 400
"""Seconds after which a command line hangs; a busy machine of two cores needs a third of it."""
MARK = "PROXY_ATTENTION_TEST"
VOLATILE = ["trial_id", "commit", "train_seconds", "proxy_seconds", "judge_seconds", "wall_seconds", "peak_memory_mb"]
"""The columns in which two runs of one study may differ."""


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command line that has ended."""

    code: int
    out: str
    err: str
    run: Path
    mark: str


def start(storage, home, *argv, **environment):
    """Start ``study/run.py`` in a session of its own, as a terminal would.

    Args:
        environment: further variables.
    Returns: a mark that all its processes carry in their environment, and the process.
    """
    mark = uuid.uuid4().hex
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_", "COV_"))}
    return mark, subprocess.Popen(
        [
            sys.executable,
            "study/run.py",
            *map(str, argv),
            *(() if "--restore" in argv else ("--storage", str(storage))),
        ],
        cwd=ROOT,
        env={**kept, MARK: mark, "HOME": str(home), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process, mark, run):
    """Wait for a command line to end; after ``TIMEOUT`` seconds, kill its processes and fail the test."""
    try:
        out, err = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        for number in marked(mark):
            os.kill(number, signal.SIGKILL)
        out, err = process.communicate(timeout=30)
        pytest.fail(f"no end after {TIMEOUT} s:\n{out[-2000:]}\n{err[-2000:]}")
    return Done(process.returncode, out, err, run, mark)


def marked(mark):
    """List the numbers of all processes that carry this mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended, or is another user's
    return found


def wait_until(holds, run, process):
    """Wait for an instant in a study's life, which ``holds`` tells of its run; at most ``TIMEOUT`` seconds."""
    until = time.monotonic() + TIMEOUT
    while not holds(run):
        assert process.poll() is None, "the study ended before the instant came"
        assert time.monotonic() < until, "the instant never came"
        time.sleep(0.01)


def kill(process, mark):
    """SIGKILL for the process group; Ray's own processes notice that their driver is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert left_over(mark, seconds=30) == []


def cut_power(process, mark):
    """SIGKILL for every process of the study at once: its workers do not live to finish what they are at."""
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    kill(process, mark)


def left_over(mark, *, seconds=10):
    """Wait until no process carries this mark, at most so many seconds; list those that still do."""
    until = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def restored(run, home):
    """Finish a run with ``--restore``, and wait for its end."""
    mark, process = start(run, home, "--restore", run, "--no-dashboard")
    return end(process, mark, run)


def lasting_rows(run):
    """Load the rows of a run, without the columns in which two runs may differ."""
    return load_results(run).drop(columns=VOLATILE).reset_index(drop=True)


def lasting_epochs(run):
    """Load the epochs of a run, without times and memory."""
    frame = load_epochs(run)
    return frame.drop(columns=[name for name in frame if "seconds" in name or "memory" in name])


def complete(run):
    """List the folders of the complete trials."""
    return [file.parent for file in (run / "trials").glob("*/report.json")]


def longest_cut(run):
    """Count the epochs done by the trial that is furthest, of those not complete."""
    cut = [
        len((read_json(file) or {"epochs": []})["epochs"])
        for file in (run / "trials").glob("*/epochs.json")
        if not (file.parent / "report.json").exists()
    ]
    return max(cut, default=0)
