"""One trial of a worker: what it reports, what it writes, how it fails and goes on."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from proxy_attention.errors import ConfigError, DataError, DivergedError
from proxy_attention.files import load_json
from proxy_attention.models.build import build
from study import planned_images
from study.execution.worker import WorkerSettings, run_planned

KEYS = [
    "trial",
    "arm",
    "epochs_done",
    "val_accuracy",
    "val_loss",
    "train_accuracy",
    "train_loss",
    "proxy_images",
    "train_seconds",
    "proxy_seconds",
    "trained",
]


@pytest.fixture
def prepared(prepared_run, tmp_path):
    return prepared_run(tmp_path / "small" / "grid")


def folder(prepared, number):
    return prepared.run.trial(prepared.plan.trials[number].trial_id).path


def read(prepared, number, name):
    return load_json(folder(prepared, number) / name)


@pytest.fixture(scope="module")
def done(prepared_run, run_one, image_folder, tmp_path_factory):
    """A run whose first proxy trial is complete, what that trial reported, and whether it touched its images."""
    prepared = prepared_run(tmp_path_factory.mktemp("done") / "small" / "grid")
    images = {path: path.stat().st_mtime_ns for path in image_folder.rglob("*")}
    reports = run_one(prepared, 1)
    return prepared, reports, {path: path.stat().st_mtime_ns for path in image_folder.rglob("*")} == images


def test_every_epoch_is_reported_with_the_same_keys_and_nothing_of_the_test_split(done):
    _, reports, _ = done

    assert [list(report) for report in reports] == [KEYS, KEYS]
    assert [report["epochs_done"] for report in reports] == [1, 2]
    assert [key for key in KEYS if "test" in key] == []


def test_a_report_says_whose_it_is_and_how_the_epoch_went(done):
    prepared, reports, _ = done
    report, epoch = reports[-1], read(prepared, 1, "epochs.json")["epochs"][-1]

    assert (report["trial"], report["arm"]) == (prepared.plan.trials[1].trial_id, "proxy")
    assert {key: report[key] for key in KEYS[3:-1]} == {key: epoch[key] for key in KEYS[3:-1]}
    assert report["trained"] == 1


def test_a_complete_trial_has_its_files_and_no_others(done):
    names = sorted(path.name for path in folder(done[0], 1).iterdir())

    assert [name for name in names if not name.startswith("events.out.tfevents.")] == [
        "epochs.json",
        "proxies.json",
        "proxies.png",
        "recipes.safetensors",
        "report.json",
        "trial.json",
        "weights.safetensors",
    ]
    assert len(names) == 8


def test_a_trial_writes_into_its_own_folder_alone(done):
    prepared, _, untouched = done

    assert {path.name for path in prepared.run.path.iterdir()} == {"plan.json", "study.toml", "trials"}
    assert [path.name for path in (prepared.run.path / "trials").iterdir()] == [prepared.plan.trials[1].trial_id]
    assert untouched


def test_a_trial_can_be_run_again_from_its_own_folder(done):
    prepared = done[0]

    assert read(prepared, 1, "trial.json") == {"planned": prepared.plan.trials[1].as_dict(), "commit": "abc123"}


def test_the_weights_are_those_of_the_trained_model(done):
    weights = load_file(folder(done[0], 1) / "weights.safetensors")

    assert weights["fc.weight"].shape == (4, 96)
    assert torch.isfinite(weights["fc.weight"]).all()


def test_a_trial_that_is_complete_itself_only_says_so(done, run_one):
    prepared, reports, _ = done
    before = {path.name: path.stat().st_mtime_ns for path in folder(prepared, 1).iterdir()}

    again = run_one(prepared, 1)

    assert again == [{**reports[-1], "trained": 0}]
    assert {path.name: path.stat().st_mtime_ns for path in folder(prepared, 1).iterdir()} == before


@pytest.fixture
def hot(prepared_run, study_text, tmp_path):
    """A run whose control diverges at once."""
    return prepared_run(tmp_path / "hot" / "grid", study_text.replace('mask = "random"', "lr = 1e30"))


def test_a_trial_that_diverges_writes_why_and_raises(hot, run_one):
    with pytest.raises(DivergedError, match="the training loss must be finite; it was not in epoch 0"):
        run_one(hot, 3)

    error = read(hot, 3, "error.json")
    assert error["error"].startswith("DivergedError: the training loss must be finite; it was not in epoch 0")
    assert error["traceback"].startswith("Traceback (most recent call last):")
    assert error["config"] == hot.plan.trials[3].config.as_dict()
    assert not (folder(hot, 3) / "report.json").exists()


def test_a_worker_whose_code_is_not_the_drivers_trains_nothing(prepared):
    settings = WorkerSettings(prepared.run, prepared.settings.data_root, "cpu", "abc123", code="f" * 64)

    with pytest.raises(ConfigError, match=r"code of .* must be the driver's; .* the driver's ffffffffffff"):
        run_planned(prepared.plan.trials[0], settings, print)

    assert sorted(path.name for path in folder(prepared, 0).iterdir()) == ["error.json", "trial.json"]


def test_the_error_of_a_trial_is_one_line(own_images, prepared_run, run_one, tmp_path):
    prepared = prepared_run(tmp_path / "small" / "grid", data_root=own_images)
    shutil.rmtree(own_images)

    with pytest.raises(DataError, match="data root must be an existing folder"):
        run_one(prepared, 0)
    assert "\n" not in read(prepared, 0, "error.json")["error"]


def test_a_trial_of_other_images_than_the_plans_fails_and_runs_when_they_are_back(
    own_images, prepared_run, run_one, tmp_path
):
    prepared = prepared_run(tmp_path / "small" / "grid", data_root=own_images)
    away = tmp_path / "away.png"
    image = next((own_images / "train").rglob("*.png"))
    image.rename(away)
    clear_kept_images()
    with pytest.raises(DataError, match="the images of folder must be those of the plan; they have changed since"):
        run_one(prepared, 0)
    assert (folder(prepared, 0) / "error.json").exists()

    away.rename(image)
    clear_kept_images()
    run_one(prepared, 0)
    assert (folder(prepared, 0) / "report.json").exists()
    assert not (folder(prepared, 0) / "error.json").exists()


def test_a_trial_of_other_weights_than_the_plans_trains_nothing(prepared_run, run_one, study_text, tmp_path):
    file = tmp_path / "own.safetensors"
    save_file(build("test_resnet", classes=4, image_size=32, weights="none", seed=0).module.state_dict(), file)
    study = study_text.replace("[search]", f'weights = "{file}"\n[search]')
    prepared = prepared_run(tmp_path / "small" / "grid", study)
    save_file(build("test_resnet", classes=4, image_size=32, weights="none", seed=1).module.state_dict(), file)

    with pytest.raises(
        ConfigError, match=r"weights must be the file of the plan; .*own.safetensors' has changed since"
    ):
        run_one(prepared, 0)
    assert sorted(path.name for path in folder(prepared, 0).iterdir()) == ["error.json", "trial.json"]


def clear_kept_images():
    """As a new worker would begin."""
    planned_images._images.cache_clear()
