"""Rivals as trials: the arms of the README do what their authors' files do, and keep what every trial keeps."""

import dataclasses
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from sharing import assert_same, sharing_of, trained_once
from trial_files import assert_equal_weights, written
from trial_workers import outcome

from proxy_attention.training import train_epoch
from proxy_attention.trial import run_trial
from proxy_attention.trial_setup import TrialSetup
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import read_recipes
from study.planning.study_file import parse_study

README = Path(__file__).parents[2] / "proxy_attention/README.md"
BLOCK = re.search(r"### MaskTune.*?```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
ARMS = {arm["name"]: {k: v for k, v in arm.items() if k != "name"} for arm in tomllib.loads(BLOCK)["arm"]}
CONSTANT = {"lr_schedule": "constant"}


def place(number):
    """A known place of every image but each fifth."""
    region = np.zeros((16, 16), dtype=bool)
    region[number % 8 : number % 8 + 5, 3:9] = True
    return region if number % 5 else None


@pytest.fixture(scope="module")
def located(small):
    return dataclasses.replace(small, region=place)


TRIALS = {
    "region": {"schedule": "1,p,1", "mask": "region", "weight": 1.0},
    "planted": {"schedule": "1,p,1", "mask": "region", "weight": 1.0, "shortcut": "patch:0.9"},
    "masktune": {**ARMS["masktune"], **CONSTANT, "schedule": "1,p,1"},
    "jtt": {**ARMS["jtt"], **CONSTANT, "schedule": "1,p,2", "repeats": 3},
}


def test_the_arms_of_the_readme_are_a_study_of_trials_as_long_as_each_other():
    study = parse_study(BLOCK)

    assert {"masktune", "masktune-random", "jtt", "jtt-random", "a-a"} <= ARMS.keys()
    configs = [study.config(values, 0) for _, values in study.grid()]
    assert {config.lr_schedule for config in configs} == {"constant"}
    assert {config.planned.total_epochs for config in configs} == {20}
    masktune, jtt = (study.config(ARMS[name], 0) for name in ("masktune", "jtt"))
    assert [epoch.index for epoch in masktune.planned.steps] == [18]
    assert (masktune.choose, masktune.saliency, masktune.threshold) == ("all", "xgradcam", "mean+2sd")
    assert (jtt.choose, jtt.repeats, jtt.restart, jtt.weight) == ("wrong", 20, True, 0.0)


@pytest.mark.parametrize("name", ["masktune", "jtt"])
def test_a_rival_and_its_control_differ_in_one_field(name):
    one, control = ARMS[name], ARMS[f"{name}-random"]

    assert {field for field in {*one, *control} if one.get(field) != control.get(field)} in ({"mask"}, {"choose"})


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.parametrize("name", TRIALS)
def test_a_rival_that_is_cut_after_any_epoch_ends_as_if_it_had_not_been(
    config, located, finish, metrics, tmp_path, name, after
):
    trial = config(**TRIALS[name])
    records, report = finish(trial, located, tmp_path / "whole")
    running = run_trial(trial, located, directory=tmp_path / "cut")
    for _ in range(after):
        next(running)
    written(tmp_path / "cut", after)
    running.close()

    rest, again = finish(trial, located, tmp_path / "cut")

    assert records[1].made_images > 10
    assert [metrics(record) for record in rest] == [metrics(record) for record in records[after:]]
    assert metrics(again) == metrics(report)
    assert_equal_weights(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize("name", TRIALS)
def test_the_proxies_of_a_rival_are_made_again_from_its_recipes_alone(config, located, small, tmp_path, name):
    trial = config(**TRIALS[name])
    shown = [item.examples for item in run_trial(trial, located, directory=tmp_path) if item.examples is not None]

    (again,) = replay_steps(trial, small, read_recipes(tmp_path))  # images without their places

    assert torch.equal(shown[0].proxies, again.examples.proxies)
    assert torch.equal(shown[0].maps, again.examples.maps)


def test_masktune_masks_every_training_image_and_trains_one_epoch_on_them(config, small, finish):
    records, _ = finish(config(**TRIALS["masktune"]), small)

    assert [record.made_images for record in records] == [0, 176, 0]
    assert [record.train_images for record in records] == [176] * 3
    assert records[1].wrong_images < 176
    assert {record.lr for record in records} == {config().lr}


def test_jtt_trains_a_fresh_network_on_the_images_that_it_got_wrong_repeated(config, small, tmp_path):
    """After the step: the first weights, no moments, and a rate planned over the epochs that are left."""
    trial = config(**{**TRIALS["jtt"], "lr_schedule": "one-cycle"})
    *_, last = run_trial(trial, small, directory=tmp_path)
    (recipe,) = read_recipes(tmp_path)
    (step,) = replay_steps(trial, small, [recipe])
    training = TrialSetup.of(trial, small, torch.device("cpu")).new_training(epochs=2)

    totals = [train_epoch(training, step.training_set, trial, epoch=epoch) for epoch in (2, 3)]

    assert last.record.lr == totals[1].lr
    assert last.record.train_images == 176 + 3 * len(recipe.ids) == len(totals[1].losses)
    assert last.record.train_loss == float(totals[1].losses.mean())


def test_a_network_is_not_made_anew_where_no_epoch_is_left(config, small, finish, tmp_path):
    trials = [config(schedule="1,p", restart=restart) for restart in (False, True)]
    for number, trial in enumerate(trials):
        finish(trial, small, tmp_path / str(number))

    assert_equal_weights(tmp_path / "0", tmp_path / "1")


def test_rivals_share_the_epochs_before_their_step_and_end_as_if_they_had_not(config, located, tmp_path):
    fields = [{"schedule": "4", **CONSTANT}]
    fields += [{**each, **CONSTANT, "schedule": "1,p,2"} for name, each in TRIALS.items() if name != "planted"]
    fields.append({**fields[-1], "choose": "random"})
    trials = [config(**each) for each in fields]
    sharing, keys = sharing_of(tmp_path / "shared", trials, located)

    shared = [outcome(trial, located, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    for number, (trial, found) in enumerate(zip(trials, shared, strict=True)):
        assert_same(found, outcome(trial, located, tmp_path / f"alone-{number}"))
    assert sum(found.trained for found in shared) == len(trained_once(keys, shared)) == 2 + 2 * 5
