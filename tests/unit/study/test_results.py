import dataclasses
import json
import shutil

import pandas as pd
import pytest
from written_runs import without_checksums_of

from proxy_attention.config import PROXY_FIELDS
from proxy_attention.errors import ConfigError
from proxy_attention.files import load_json, write_json
from proxy_attention.records import EpochRecord
from study.provenance import ROOT
from study.results import BY_GROUP, COLUMNS, JUDGED, load_epochs, load_results, with_weights_named
from study.run_folder import RunFolder, find_runs

PROMISED = [
    "trial_id",
    "config_digest",
    "search",
    "arm",
    "status",
    "error",
    "dataset",
    "model",
    "weights",
    "image_size",
    "schedule",
    "threshold",
    "weight",
    "subset",
    "subset_decay",
    "patience",
    "saliency",
    "feature_layer",
    "eigen_smooth",
    "explain",
    "mask",
    "replacement",
    "scope",
    "smoothing",
    "max_area",
    "collect",
    "order",
    "substitute",
    "clear_every_step",
    "compound",
    "augment",
    "batch_size",
    "lr",
    "weight_decay",
    "precision",
    "threads",
    "compile",
    "freeze_trunk",
    "judge",
    "judge_images",
    "val_fraction",
    "test_fraction",
    "train_fraction",
    "split",
    "folds",
    "fold",
    "on_bad_image",
    "label_function",
    "split_seed",
    "seed",
    "epochs_done",
    "val_accuracy",
    "test_accuracy",
    "test_precision",
    "test_recall",
    "test_f1",
    "test_ece",
    "insertion_auc",
    "deletion_auc",
    "average_drop",
    "average_increase",
    "sparseness",
    "pointing_game",
    "judged_by",
    "judged_images",
    "train_seconds",
    "proxy_seconds",
    "judge_seconds",
    "wall_seconds",
    "peak_memory_mb",
    "proxy_images",
    "flat_maps",
    "split_digest",
    "commit",
]
"""The columns that people and scripts rely on; a new field may join them."""


@pytest.fixture
def copy(finished_run, tmp_path):
    """A copy of the complete run, to damage."""
    return shutil.copytree(finished_run, tmp_path / "small" / "grid")


def test_the_columns_are_those_that_were_promised_and_more_may_join(finished_run):
    assert list(load_results(finished_run).columns) == list(COLUMNS)
    assert [column for column in COLUMNS if column in PROMISED] == PROMISED


def test_weights_files_are_told_by_no_folder_of_this_machine_and_unlike_each_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = {
        str(ROOT / "data" / "w.pt"): "data/w.pt",
        str(tmp_path / "mine" / "w.pt"): "mine/w.pt",
        "/far/a/w.pt": "a/w.pt",
        "/far/b/w.pt": "b/w.pt",
        "/far/x.pt": "x.pt",
        "/far/imagenet": "far/imagenet",
        "imagenet": "imagenet",
        "none": "none",
    }

    found = with_weights_named(pd.DataFrame({"weights": [*told, None]}))["weights"]

    assert list(found[:-1]) == list(told.values())
    assert pd.isna(found.iloc[-1])


def test_every_planned_trial_is_a_row_in_its_order(finished_run):
    results = load_results(finished_run)

    assert list(results["trial_id"]) == [trial.trial_id for trial in RunFolder(finished_run).read_plan().trials]
    assert set(results["status"]) == {"complete"}
    assert list(results["arm"]) == ["baseline", "proxy", "proxy", "random-mask"] * 2
    assert list(results["seed"]) == [0] * 4 + [1] * 4


def test_a_row_holds_what_the_trial_was_and_what_it_measured(finished_run):
    trial = RunFolder(finished_run).read_plan().trials[1]
    report = json.loads((RunFolder(finished_run).trial(trial.trial_id).report_file).read_text())

    row = load_results(finished_run).iloc[1]

    measured = PROMISED[PROMISED.index("epochs_done") : PROMISED.index("commit")]
    assert {name for name in measured if report[name] is None} == {"pointing_game"}  # no image says where its object is
    told = [name for name in measured if report[name] is not None]
    assert {name: row[name] for name in told} == {name: report[name] for name in told}
    assert {name: row[name] for name in trial.config.as_dict()} == trial.config.as_dict()
    assert (row["config_digest"], row["search"], row["error"], row["commit"]) == (
        trial.config_digest,
        "grid",
        "",
        "abc123",
    )


def test_accuracy_by_group_is_in_every_row_and_missing_where_there_are_no_groups(copy):
    trials = RunFolder(copy).read_plan().trials
    file, older = (RunFolder(copy).trial(trial.trial_id).report_file for trial in trials[:2])
    accuracies = {"land": 75.0, "meer ä": None, "sea": 50.0}
    by_group = {"group_accuracies": accuracies, "worst_group": "sea", "worst_group_accuracy": 50.0, "group_gap": 12.5}
    write_json(file, {**load_json(file), **by_group})
    write_json(older, {name: value for name, value in load_json(older).items() if "group" not in name})

    results = load_results(copy)

    assert {name: results.loc[0, name] for name in by_group} == {
        **by_group,
        "group_accuracies": '{"land": 75.0, "meer ä": null, "sea": 50.0}',
    }
    assert set(results.dtypes[list(BY_GROUP)].astype(str)) == {"float64"}
    assert (results["status"] == "complete").all()
    assert results.loc[1:, list(by_group)].isna().all(axis=None)


def test_how_well_a_model_is_explained_is_a_number_in_every_row_and_missing_where_nobody_judged(copy):
    trials = RunFolder(copy).read_plan().trials
    older = RunFolder(copy).trial(trials[0].trial_id).report_file
    report = json.loads(older.read_text())
    write_json(older, {name: value for name, value in report.items() if name not in (*JUDGED, "judged_by")})

    results = load_results(copy)

    assert set(results.dtypes[list(JUDGED)].astype(str)) == {"float64"}
    assert results.loc[0, list(JUDGED)].isna().all()
    assert results["pointing_game"].isna().all()
    rest = results.loc[1:, [name for name in JUDGED if name != "pointing_game"]]
    assert ((rest >= 0) & (rest <= 1)).all(axis=None)
    assert set(results.loc[1:, "judged_by"]) == {"eigengradcam"}
    assert set(results["judged_images"]) == {4}


def test_accuracies_are_percentages_and_the_rest_fractions(finished_run):
    results = load_results(finished_run)
    counts = results["test_accuracy"] * 16 / 100  # of 16 test images

    assert counts.round(6).isin(range(17)).all()
    assert results["test_accuracy"].max() > 1
    for name in ("test_precision", "test_recall", "test_f1", "test_ece"):
        assert results[name].between(0, 1).all()


def test_proxy_fields_are_missing_where_there_is_no_proxy_step(finished_run):
    results = load_results(finished_run)

    baseline = results["arm"] == "baseline"
    assert results.loc[baseline, list(PROXY_FIELDS)].isna().all(axis=None)
    assert results.loc[~baseline, list(PROXY_FIELDS)].notna().all(axis=None)


def test_what_is_counted_is_a_whole_number(broken_run):
    results = load_results(broken_run)

    assert {str(results[name].dtype) for name in ("epochs_done", "proxy_images", "flat_maps", "seed")} == {"Int64"}


def test_a_baseline_makes_no_proxy_and_the_others_do(finished_run):
    results = load_results(finished_run).set_index("arm")

    assert (results.loc["baseline", "proxy_images"] == 0).all()
    assert (results.loc[["proxy", "random-mask"], "proxy_images"] > 0).all()


def test_a_trial_is_complete_interrupted_failed_or_missing(broken_run):
    results = load_results(broken_run)

    assert list(results["status"]) == ["complete", "interrupted", "failed", "missing"]
    assert list(results["epochs_done"]) == [2, 1, 0, 0]
    assert results["error"].iloc[2].startswith("DivergedError: the training loss must be finite")
    assert list(results["error"].iloc[[0, 1, 3]]) == ["", "", ""]


def test_a_trial_that_is_not_complete_shows_no_accuracy(broken_run):
    results = load_results(broken_run)

    assert list(results["val_accuracy"].notna()) == [True, False, False, False]
    assert list(results["test_accuracy"].notna()) == [True, False, False, False]


@pytest.mark.parametrize("damage", ["", "{", '{"val_accuracy": 9', "\x00\x00"])
def test_a_damaged_report_is_no_result(copy, damage):
    trial_id = RunFolder(copy).read_plan().trials[1].trial_id
    (RunFolder(copy).trial(trial_id).report_file).write_text(damage)

    results = load_results(copy).set_index("trial_id")

    assert results.loc[trial_id, "status"] == "damaged"
    assert results.loc[trial_id, "error"] == "report.json is damaged; --restore trains it again"
    assert pd.isna(results.loc[trial_id, "val_accuracy"])
    assert (results["status"] == "complete").sum() == 7


def test_a_run_whose_trials_folder_is_gone_is_missing_every_trial(copy):
    shutil.rmtree(copy / "trials")

    assert list(load_results(copy)["status"]) == ["missing"] * 8


def test_every_epoch_is_a_row(finished_run):
    epochs = load_epochs(finished_run)

    fields = [field.name for field in dataclasses.fields(EpochRecord)]
    assert list(epochs.columns) == ["trial_id", "arm", "seed", *fields]
    assert list(epochs["epoch"]) == [0, 1] * 8
    assert list(epochs["proxy_step"][:4]) == [False, False, False, True]
    assert list(epochs["seed"]) == [0] * 8 + [1] * 8


def test_epochs_of_a_run_from_before_steps_could_be_skipped_are_read_as_they_were_meant(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "small" / "grid")
    for file in run.glob("trials/*/epochs.json"):
        rows = json.loads(file.read_text())["epochs"]
        file.write_text(json.dumps([{k: v for k, v in row.items() if not k.startswith("step_")} for row in rows]))
        without_checksums_of(file.parent / "report.json")

    older, epochs = load_epochs(run), load_epochs(finished_run)

    assert list(older.columns) == list(epochs.columns)
    assert list(older["proxy_step"]) == list(epochs["proxy_step"])
    assert not older["step_skipped"].any()
    assert (older["step_subset"] == 0).all()


def test_the_last_epoch_is_the_result(finished_run):
    last = load_epochs(finished_run).groupby("trial_id")["val_accuracy"].last()

    results = load_results(finished_run).set_index("trial_id")["val_accuracy"]
    assert last.to_dict() == results.to_dict()


def test_epochs_of_a_trial_that_is_not_complete_are_there(broken_run):
    epochs = load_epochs(broken_run)

    assert list(epochs["arm"]) == ["baseline", "baseline", "proxy"]


def test_a_study_folder_holds_the_rows_of_all_its_runs(finished_run, prepared_run, run_one, tmp_path):
    shutil.copytree(finished_run, tmp_path / "small" / "grid")
    prepared = prepared_run(tmp_path / "small" / "random", search="random", suggestions=2, confirm=1)
    run_one(prepared, 0)

    assert [run.path.name for run in find_runs(tmp_path / "small")] == ["grid", "random"]
    results = load_results(tmp_path / "small")
    assert list(results["search"]) == ["grid"] * 8 + ["random"] * 2
    assert list(results["status"]) == ["complete"] * 9 + ["missing"]
    assert len(load_epochs(tmp_path / "small")) == 18


def test_a_run_may_be_named_relative_to_here(finished_run, monkeypatch):
    monkeypatch.chdir(finished_run.parent)

    assert len(load_results("grid")) == 8


def test_a_place_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"a run or study folder must hold a plan\.json; got "):
        load_results(tmp_path)


def test_suggestions_that_never_came_are_missing_rows(prepared_run, tmp_path):
    prepared = prepared_run(tmp_path / "optuna", search="optuna", suggestions=3, confirm=1)

    results = load_results(prepared.run.path)

    assert list(results["status"]) == ["missing"] * 3
    assert list(results["trial_id"]) == [f"000{number}-not-suggested" for number in range(3)]
