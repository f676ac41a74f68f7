"""The classifier of a trial comes from the trial's own files, which are checked."""

import dataclasses
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from written_runs import without_checksums_of

from proxy_attention.errors import ConfigError
from proxy_attention.files import load_json, read_json, write_json
from study.inference.selection import select_trials
from study.inference.trained_model import load_model
from study.run_folder import RunFolder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trials(finished_run):
    """The trials of the first seed: a baseline, two with proxies, a control."""
    return select_trials(finished_run, "seed == 0")[0]


@pytest.fixture
def own_trial(trials, tmp_path):
    """A trial whose files a test may damage."""
    return with_own_files(trials[0], tmp_path)


def with_own_files(trial, run):
    """The trial in a run folder that holds a copy of its files alone."""
    there = RunFolder(run).trial(trial.planned.trial_id).path
    shutil.copytree(RunFolder(trial.run).trial(trial.planned.trial_id).path, there)
    return dataclasses.replace(trial, run=run)


def files_of(trial):
    return RunFolder(trial.run).trial(trial.planned.trial_id)


def with_another_precision(trial, precision):
    config = dataclasses.replace(trial.planned.config, precision=precision)
    return dataclasses.replace(trial, planned=dataclasses.replace(trial.planned, config=config))


def test_a_model_is_named_after_its_trial_and_ready_to_classify(trials):
    model = load_model(trials[1], CPU)

    assert (model.name, model.arm, model.config) == (trials[1].name, "proxy", trials[1].planned.config)
    assert model.classes == tuple(files_of(trials[1]).report()["classes"])
    assert not model.classifier.module.training


@pytest.fixture
def taken_over(trials, tmp_path):
    """A trial that took over the result of another, whose folder is returned with it."""
    trial = with_own_files(trials[1], tmp_path)
    folder = files_of(trial)
    twin = RunFolder(tmp_path).trial(f"0099{trial.planned.trial_id[4:]}")
    shutil.copytree(folder.path, twin.path)
    write_json(folder.report_file, {**read_json(folder.report_file), "same_as": twin.trial_id})
    folder.weights_file.unlink()
    return trial, twin


def test_a_trial_that_took_over_the_result_of_another_has_its_weights(taken_over, trials):
    states = [load_model(trial, CPU).classifier.module.state_dict() for trial in (taken_over[0], trials[1])]

    assert all(states[0][name].equal(states[1][name]) for name in states[1])


def test_weights_of_a_twin_that_are_not_what_was_written_are_refused(taken_over):
    trial, twin = taken_over
    content = twin.weights_file.read_bytes()
    twin.weights_file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    with pytest.raises(ConfigError, match=r"is a copy of 0099-.*, which is damaged: weights.safetensors is not what"):
        load_model(trial, CPU)


def test_the_result_of_a_trial_with_another_config_is_not_taken_over(taken_over, trials):
    folder = files_of(taken_over[0])
    write_json(folder.report_file, {**read_json(folder.report_file), "same_as": trials[2].planned.trial_id})

    with pytest.raises(ConfigError, match=r"is damaged: report.json is of another trial"):
        load_model(taken_over[0], CPU)


def test_weights_behind_a_link_are_refused(own_trial, trials):
    files_of(own_trial).weights_file.unlink()
    files_of(own_trial).weights_file.symlink_to(files_of(trials[0]).weights_file)

    with pytest.raises(ConfigError, match=r"is damaged: weights.safetensors is not what was written"):
        load_model(own_trial, CPU)


@pytest.mark.parametrize(("trained_in", "runs_in"), [("fp16", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")])
def test_a_cpu_runs_a_model_in_its_own_precision_unless_that_is_fp16(trials, trained_in, runs_in):
    assert load_model(with_another_precision(trials[0], trained_in), CPU).precision == runs_in


def cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def pickle_instead(file):
    torch.save({"weight": torch.zeros(1)}, file)


def put_not_finite(file):
    state = load_file(file)
    save_file(state | {"fc.weight": torch.full_like(state["fc.weight"], torch.nan)}, file)


def put_another_model(file):
    save_file({"fc.weight": torch.zeros(4, 8)}, file)


@pytest.mark.parametrize("damage", [cut, put_another_model, put_not_finite])
def test_weights_that_are_not_what_the_trial_wrote_are_refused(own_trial, damage):
    damage(files_of(own_trial).weights_file)

    with pytest.raises(ConfigError, match=r"is damaged: weights\.safetensors is not what was written"):
        load_model(own_trial, CPU)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "is complete, but its weights are missing: there is no "),
        (cut, "are damaged or of another model: "),
        (pickle_instead, "are damaged or of another model: "),
        (put_another_model, "are damaged or of another model: "),
        (put_not_finite, "are not finite: fc.weight in "),
    ],
    ids=["missing", "cut", "pickled", "another model", "not finite"],
)
def test_weights_that_cannot_be_used_are_refused(own_trial, damage, message):
    damage(files_of(own_trial).weights_file)
    without_checksums_of(files_of(own_trial).report_file)

    with pytest.raises(ConfigError, match=message) as refused:
        load_model(own_trial, CPU)

    assert own_trial.name in str(refused.value)


@pytest.mark.parametrize("content", ["{}", '{"classes": 3}', "no JSON"])
def test_a_damaged_report_is_refused(own_trial, content):
    files_of(own_trial).report_file.write_text(content)

    with pytest.raises(ConfigError, match=rf"{own_trial.name} is damaged: report\.json is damaged; --restore trains"):
        load_model(own_trial, CPU)


def test_a_report_without_classes_is_refused(own_trial):
    file = files_of(own_trial).report_file
    write_json(file, {key: value for key, value in load_json(file).items() if key != "classes"})

    with pytest.raises(ConfigError, match=f"report.json of {own_trial.name} is damaged: it names no classes"):
        load_model(own_trial, CPU)
