"""No damage to a file of a run becomes another row, a traceback, or goes unnamed."""

import json
import random
import shutil

import pandas as pd
import pytest
from damage import flips, mutations

from proxy_attention.errors import ConfigError
from proxy_attention.files import load_json, write_json
from study.results import load_epochs, load_results
from study.run_folder import RunFolder

JSON = ("plan.json", "trial.json", "report.json", "epochs.json", "proxies.json")
FLIPS = 500


@pytest.fixture
def copy(finished_run, tmp_path):
    """The finished run, with two trials of it: the first baseline and the first trial with proxies."""
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "small" / "grid"))
    values = load_json(run.plan_file)
    for trial in values["trials"][2:]:
        shutil.rmtree(run.trial(trial["trial_id"]).path)
    write_json(run.plan_file, {**values, "trials": values["trials"][:2]})
    return run


def file_of(run, name):
    """The file of this name of the run, else of its trial with proxies."""
    return run.path / name if name == "plan.json" else run.trial(run.read_plan().trials[1].trial_id).path / name


def truth(run):
    return load_results(run.path), load_epochs(run.path)


def told(run, *, with_epochs=True):
    """Load the rows and epochs of a run, or the line with which it is refused."""
    try:
        return load_results(run.path), load_epochs(run.path) if with_epochs else None, ""
    except ConfigError as error:
        return None, None, str(error)


def check(run, rows, epochs=None):
    """Load the run, which may be refused in a line; every row is the true one, or tells no number and why."""
    found, found_epochs, refusal = told(run, with_epochs=epochs is not None)
    if refusal:
        assert "\n" not in refusal
        return "refused"
    for (_, row), (_, true) in zip(found.iterrows(), rows.iterrows(), strict=True):
        if row["status"] == "complete":
            pd.testing.assert_series_equal(row.drop("commit"), true.drop("commit"))
        else:
            assert row["status"] == "damaged" or "interrupted" in row["status"]
            assert pd.isna(row["test_accuracy"])
            assert row["error"] or row["status"] == "interrupted"
    for trial_id, group in found_epochs.groupby("trial_id") if epochs is not None else ():
        pd.testing.assert_frame_equal(group, epochs[epochs["trial_id"] == trial_id])
    return ",".join(found["status"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*JSON, "weights.safetensors", "recipes.safetensors"])
def test_of_500_flipped_bits_in_a_file_none_gives_another_row(copy, name):
    rows, epochs = truth(copy)
    file, draws = file_of(copy, name), random.Random(name)
    for bit in flips(file, draws, FLIPS):
        seen = check(copy, rows, epochs if name in ("plan.json", "epochs.json") else None)
        if name.endswith((".safetensors", "report.json", "epochs.json")):
            assert "damaged" in seen, bit


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON)
def test_of_2000_changed_values_none_is_a_traceback(copy, name):
    """Files as someone wrote them who knows of checksums: each value may be anything."""
    file, draws = file_of(copy, name), random.Random(name)
    whole = load_json(file)
    trial = copy.trial(copy.read_plan().trials[1].trial_id)
    for number in range(2000):
        write_json(file, mutations(whole, draws))
        if name == "plan.json" or not number % 10:
            assert "\n" not in told(copy)[2]
        else:
            trial.status(), trial.epochs(), trial.proxies(), trial.planned(), trial.commit(), trial.error()


@pytest.mark.parametrize("name", JSON)
def test_an_edited_file_is_not_believed(copy, name):
    rows, epochs = truth(copy)
    file = file_of(copy, name)
    text = file.read_text()
    for old, new in (('": 0', '": 1'), ("seed", "sEed"), ('"', "'"), ("}", "")):
        if old not in text:
            continue
        file.write_text(text.replace(old, new))

        assert check(copy, rows, epochs) != "complete,complete" or name in ("trial.json", "proxies.json")


def test_a_plan_whose_config_was_edited_is_refused_even_without_its_checksum(copy):
    values = load_json(copy.plan_file)
    values["trials"][0]["config"]["lr"] = 0.9
    copy.plan_file.write_text(json.dumps(values))

    with pytest.raises(ConfigError, match=r"plan\.json must be a plan .* its config is not that of its config_digest"):
        copy.read_plan()


@pytest.mark.parametrize("key", ["arm", "data_digest"])
def test_a_plan_whose_trials_were_edited_is_not_followed(finished_run, prepared_run, tmp_path, key):
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "small" / "grid"))
    values = load_json(run.plan_file)
    first, second = values["trials"][:2]
    second[key], second["trial_id"] = "baseline", second["trial_id"].replace("proxy", "baseline")
    first[key], first["trial_id"] = "proxy", first["trial_id"].replace("baseline", "proxy")
    run.plan_file.write_text(json.dumps(values))

    with pytest.raises(ConfigError, match=r"plan\.json must be a plan that this project wrote"):
        prepared_run(run.path, write=False)


def test_the_report_and_weights_of_another_trial_are_not_accepted(copy):
    baseline, proxy = (copy.trial(trial.trial_id) for trial in copy.read_plan().trials)
    for name in ("report.json", "weights.safetensors", "epochs.json"):
        shutil.copy(proxy.path / name, baseline.path / name)

    assert baseline.status() == ("damaged", "report.json is of another trial; --restore trains it again")


@pytest.mark.parametrize(
    ("name", "value"),
    [("test_accuracy", 982), ("val_accuracy", -1), ("epochs_done", 0), ("test_f1", 3), ("classes", 7)],
)
def test_a_report_with_an_impossible_number_is_damaged(copy, name, value):
    trial = copy.trial(copy.read_plan().trials[0].trial_id)
    write_json(trial.report_file, {**load_json(trial.report_file), name: value})

    assert trial.status()[0] == "damaged"


@pytest.mark.parametrize("trial_id", ["0000-x/../../../outside", "/tmp/outside", "0000-..\\x", "..", "0000-a\nb", ""])
def test_a_trial_id_that_is_a_path_is_refused(copy, trial_id):
    values = load_json(copy.plan_file)
    values["trials"][0]["trial_id"] = trial_id
    write_json(copy.plan_file, values)

    with pytest.raises(ConfigError, match=r"plan\.json must be a plan that this project wrote"):
        copy.read_plan()


def test_a_damaged_trial_is_trained_again(finished_run, run_one, prepared_run, tmp_path):
    copy = RunFolder(shutil.copytree(finished_run, tmp_path / "small" / "grid"))
    rows, _ = truth(copy)
    trial = copy.trial(copy.read_plan().trials[1].trial_id)
    weights = trial.weights_file
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    prepared = prepared_run(copy.path, write=False)
    assert [one.trial_id for one in copy.missing_trials(copy.read_plan().trials)] == [trial.trial_id]

    run_one(prepared, 1)

    assert weights.read_bytes() == whole
    pd.testing.assert_frame_equal(*(f.filter(regex="accuracy|digest|status") for f in (load_results(copy.path), rows)))
