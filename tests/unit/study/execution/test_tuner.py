"""What Optuna is asked and told, without Ray; with it: ``test_whole_studies``."""

import dataclasses

import optuna
import pandas as pd
import pytest

from study.execution.status import status
from study.execution.tuner import _Sampler, _settle, _Space, _write_again
from study.plan import PlannedTrial
from study.planning.planner import Planner
from study.planning.study_file import parse_study
from study.results import load_results
from study.run_folder import RunFolder

RUNNING = [optuna.trial.TrialState.RUNNING]


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def ask(study_text, image_folder):
    """Let TPE suggest settings of the small study, changed so, and tell it an accuracy for each."""

    def run(count, *settings):
        study = parse_study(study_text, settings=settings, seeds=(5, 6))
        space = _Space(study, Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {}))
        known = optuna.create_study(sampler=_Sampler(seed=1), direction="maximize")
        known.enqueue_trial({"schedule": study.baseline_schedule})
        found = []
        for number in range(count):
            trial = known.ask()
            found.append((space(trial)["trial"], trial.params))
            known.tell(trial, 50.0 + number % 3)
        return found

    return run


def test_the_baseline_is_suggested_first_and_never_again(ask):
    found = ask(25, "threshold={low = 0.0, high = 1.0}")

    assert [planned["arm"] for planned, _ in found] == ["baseline"] + ["proxy"] * 24


def test_the_baseline_is_first_where_the_search_does_not_offer_it(ask):
    found = ask(3, "schedule=1,p")

    assert [planned["config"]["schedule"] for planned, _ in found] == ["2", "1,p", "1,p"]


def test_proxy_fields_are_suggested_only_where_there_is_a_proxy_step(ask):
    (_, baseline), (_, proxy) = ask(2, "batch_size=[4, 8]")

    assert set(baseline) == {"schedule", "batch_size"}
    assert set(proxy) == {"schedule", "batch_size", "threshold"}


def test_suggestions_stay_in_their_range_and_are_whole_where_that_is_meant(ask):
    found = ask(15, "threshold={low = 0.2, high = 0.4}", "batch_size={low = 2, high = 5}")
    configs = [planned["config"] for planned, _ in found]

    assert all(0.2 <= config["threshold"] <= 0.4 for config in configs[1:])
    assert {config["batch_size"] for config in configs} <= {2, 3, 4, 5}


def test_suggestions_are_on_the_first_seed_and_numbered(ask):
    found = [planned for planned, _ in ask(3)]

    assert {planned["config"]["seed"] for planned in found} == {5}
    assert [planned["trial_id"][:5] for planned in found] == ["0000-", "0001-", "0002-"]


def test_a_damaged_trial_file_is_written_again_from_the_database(study_text, image_folder, finished_run, tmp_path):
    study = parse_study(study_text, seeds=(5, 6))
    planner = Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {})
    known = optuna.create_study(sampler=_Sampler(seed=1), direction="maximize")
    suggested = [PlannedTrial.of(_Space(study, planner)(known.ask())["trial"]) for _ in range(2)]
    run = RunFolder(tmp_path)
    plan = RunFolder(finished_run).read_plan()
    run.write_plan(dataclasses.replace(plan, search="optuna", seeds=(5, 6), trials=(), suggestions=2))
    for trial in suggested:
        run.trial(trial.trial_id).begin(trial, "abc")
    before = load_results(tmp_path)
    damaged = run.trial(suggested[1].trial_id)
    damaged.trial_file.write_text(damaged.trial_file.read_text().replace('"lr": ', '"lr": 1'))

    rows = load_results(tmp_path)
    assert list(rows["status"]) == ["interrupted", "damaged"]
    assert rows["error"].iloc[1] == "trial.json is damaged; --restore writes it again"
    assert status(tmp_path).damaged == ((damaged.trial_id, rows["error"].iloc[1]),)

    _write_again(known, study, planner, run)
    pd.testing.assert_frame_equal(load_results(tmp_path).drop(columns="commit"), before.drop(columns="commit"))


def test_trials_that_optuna_believes_running_are_told_how_they_ended(broken_run):
    known = optuna.create_study(direction="maximize")
    trials = [known.ask() for _ in range(4)]
    known.tell(trials[3], 12.0)

    _settle(known, RunFolder(broken_run), seed=0)

    results = [(trial.state.name, trial.value) for trial in known.trials]
    accuracy = load_results(broken_run)["val_accuracy"].iloc[0]
    assert known.get_trials(states=RUNNING) == []
    assert results[0] == ("COMPLETE", accuracy)
    assert results[1:] == [("FAIL", None), ("FAIL", None), ("COMPLETE", 12.0)]
