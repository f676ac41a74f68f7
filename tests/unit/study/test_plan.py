import dataclasses
import json

from study.plan import Extension, Plan, PlannedTrial
from study.run_folder import RunFolder


def test_a_plan_is_the_same_after_json(finished_run):
    plan = RunFolder(finished_run).read_plan()

    assert Plan.of(json.loads(json.dumps(plan.as_dict()))) == plan


def test_an_extended_plan_is_the_same_after_json_and_one_that_was_not_has_no_such_key(finished_run):
    plan = RunFolder(finished_run).read_plan()
    step = Extension("2026-11-27T12:00:00", "run.py --extend", "abc", "f" * 64, "", ("seeds 2, 3",), 2, 8, 8, 0, False)

    more = dataclasses.replace(plan, extensions=(step,))

    assert "extensions" not in plan.as_dict()
    assert Plan.of(json.loads(json.dumps(more.as_dict()))) == more
    assert str(step) == "2026-11-27, after 2 seeds, 8 of 8 trials complete: by seeds 2, 3"


def test_everything_is_the_trials_and_then_the_confirmed(finished_run):
    plan = RunFolder(finished_run).read_plan()
    plan = dataclasses.replace(plan, trials=plan.trials[:2], confirmed=plan.trials[2:4])

    assert len(plan.everything) == 4
    assert plan.everything == (*plan.trials, *plan.confirmed)


def test_a_trial_is_the_same_after_json(finished_run):
    trial = RunFolder(finished_run).read_plan().trials[3]

    assert PlannedTrial.of(json.loads(json.dumps(trial.as_dict()))) == trial
