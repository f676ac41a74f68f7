"""What Optuna is asked and told, without Ray; with it: ``test_whole_studies``."""

import dataclasses

import optuna
import pandas as pd
import pytest

from study.execution.status import status
from study.execution.suggestions import Suggestions
from study.plan import PlannedTrial
from study.planning.planner import Planner
from study.planning.study_file import parse_study
from study.results import load_results
from study.run_folder import RunFolder

RUNNING = [optuna.trial.TrialState.RUNNING]


@pytest.fixture
def opened(study_text, image_folder):
    """Open the search of a run on the small study, changed so, as a new process would."""
    planners = {}

    def make(run, storage=None, *settings):
        study = parse_study(study_text, settings=settings, seeds=(5, 6))
        if settings not in planners:
            planners[settings] = Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {})
        storage = storage or optuna.storages.InMemoryStorage()
        return Suggestions.open(study, planners[settings], RunFolder(run), "small", storage)

    return make


@pytest.fixture
def ask(opened, tmp_path):
    """Let TPE suggest settings of the small study, changed so, and tell it an accuracy for each."""

    def run(count, *settings):
        known = opened(tmp_path, None, *settings)
        known.study.enqueue_trial(known.first_point()[0])
        found = []
        for number in range(count):
            trial = known.study.ask()
            found.append((known.space(trial)["trial"], trial.params))
            known.study.tell(trial, 50.0 + number % 3)
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


def without_a_trial(run, finished_run, **changes):
    """Write the plan of a search that has suggested nothing yet."""
    plan = RunFolder(finished_run).read_plan()
    asked = {"search": "optuna", "seeds": (5, 6), "trials": (), "suggestions": 2, **changes}
    RunFolder(run).write_plan(dataclasses.replace(plan, **asked))
    return RunFolder(run)


def test_a_suggestion_that_a_kill_cut_short_is_finished_as_it_would_have_been(opened, finished_run, tmp_path):
    settings = ("threshold={low = 0.0, high = 1.0}", "batch_size=[2, 4, 8]")
    run = without_a_trial(tmp_path, finished_run).path
    kept = optuna.storages.InMemoryStorage()
    whole = opened(run, None, *settings)
    for known in (whole, opened(run, kept, *settings)):
        known.study.enqueue_trial(known.first_point()[0])
    expected, found = [], []
    for number in range(13):  # TPE draws at random ten times
        trial = whole.study.ask()
        expected.append(whole.space(trial)["trial"])
        whole.study.tell(trial, 50.0 + number % 3)
        killed = opened(run, kept, *settings)
        trial = killed.study.ask()  # and then none, one or all of its parameters
        if number % 3 == 1:
            trial.suggest_categorical("schedule", ["2", "1,p"])
        if number % 3 == 2:
            killed.space(trial)
        restored = opened(run, kept, *settings)
        [planned] = restored.unfinished()
        found.append(planned.as_dict())
        restored.study.tell(number, 50.0 + number % 3)

    assert found == expected
    assert found[0]["arm"] == "baseline"


def test_the_baseline_is_asked_for_until_a_trial_is_it(opened, finished_run, tmp_path):
    known = opened(without_a_trial(tmp_path, finished_run).path)
    baseline, other = ({"schedule": "2"}, {"schedule": "1,p", "threshold": 0.3})

    assert known.first_point() == [baseline]
    known.study.enqueue_trial(baseline)
    assert known.first_point() is None  # it is queued
    known.study.tell(known.study.ask(), state=optuna.trial.TrialState.FAIL)  # its worker died before it wrote
    assert known.first_point() == [baseline]
    for number in (1, 2):
        known.run.trial(known.space.planned(number, other).trial_id).begin(known.space.planned(number, other), "")
    assert (known.missing(2), known.missing(4)) == (1, 2)  # an older version's run may have enough, and no baseline
    known.run.trial(known.space.planned(3, baseline).trial_id).begin(known.space.planned(3, baseline), "")
    assert (known.first_point(), known.missing(2), known.missing(4)) == (None, 0, 1)


def test_a_damaged_trial_file_is_written_again_from_the_database(opened, finished_run, tmp_path):
    known = opened(tmp_path)
    suggested = [PlannedTrial.of(known.space(known.study.ask())["trial"]) for _ in range(2)]
    run = without_a_trial(tmp_path, finished_run)
    for trial in suggested:
        run.trial(trial.trial_id).begin(trial, "abc")
    before = load_results(tmp_path)
    damaged = run.trial(suggested[1].trial_id)
    damaged.trial_file.write_text(damaged.trial_file.read_text().replace('"lr": ', '"lr": 1'))

    rows = load_results(tmp_path)
    assert list(rows["status"]) == ["interrupted", "damaged"]
    assert rows["error"].iloc[1] == "trial.json is damaged; --restore writes it again"
    assert status(tmp_path).damaged == ((damaged.trial_id, rows["error"].iloc[1]),)

    assert sorted(trial.trial_id for trial in known.unfinished()) == sorted(trial.trial_id for trial in suggested)
    pd.testing.assert_frame_equal(load_results(tmp_path).drop(columns="commit"), before.drop(columns="commit"))


def test_trials_that_optuna_believes_running_are_told_how_they_ended(opened, broken_run):
    known = dataclasses.replace(opened(broken_run), seed=0)
    trials = [known.study.ask() for _ in range(4)]
    known.study.tell(trials[3], 12.0)

    known.settle()

    results = [(trial.state.name, trial.value) for trial in known.study.trials]
    accuracy = load_results(broken_run)["val_accuracy"].iloc[0]
    assert known.study.get_trials(states=RUNNING) == []
    assert results[0] == ("COMPLETE", accuracy)
    assert results[1:] == [("FAIL", None), ("FAIL", None), ("COMPLETE", 12.0)]
