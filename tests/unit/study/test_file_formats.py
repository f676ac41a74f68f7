"""What is read back from disk: whole files as they were written, others as if they were not there."""

import json

import pytest

from proxy_attention.files import load_json
from proxy_attention.records import EpochRecord
from study.file_formats import EPOCHS, ERROR, PROXIES, REPORT, TRIAL, read
from study.run_folder import RunFolder

DEEP = "[" * 100_000
DAMAGED = {"empty": "", "cut": '{"a": 1', "deep": DEEP, "null": "null", "a number": "7", "a list": "[3]", "text": '"x"'}
FORMS = {"trial": TRIAL, "report": REPORT, "epochs": EPOCHS, "error": ERROR, "proxies": PROXIES}


@pytest.fixture
def trial(finished_run):
    run = RunFolder(finished_run)
    return run.trial(run.read_plan().trials[1].trial_id)


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_damaged_file_is_as_if_it_were_not_there(form, damage, tmp_path):
    (tmp_path / "file.json").write_text(damage)

    assert read(tmp_path / "file.json", form) is None
    assert read(tmp_path / "nowhere.json", form) is None


def test_a_file_that_is_no_text_is_as_if_it_were_not_there(tmp_path):
    (tmp_path / "file.json").write_bytes(b"\xff\xfe")

    assert read(tmp_path / "file.json", ERROR) is None


@pytest.mark.parametrize(
    ("form", "values"),
    [
        (TRIAL, {"planned": {"trial_id": "x"}}),
        (TRIAL, {"commit": "x"}),
        (REPORT, {"val_accuracy": "high"}),
        (REPORT, {"classes": [1, 2]}),
        (ERROR, {"traceback": ""}),
        (ERROR, {"error": None}),
        (EPOCHS, [{"epoch": 0}]),
        (EPOCHS, {"epoch": 0}),
        (REPORT, {"epochs_done": 1, "val_accuracy": 1.0, "test_accuracy": 1.0, "group_accuracies": {"a": 101.0}}),
        (REPORT, {"epochs_done": 1, "val_accuracy": 1.0, "test_accuracy": 1.0, "group_gap": "wide"}),
        (PROXIES, {"epoch": 0, "padding": 4}),
        (PROXIES, {"epoch": 0, "padding": 4, "rows": [{"image": "x"}]}),
    ],
)
def test_a_file_that_lacks_what_is_read_is_as_if_it_were_not_there(form, values, tmp_path):
    (tmp_path / "file.json").write_text(json.dumps(values))

    assert read(tmp_path / "file.json", form) is None


def test_whole_files_read_as_they_were_written(trial):
    assert trial.report() == load_json(trial.report_file)
    assert trial.proxies() == load_json(trial.proxies_file)
    assert trial.planned().as_dict() == json.loads(trial.trial_file.read_text())["planned"]
    assert [vars(record) for record in trial.epochs()] == load_json(trial.epochs_file)["epochs"]


@pytest.mark.parametrize(("share", "possible"), [(None, True), (0.5, True), (1.5, False), (-0.1, False), ("x", False)])
def test_a_share_of_an_error_set_is_missing_or_in_the_unit_interval(share, possible, trial, tmp_path):
    epoch = load_json(trial.epochs_file)["epochs"][0]
    (tmp_path / "epochs.json").write_text(json.dumps([{**epoch, "error_set_recall": share}]))

    found = read(tmp_path / "epochs.json", EPOCHS)

    assert (found is not None) is possible
    assert found is None or found[0].error_set_recall == share


def test_what_nothing_reads_may_be_there(trial, tmp_path):
    epoch = load_json(trial.epochs_file)["epochs"][0]
    (tmp_path / "epochs.json").write_text(json.dumps([{**epoch, "of_a_later_version": [1]}]))
    (tmp_path / "error.json").write_text('{"error": "x", "traceback": "", "config": {"lr": null}}')

    assert read(tmp_path / "epochs.json", EPOCHS) == [EpochRecord(**epoch)]
    assert read(tmp_path / "error.json", ERROR)["error"] == "x"


def test_a_name_that_is_no_text_is_kept(tmp_path):
    """A file name may hold bytes that are no UTF-8; Python writes them as lone surrogates."""
    row = {"image": "a\udcffb.png", "true": "x", "predicted": "y"}
    (tmp_path / "proxies.json").write_text(json.dumps({"epoch": 0, "padding": 4, "rows": [row]}))

    assert read(tmp_path / "proxies.json", PROXIES)["rows"] == [row]
