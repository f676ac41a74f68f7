"""An Optuna search that is killed at every stage of its life ends with the rows of one that was not."""

import contextlib
import sqlite3

import pandas as pd
import pytest
from driving import complete, cut_power, end, lasting_epochs, lasting_rows, longest_cut, restored, start, wait_until

from study.results import load_results
from study.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


def optuna_states(run) -> list[str]:
    """States of the trials in a run's optuna.db; none before it can be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{run / 'optuna.db'}?mode=ro", uri=True)) as db:
            return [state for (state,) in db.execute("select state from trials")]
    except sqlite3.OperationalError:
        return []


SEARCH_INSTANTS = {
    "nothing is suggested": lambda run: RunFolder(run).has_plan,
    "no worker has written of the first suggestion": lambda run: "RUNNING" in optuna_states(run),
    "the baseline is in its middle": lambda run: longest_cut(run) >= 2,
    "between two trials": lambda run: len(complete(run)) >= 2,
    "before the report": lambda run: len(complete(run)) >= 4,
}


def test_an_optuna_study_killed_at_every_stage_has_the_rows_and_the_baseline_of_one_that_was_not(home, tmp_path):
    usual = ("--search", "optuna", "--experiment", "quick", "--trials", "4", "--concurrency", "1", "--no-dashboard")
    fields = ("train_fraction=0.05", "image_size=32", "judge_images=4", "threshold={low = 0.1, high = 0.9}")
    small = ("--seeds", "0", *(word for field in fields for word in ("--set", field)))
    storage = tmp_path / "whole"
    mark, process = start(storage, home, *usual, *small)
    whole = end(process, mark, storage / "quick" / "optuna")
    assert whole.code == 0, whole.err

    run = tmp_path / "quick" / "optuna"
    command = (*usual, *small)
    for name, holds in SEARCH_INSTANTS.items():
        mark, process = start(tmp_path, home, *command)
        wait_until(holds, run, process)
        cut_power(process, mark)
        assert not (run / "results.csv").exists(), name
        command = ("--restore", run, "--no-dashboard")

    done = restored(run, home)

    assert done.code == 0, done.err
    assert list(load_results(run)["arm"]) == ["baseline", "proxy", "proxy", "proxy"]
    pd.testing.assert_frame_equal(lasting_rows(run), lasting_rows(whole.run))
    pd.testing.assert_frame_equal(lasting_epochs(run), lasting_epochs(whole.run))
