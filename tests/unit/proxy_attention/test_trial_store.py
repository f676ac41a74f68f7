"""The files of a trial: where it was cut, it goes on; at its end, the report is written last."""

import json
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from proxy_attention.errors import CheckpointError
from proxy_attention.trial import run_trial
from proxy_attention.trial_setup import TrialSetup
from proxy_attention.trial_state import TrialState
from proxy_attention.trial_store import TrialStore, read_recipes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def complete(config, tiny, finish, tmp_path_factory):
    """The folder of a complete trial with one proxy step, its setup and its report. Read only."""
    trial = config(schedule="1,p,1")
    folder = tmp_path_factory.mktemp("complete")
    _, report = finish(trial, tiny, folder)
    return folder, TrialSetup.of(trial, tiny, CPU), report


def test_a_complete_trial_keeps_epochs_recipes_weights_and_report_and_no_checkpoint(complete):
    folder, setup, report = complete
    written = json.loads((folder / "report.json").read_text())

    assert sorted(path.name for path in folder.iterdir()) == [
        "epochs.json",
        "recipes.safetensors",
        "report.json",
        "weights.safetensors",
    ]
    assert (written["identity"], written["test_accuracy"]) == (setup.identity, report.test_accuracy)


def test_a_recipe_is_read_as_it_was_written(complete):
    folder, _, report = complete
    (recipe,) = read_recipes(folder)

    assert recipe.step == 0
    assert len(recipe.ids) == len(recipe.predicted) == len(recipe.maps) == report.proxy_images
    assert sorted(load_file(folder / "recipes.safetensors")) == ["0.ids", "0.maps", "0.predicted"]


def test_a_trial_without_a_step_has_no_recipe(tmp_path):
    assert read_recipes(tmp_path) == []


def test_recipes_are_read_in_the_order_of_their_steps(tmp_path):
    part = torch.zeros(1)
    names = [f"{step}.{name}" for step in (10, 2) for name in ("ids", "predicted", "maps")]
    save_file({name: part.clone() for name in names}, tmp_path / "recipes.safetensors")

    assert [recipe.step for recipe in read_recipes(tmp_path)] == [2, 10]


@pytest.fixture(scope="module")
def cut(config, tiny, tmp_path_factory):
    """The folder of a trial that was closed after its first epoch, and its setup. Read only."""
    trial = config(schedule="1,p,1")
    folder = tmp_path_factory.mktemp("cut")
    running = run_trial(trial, tiny, directory=folder)
    next(running)
    running.close()
    return folder, TrialSetup.of(trial, tiny, CPU)


def test_a_state_is_restored_from_the_newest_checkpoint_with_the_seconds_it_took(cut):
    folder, setup = cut
    state, store = TrialState(setup), TrialStore(folder, setup.identity, started=time.perf_counter())

    store.restore(state)

    assert state.epochs_done == 1
    assert store.wall_seconds > 0.01


def test_a_checkpoint_of_another_trial_is_refused(cut):
    folder, setup = cut

    with pytest.raises(CheckpointError, match="belongs to another trial"):
        TrialStore(folder, "another", started=0.0).restore(TrialState(setup))


def test_without_a_folder_nothing_is_kept(cut):
    _, setup = cut
    state = TrialState(setup)

    TrialStore(None, setup.identity, started=0.0).restore(state)

    assert state.epochs_done == 0
