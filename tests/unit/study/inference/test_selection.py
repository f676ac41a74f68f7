"""Which trained models of a study are asked, where settings are repeated and pairs are not as they should be."""

import json
import shutil

import pandas as pd
import pytest

from study.inference.selection import _best_on_val, complete_trials, pick, pick_pair
from study.run_folder import RunFolder


@pytest.fixture
def two_runs(finished_run, tmp_path):
    """A study folder with the run twice, as a grid and as a random search. May be damaged."""
    for search in ("grid", "random"):
        shutil.copytree(finished_run, tmp_path / "small" / search)
    return tmp_path / "small"


def trial_of(run, arm):
    """The trial_id of this arm's first trial."""
    return next(trial.trial_id for trial in RunFolder(run).read_plan().trials if trial.arm == arm)


def test_a_setting_that_was_suggested_twice_has_no_more_seeds_for_it(finished_run):
    done = complete_trials(finished_run)
    best, _ = _best_on_val(done)
    others = done[done["arm"] != best["arm"].iloc[0]]

    again, _ = _best_on_val(pd.concat([done, others], ignore_index=True))

    assert again["trial_id"].tolist() == best["trial_id"].tolist()


def test_a_setting_that_two_runs_have_counts_no_more_than_one_of_a_single_run(finished_run, two_runs):
    (best,), _ = pick(finished_run, None)
    for trial in RunFolder(finished_run).read_plan().trials:
        if (trial.arm, trial.config.threshold) == (best.planned.arm, best.planned.config.threshold):
            (RunFolder(two_runs / "random").trial(trial.trial_id).report_file).unlink()

    (found,), line = pick(two_runs, None)

    assert found.name == f"grid/{best.name}"
    assert "the best of 2 trials of the setting" in line


def test_the_baseline_of_another_run_differs_in_nothing_but_proxies(two_runs):
    names = [f"random/{trial_of(two_runs / 'random', 'baseline')}", f"grid/{trial_of(two_runs / 'grid', 'proxy')}"]

    without, proxied, line = pick_pair(two_runs, f"shown_id in {names}")

    assert ([without.name, proxied.name], line) == (names, "")


def test_an_audit_beside_its_baseline_is_told_to_differ_in_more_than_proxies(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "small" / "grid")
    one, other = trial_of(run, "baseline"), trial_of(run, "random-mask")
    plan = json.loads((run / "plan.json").read_text())
    (audit,) = [trial for trial in plan["trials"] if trial["trial_id"] == other]
    audit |= {"arm": "audit", "split_digest": "another", "config": {**audit["config"], "split": "redrawn"}}
    (run / "plan.json").write_text(json.dumps(plan))

    without, proxied, line = pick_pair(run, "arm == 'audit'")

    assert (without.name, proxied.name) == (one, other)
    assert line == f"{other} is an audit, of another split than its baseline {one}: they differ in more than proxies"
