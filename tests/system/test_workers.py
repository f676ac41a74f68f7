"""Trials of one worker, one after the other: what they take over from each other, and that no tensor stays behind."""

import dataclasses
import gc

import pytest
import torch

from proxy_attention.errors import DivergedError
from proxy_attention.files import load_json
from proxy_attention.memory import live_tensors
from study.execution import worker as trainable
from study.execution.runner import worker_settings
from study.execution.worker import WorkerSettings, run_planned
from study.run_folder import RunFolder

STUDY_OF_TWO = """
[study]
question = "Is an epoch that two trials have in common trained once?"
seeds = [0]
[fixed]
dataset = "folder"
model = "test_resnet"
image_size = 32
batch_size = 8
precision = "fp32"
threads = 1
[search]
schedule = ["3", "1,p,1"]
"""


@pytest.fixture
def prepared(prepared_run, tmp_path):
    return prepared_run(tmp_path / "small" / "grid")


def folder(prepared, number):
    return prepared.run.trial(prepared.plan.trials[number].trial_id).path


def read(prepared, number, name):
    values = load_json(folder(prepared, number) / name)
    return values["epochs"] if name == "epochs.json" else values


def lasting(report):
    """A report or record without what a clock or the process decides."""
    decided = ("_seconds", "_mb", "sha256_of")
    return {name: value for name, value in report.items() if not name.endswith(decided)}


@pytest.fixture
def hot(prepared_run, study_text, tmp_path):
    """A run whose control diverges at once."""
    return prepared_run(tmp_path / "hot" / "grid", study_text.replace('mask = "random"', "lr = 1e30"))


def test_a_trial_that_branches_from_another_reports_and_draws_the_epochs_that_it_took_over(prepared_run, tmp_path):
    text = STUDY_OF_TWO
    alone, shared = (prepared_run(tmp_path / name / "grid", text) for name in ("alone", "shared"))
    reports = {}
    for prepared in (alone, shared):
        settings = worker_settings(prepared, known=prepared.plan.trials)
        if prepared is alone:
            settings = dataclasses.replace(settings, sharing=None)
        for number, planned in enumerate(prepared.plan.trials):
            seen = reports.setdefault((prepared is shared, number), [])
            run_planned(planned, settings, seen.append)

    assert [report["trained"] for report in reports[False, 1]] == [1, 1, 1]
    assert [(report["epochs_done"], report["trained"]) for report in reports[True, 1]] == [(2, 0), (3, 1)]
    for number in (0, 1):
        assert lasting(read(alone, number, "report.json")) == lasting(read(shared, number, "report.json"))
        assert [lasting(row) for row in read(alone, number, "epochs.json")] == [
            lasting(row) for row in read(shared, number, "epochs.json")
        ]


@pytest.mark.parametrize("steps", ["1,p,1,p", pytest.param("1,p,p,1", marks=pytest.mark.slow)])
def test_a_trial_that_took_over_epochs_beyond_its_step_has_the_sheet_of_its_step(prepared_run, tmp_path, steps):
    text = STUDY_OF_TWO.replace('["3", "1,p,1"]', f'["{steps}", "1,p,2"]')
    alone, shared = (prepared_run(tmp_path / name / "grid", text) for name in ("alone", "shared"))
    for prepared in (alone, shared):
        settings = worker_settings(prepared, known=prepared.plan.trials)
        if prepared is alone:
            settings = dataclasses.replace(settings, sharing=None)
        seen = []
        for planned in prepared.plan.trials:
            run_planned(planned, settings, seen.append)

    borrowed = [report for report in seen if not report["trained"]]
    assert [(report["trial"], report["epochs_done"] > 2) for report in borrowed] == [
        (shared.plan.trials[1].trial_id, True)
    ]
    for name in ("proxies.png", "proxies.json"):
        assert (folder(shared, 1) / name).read_bytes() == (folder(alone, 1) / name).read_bytes()


def test_a_setting_that_is_complete_is_taken_over_without_training(prepared_run, run_one, study_text, tmp_path):
    twin = study_text.replace('name = "random-mask"', 'name = "twin"').replace('mask = "random"', "")
    prepared = prepared_run(tmp_path / "twin" / "grid", twin)
    assert prepared.plan.trials[1].config_digest == prepared.plan.trials[3].config_digest
    first = run_one(prepared, 1)
    slow = read(prepared, 1, "report.json")

    second = run_one(prepared, 3)

    taken = read(prepared, 3, "report.json")
    assert taken.pop("same_as") == prepared.plan.trials[1].trial_id
    assert list(taken["sha256_of"]) == ["epochs.json"]
    own = {"wall_seconds": 0, "sha256_of": None}
    assert {**taken, **own} == {**slow, **own}
    assert taken["wall_seconds"] < slow["wall_seconds"] / 5
    assert read(prepared, 3, "epochs.json") == read(prepared, 1, "epochs.json")
    whose = {"trial": prepared.plan.trials[3].trial_id, "arm": "twin"}
    assert second == [{**first[-1], **whose, "trained": 0}]
    assert not (folder(prepared, 3) / "weights.safetensors").exists()
    for name in ("proxies.png", "proxies.json"):
        assert (folder(prepared, 3) / name).read_bytes() == (folder(prepared, 1) / name).read_bytes()


def test_a_setting_whose_twin_is_not_complete_is_trained(prepared_run, run_one, study_text, tmp_path):
    twin = study_text.replace('name = "random-mask"', 'name = "twin"').replace('mask = "random"', "")
    prepared = prepared_run(tmp_path / "twin" / "grid", twin)
    with pytest.raises(KeyboardInterrupt):
        run_one(prepared, 1, stop_after=1)

    run_one(prepared, 3)

    assert "same_as" not in read(prepared, 3, "report.json")


@pytest.mark.slow
def test_six_trials_in_one_worker_leave_no_tensor_behind(prepared, run_one):
    run_one(prepared, 0)  # what libraries and the worker keep from their first trial is no leak
    before = live_tensors()
    counts = []

    for number in (1, 2, 3, 4, 5, 6):
        run_one(prepared, number)
        counts.append(live_tensors())

    assert counts == [before] * 6


def test_a_trial_that_fails_leaves_no_tensor_behind(hot, run_one):
    run_one(hot, 0)
    before = live_tensors()

    with pytest.raises(DivergedError) as caught:
        run_one(hot, 3)
    del caught
    gc.collect()

    assert live_tensors() == before


def test_a_trial_that_fails_frees_its_tensors_while_its_error_is_kept(hot, run_one):
    """Tune keeps the error of a failed trial in a worker that goes on to the next."""
    run_one(hot, 0)
    before = live_tensors()

    with pytest.raises(DivergedError) as caught:
        run_planned(hot.plan.trials[3], WorkerSettings(hot.run, hot.settings.data_root, "cpu", ""), print)

    assert caught.value is not None
    assert live_tensors() <= before + 2


def test_a_worker_that_holds_more_tensors_than_after_its_first_trial_is_seen(prepared, run_one):
    trainable._held_at_first.cache_clear()
    run_one(prepared, 1)
    assert trainable.memory_came_back("cpu")
    run_one(prepared, 2)
    assert trainable.memory_came_back("cpu")

    planted = [torch.zeros(1) for _ in range(100)]

    assert not trainable.memory_came_back("cpu")
    del planted
    assert trainable.memory_came_back("cpu")


def test_a_trial_that_was_cut_goes_on_after_its_last_epoch_to_the_same_end(prepared, run_one, finished_run):
    with pytest.raises(KeyboardInterrupt):
        run_one(prepared, 1, stop_after=1)
    cut = read(prepared, 1, "epochs.json")
    assert not (folder(prepared, 1) / "error.json").exists()

    reports = run_one(prepared, 1)

    assert [report["epochs_done"] for report in reports] == [2]
    assert read(prepared, 1, "epochs.json")[:1] == cut
    whole = RunFolder(finished_run).trial(prepared.plan.trials[1].trial_id).path
    assert lasting(read(prepared, 1, "report.json")) == lasting(load_json(whole / "report.json"))
    assert (folder(prepared, 1) / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


def test_a_trial_that_was_cut_after_its_last_epoch_still_tells_its_accuracy(prepared, run_one):
    with pytest.raises(KeyboardInterrupt):
        run_one(prepared, 1, stop_after=2)
    assert not (folder(prepared, 1) / "report.json").exists()

    reports = run_one(prepared, 1)

    assert [report["epochs_done"] for report in reports] == [2]
    assert reports[0]["val_accuracy"] == read(prepared, 1, "report.json")["val_accuracy"]
