"""A study that is extended, and interrupted at that, ends with the rows of one that was planned so."""

import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from driving import TIMEOUT, VOLATILE, end, marked, start

from study.results import load_results

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def reports(run: Path) -> dict[str, int]:
    """When each trial became complete, in nanoseconds."""
    return {file.parent.name: file.stat().st_mtime_ns for file in run.glob("trials/*/report.json")}


def kill_after(trials: int, run: Path, mark: str, process) -> None:
    """Kill every process of a study at once when so many of its trials are complete."""
    until = time.monotonic() + TIMEOUT
    while len(reports(run)) < trials:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    for pid in marked(mark):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=30)


def test_two_more_seeds_train_only_what_is_new_and_equal_a_study_planned_with_four(
    command, home, image_folder, study_text, tmp_path
):
    text = study_text.replace("threshold = [0.3, 0.6]", "threshold = [0.3]").partition("[[arm]]")[0]
    whole = command("grid", "--seeds", "0,1,2,3", text=text)
    first = command("grid", text=text, storage=tmp_path)
    assert (whole.code, first.code) == (0, 0), (whole.err, first.err)
    before = reports(first.run)

    asked = ("--experiment", tmp_path / "asked", "--data-root", image_folder, "--name", "small", "--no-dashboard")
    mark, process = start(tmp_path, home, "--search", "grid", *asked, "--extend", "--seeds", "0,1,2,3")
    kill_after(5, first.run, mark, process)
    mark, process = start(tmp_path, home, "--restore", first.run, "--no-dashboard")
    done = end(process, mark, first.run)

    assert (done.code, done.err) == (0, "")
    assert "after 2 seeds, by seeds 2, 3, when 4 of its 4 trials were complete" in " ".join(done.out.split())
    assert {name: reports(done.run)[name] for name in before} == before
    rows = [load_results(run).drop(columns=VOLATILE).reset_index(drop=True) for run in (done.run, whole.run)]
    pd.testing.assert_frame_equal(*rows)
