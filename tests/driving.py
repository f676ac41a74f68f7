"""Runs command lines as a person does: ``python study/run.py`` in a session of its own, watched through /proc."""

import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT = 150
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


def left_over(mark, *, seconds=10):
    """Wait until no process carries this mark, at most so many seconds; list those that still do."""
    until = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < until:
        time.sleep(0.2)
    return found
