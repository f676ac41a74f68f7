import dataclasses
import json

from study.plan import Plan, PlannedTrial
from study.run_folder import RunFolder


def test_a_plan_is_the_same_after_json(finished_run):
    plan = RunFolder(finished_run).read_plan()

    assert Plan.of(json.loads(json.dumps(plan.as_dict()))) == plan


def test_everything_is_the_trials_and_then_the_confirmed(finished_run):
    plan = RunFolder(finished_run).read_plan()
    plan = dataclasses.replace(plan, trials=plan.trials[:2], confirmed=plan.trials[2:4])

    assert len(plan.everything) == 4
    assert plan.everything == (*plan.trials, *plan.confirmed)


def test_a_trial_is_the_same_after_json(finished_run):
    trial = RunFolder(finished_run).read_plan().trials[3]

    assert PlannedTrial.of(json.loads(json.dumps(trial.as_dict()))) == trial
