"""Sharing: which trials are in one state and until when, and that sharing it changes nothing and loses nothing."""

import ast
import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sys
import threading
import time
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from proxy_attention.config import PROXY_FIELDS, TrialConfig
from proxy_attention.errors import DivergedError
from proxy_attention.memory import freeze_imports
from proxy_attention.shared_states import STALE_SECONDS, SharedStates, Sharing
from proxy_attention.state_keys import PACKAGES, branch_points, state_keys
from proxy_attention.trial import run_trial
from proxy_attention.trial_store import read_recipes

TWO_STEPS = "2,p,1,p?,1"
"""Six epochs: the third ends with a proxy step, and the fifth if validation accuracy has stalled."""


def names(trial, *, data="images", weights=None):
    return state_keys(trial, data=data, weights=weights)


def agree(one, other):
    """For how many epochs two roads agree; they never meet again."""
    assert len(one) == len(other)
    count = sum(a == b for a, b in zip(one, other, strict=True))
    assert one[:count] == other[:count]
    assert not set(one[count:]) & set(other)
    return count


# ---- when a field enters

NEVER, AT_ONCE, AFTER_A_STEP, AFTER_THE_SECOND = 6, 0, 3, 5
AGREE = {
    "dataset": ("cifar10", NEVER),  # a name; the content of the images is in every road
    "model": ("resnet50", AT_ONCE),
    "weights": ("imagenet", AT_ONCE),
    "image_size": (64, AT_ONCE),
    "schedule": ("2,p,3", AFTER_THE_SECOND),
    "threshold": (0.1, AFTER_A_STEP),
    "weight": (0.1, AFTER_A_STEP),
    "subset": (0.1, AFTER_A_STEP),
    "saliency": ("gradcam++", AFTER_A_STEP),
    "feature_layer": ("layer3", AFTER_A_STEP),
    "eigen_smooth": (True, AFTER_A_STEP),
    "subset_decay": (0.5, AFTER_THE_SECOND),
    "patience": (3, AFTER_THE_SECOND),
    "explain": ("true", AFTER_A_STEP),
    "mask": ("random", AFTER_A_STEP),
    "replacement": ("mean", AFTER_A_STEP),
    "scope": ("batch", AFTER_A_STEP),
    "smoothing": (1.0, AFTER_A_STEP),
    "max_area": (0.1, AFTER_A_STEP),
    "collect": ("online", AFTER_A_STEP),
    "order": ("first", AFTER_A_STEP),
    "substitute": ("add", AFTER_A_STEP),
    "clear_every_step": (False, AFTER_THE_SECOND),
    "compound": (True, AFTER_THE_SECOND),
    "augment": ("none", AT_ONCE),
    "batch_size": (8, AT_ONCE),
    "lr": (1e-3, AT_ONCE),
    "weight_decay": (0.1, AT_ONCE),
    "precision": ("bf16", AT_ONCE),
    "threads": (2, AT_ONCE),
    "compile": (True, AT_ONCE),
    "freeze_trunk": (True, AT_ONCE),
    "val_fraction": (0.1, AT_ONCE),
    "test_fraction": (0.1, AT_ONCE),
    "train_fraction": (0.5, AT_ONCE),
    "split": ("redrawn", 2),  # drawn again at the second item of the schedule
    "folds": (4, AT_ONCE),
    "fold": (1, AT_ONCE),
    "on_bad_image": ("skip", AT_ONCE),
    "label_function": ("file-name", AT_ONCE),
    "split_seed": (17, AT_ONCE),
    "seed": (17, AT_ONCE),
    "judge": ("gradcam++", NEVER),
    "judge_images": (0, NEVER),
}
"""For every field another value, and for how many of the six epochs it makes no difference. A new field needs a row."""


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrialConfig)])
def test_every_field_enters_where_it_first_makes_a_difference(config, field):
    base = config(schedule=TWO_STEPS, folds=3)
    value, epochs = AGREE[field]

    assert getattr(base, field) != value
    assert agree(names(base), names(dataclasses.replace(base, **{field: value}))) == epochs


def test_no_field_is_listed_that_a_trial_does_not_have():
    assert AGREE.keys() == {field.name for field in dataclasses.fields(TrialConfig)}


def test_a_road_names_every_epoch_by_a_name_of_its_own(config):
    found = names(config(schedule=TWO_STEPS))

    assert len(set(found)) == len(found) == 6
    assert all(len(name) == 64 for name in found)
    assert found == names(config(schedule=TWO_STEPS))


@pytest.mark.parametrize("field", [field for field in PROXY_FIELDS if AGREE[field][1] == AFTER_A_STEP])
def test_what_a_proxy_is_made_of_enters_at_the_last_step_too(config, field):
    """Two trials that agree in the first step cannot differ in the second: a field holds for all of a trial's steps."""
    value, _ = AGREE[field]
    one, other = (names(config(schedule="p,p,2", **changes)) for changes in ({}, {field: value}))

    assert agree(one, other) == 1


def test_a_step_in_the_middle_agrees_with_no_step_until_its_epoch_has_ended(config):
    assert agree(names(config(schedule="20,p,19")), names(config(schedule="40"))) == 21


@pytest.mark.parametrize(("one", "other"), [("2,3", "5"), ("1,1,1,1,1", "5"), ("4,p", "5"), ("2,p,2", "02 , p,1,1")])
def test_how_a_schedule_is_written_is_no_difference(config, one, other):
    assert names(config(schedule=one)) == names(config(schedule=other))


def test_a_longer_trial_differs_from_the_start_because_its_learning_rate_does(config):
    assert not set(names(config(schedule="5"))) & set(names(config(schedule="6")))


def test_a_step_and_one_that_may_be_skipped_part_when_the_epoch_before_them_has_ended(config):
    always, stalled, never = (names(config(schedule=schedule)) for schedule in ("2,p,3", "2,p?,3", "6"))

    assert agree(always, stalled) == agree(stalled, never) == agree(always, never) == 3


def test_patience_enters_at_the_first_step_that_may_be_skipped(config):
    one, other = (names(config(schedule="p,1,p,1,p?,1", patience=patience)) for patience in (1, 5))
    without = [names(config(schedule="p,1,p,1,p,1", patience=patience)) for patience in (1, 5)]

    assert agree(one, other) == 5
    assert without[0] == without[1]


def test_a_step_is_named_by_the_part_that_it_really_chooses(config):
    halves, tenths, one = ({"subset": 0.5, "subset_decay": 0.5}, {"subset": 0.5, "subset_decay": 0.1}, {"subset": 0.5})
    first = [names(config(schedule="1,p,1,p,2", **fields)) for fields in (halves, tenths, one)]
    only = [names(config(schedule="1,p,2", **fields)) for fields in (halves, tenths, one)]

    assert [agree(first[0], other) for other in first[1:]] == [4, 4]
    assert only[0] == only[1] == only[2]


def test_a_part_of_more_digits_than_python_prints_has_a_name(config):
    steps = ",".join(["p"] * 300)

    found = names(config(schedule=steps, subset_decay=0.12345678901234567))

    assert len(set(found)) == 300


@pytest.mark.parametrize("later", ["clear_every_step", "compound"])
def test_whether_earlier_proxies_are_kept_or_built_on_is_no_difference_while_there_are_none(config, later):
    value, _ = AGREE[later]
    one, other = (config(schedule="3,p,2", **changes) for changes in ({}, {later: value}))

    assert names(one) == names(other)


def test_kept_and_built_on_are_two_differences_and_not_one(config):
    changes = [{}, {"clear_every_step": False}, {"compound": True}, {"clear_every_step": False, "compound": True}]
    found = [names(config(schedule="p,p,2", **change)) for change in changes]

    assert [len({road[n] for road in found}) for n in range(4)] == [1, 1, 4, 4]


def test_a_baseline_has_one_road_whatever_its_proxy_fields(config):
    changed = {field: AGREE[field][0] for field in PROXY_FIELDS}

    assert names(config(schedule="5", **changed)) == names(config(schedule="5"))


def test_a_redrawn_split_follows_the_items_of_the_schedule(config):
    once, twice, fixed = (
        names(config(schedule=schedule, split=split))
        for schedule, split in (("4", "redrawn"), ("2,2", "redrawn"), ("4", "fixed"))
    )

    assert once == fixed
    assert agree(twice, fixed) == 2
    assert (
        agree(names(config(schedule="2,p,1", split="redrawn")), names(config(schedule="2,1,1", split="redrawn"))) == 3
    )


def test_a_merged_split_differs_from_the_start(config):
    assert agree(names(config(schedule="4", split="merged")), names(config(schedule="4"))) == 0


def test_the_split_seed_is_the_seed_where_it_is_not_given(config):
    assert names(config(seed=5)) == names(config(seed=5, split_seed=5))
    assert names(config(seed=5)) != names(config(seed=5, split_seed=6))


def test_the_content_of_images_and_weights_enters_and_no_path(config):
    here, there = config(weights="/here/w.safetensors"), config(weights="/there/w.safetensors")

    assert names(here, weights="a") == names(there, weights="a")
    assert not set(names(here, weights="a")) & set(names(here, weights="b"))
    assert not set(names(here, data="a")) & set(names(here, data="b"))


# ---- which states are worth keeping


def test_a_baseline_and_24_settings_are_496_epochs_of_1000_and_part_once(config):
    fields = [{"threshold": t / 10, "weight": w} for t in range(1, 9) for w in (0.2, 0.5, 0.8)]
    roads = [names(config(schedule="20,p,19", **each)) for each in fields] + [names(config(schedule="40"))]

    assert len(fields) == 24
    assert sum(map(len, roads)) == 1000
    assert len(set().union(*roads)) == 496
    assert branch_points(roads) == {roads[0][20]}


def test_roads_that_end_together_part_at_their_end(config):
    roads = [names(config(schedule="2,p", threshold=threshold)) for threshold in (0.1, 0.2)]

    assert branch_points(roads) == branch_points([roads[0], roads[0]]) == {roads[0][-1]}


def test_a_lone_trial_and_trials_of_other_seeds_part_nowhere(config):
    assert branch_points([]) == branch_points([names(config())]) == frozenset()
    assert branch_points([names(config(seed=seed)) for seed in range(3)]) == frozenset()


def test_every_place_where_some_part_is_kept(config):
    roads = [names(config(schedule=schedule)) for schedule in ("7", "1,p,5", "1,p,1,p,3", "1,p,1,p,1,p,1")]

    assert branch_points(roads) == {roads[3][1], roads[3][3], roads[3][5]}


def test_trials_that_are_not_planned_yet_share_while_no_proxy_is_in_use(config, tmp_path):
    sharing = Sharing(tmp_path, epochs=frozenset({1, 2, 3, 4, 9}))
    about = {"data": "images", "weights": None, "device": "cpu"}

    assert sharing.of(config(schedule="1,p,2"), **about).names.keys() == {1, 2}
    assert sharing.of(config(schedule="p,1,p,1"), **about).names.keys() == {1}
    assert sharing.of(config(schedule="4"), **about).names.keys() == {1, 2, 3, 4}


# ---- a grid with sharing is the grid without it


@pytest.fixture(scope="module")
def few(small):
    """50 images: 4 a class to train and choose with, and one a class of its own test. Read only."""
    from conftest import part_of

    ids = [
        ((small.labels == cls) & (small.own_test == own_test)).nonzero().flatten()[:count]
        for cls in range(10)
        for own_test, count in ((False, 4), (True, 1))
    ]
    return part_of(small, torch.cat(ids).sort().values)


@pytest.fixture(scope="module")
def fast(config):
    """A configuration that trains an epoch of ``few`` in some hundredths of a second."""

    def make(**changes):
        return config(**{"batch_size": 16, "val_fraction": 0.25, "threshold": 0.3, "weight": 0.8, **changes})

    return make


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that a trial came to; ``told`` is what no sharing may change, ``trained`` how many epochs it trained."""

    told: dict
    seconds: list
    trained: int


def sha(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]


def plain(record):
    """A record or report without what a clock or the process decides."""
    return {name: value for name, value in dataclasses.asdict(record).items() if not name.endswith(("_seconds", "_mb"))}


def outcome(trial, images, folder, sharing=None):
    *progress, last = run_trial(trial, images, directory=folder, sharing=sharing)
    records = [record for item in progress for record in (*item.earlier, item.record)]
    weights = load_file(folder / "weights.safetensors")
    told = {
        "records": [plain(record) for record in records],
        "report": plain(last.report),
        "weights": {name: sha(tensor) for name, tensor in weights.items()},
        "recipes": [(r.step, sha(r.ids), sha(r.predicted), sha(r.maps)) for r in read_recipes(folder)],
        "examples": {i.record.epoch: sha(i.examples.proxies) for i in progress if i.examples is not None},
    }
    return Outcome(told, [r.train_seconds for r in records], sum(not item.borrowed for item in progress))


def assert_same(shared, alone):
    examples = alone.told["examples"].items()  # a step that another has done is shown by that one
    assert shared.told["examples"].items() <= examples
    assert {**shared.told, "examples": None} == {**alone.told, "examples": None}


def trained_once(roads, outcomes):
    """The distinct epochs of these roads, if each was trained once: all that pass it tell the seconds of one."""
    told = {}
    for names, found in zip(roads, outcomes, strict=True):
        for name, seconds in zip(names, found.seconds, strict=True):
            told.setdefault(name, set()).add(seconds)
    assert {len(seconds) for seconds in told.values()} == {1}
    return told.keys()


def sharing_of(folder, trials, images, **about):
    roads = [names(trial, data=images.digest) for trial in trials]
    return Sharing(folder, names=branch_points(roads), **about), roads


@pytest.fixture(scope="module")
def alone(few, tmp_path_factory):
    """What a trial comes to that shares nothing."""
    done = {}

    def run(trial):
        if trial not in done:
            done[trial] = outcome(trial, few, tmp_path_factory.mktemp("alone"))
        return done[trial]

    return run


GRID = [
    {"schedule": "5"},
    {},
    {"threshold": 0.1, "mask": "random"},
    {"saliency": "gradcam++", "explain": "contrast"},
    {"schedule": "1,p,3"},
    {"collect": "online", "substitute": "add"},
    {"augment": "flip-rotate+snapmix", "collect": "online", "substitute": "add"},
    {"augment": "flip-rotate+snapmix", "schedule": "5"},
    {"clear_every_step": False, "subset": 0.5},
    {"compound": True, "clear_every_step": False, "substitute": "add", "replacement": "noise"},
    {"compound": True, "clear_every_step": False, "substitute": "add", "replacement": "noise", "schedule": "1,p,3"},
    {"split": "redrawn", "compound": True, "subset": 0.5},
    {"split": "redrawn", "schedule": "5"},
    {"saliency": "gradient-shap", "smoothing": 1.0},  # drawn, by passes of its own, which the next shares
    {"saliency": "gradient-shap", "smoothing": 1.0, "threshold": 0.1},
    {"mask": "untrained", "eigen_smooth": True},
]


@pytest.mark.parametrize("order", [1, -1], ids=["baseline first", "baseline last"])
def test_a_grid_that_shares_is_the_grid_that_does_not_bit_for_bit(fast, few, alone, tmp_path, order):
    trials = [fast(**{"schedule": "1,p,1,p,1", **fields}) for fields in GRID][::order]
    sharing, roads = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(roads, shared)) < sum(map(len, roads))
    assert not list((tmp_path / "shared").glob("*.lock"))


def test_that_grid_has_settings_that_end_differently(fast, alone):
    ends = [tuple(alone(fast(**{"schedule": "1,p,1,p,1", **fields})).told["weights"].values()) for fields in GRID]

    assert len(set(ends)) == len(GRID) - 1  # the two baselines: a redrawn split of one item is the fixed one


FROZEN = {"model": "test_vit", "lr": 1e-12}
"""With these, no epoch changes an answer: a trial has stalled after any that comes after as many as its patience."""
WAITING = [
    {"schedule": "5"},
    {"schedule": "1,p?,1,p?,1", "patience": 1},
    {"schedule": "1,p?,1,p?,1", "patience": 3},
    {"schedule": "1,p?,1,p?,1", "patience": 1000},
    {"schedule": "1,p?,1,p,1", "patience": 1, "subset_decay": 0.5},
    {"schedule": "1,p?,1,p,1", "patience": 1000, "subset_decay": 0.5, "clear_every_step": False},
    {"schedule": "1,p,1,p?,1", "patience": 3, "compound": True, "clear_every_step": False, "substitute": "add"},
    {"schedule": "1,p,1,p?,1", "patience": 4, "compound": True, "clear_every_step": False, "substitute": "add"},
    {"schedule": "1,p,1,p,1", "subset_decay": 0.5},
    {"schedule": "1,p,1,p,1"},
]
STEPS = [".....", ".P.P.", "...P.", ".....", ".P.P.", "...P.", ".P.P.", ".P...", ".P.P.", ".P.P."]


@pytest.mark.parametrize("order", [1, -1], ids=["baseline first", "baseline last"])
def test_a_grid_whose_steps_wait_for_a_stall_is_the_grid_that_shares_nothing_bit_for_bit(
    fast, few, alone, tmp_path, order
):
    trials = [fast(**FROZEN, **fields) for fields in WAITING][::order]
    sharing, roads = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    steps = ["".join("P" if row["proxy_step"] else "." for row in found.told["records"]) for found in shared]
    assert steps == STEPS[::order]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(roads, shared)) < sum(map(len, roads))


def test_a_trial_tells_which_epochs_it_has_not_trained(fast, few, tmp_path):
    trials = [fast(schedule="4"), fast(schedule="2,p,1")]
    sharing, _ = sharing_of(tmp_path, trials, few)
    first, second = ([*run_trial(trial, few, sharing=sharing)] for trial in trials)

    assert [(item.record.epoch, item.borrowed, len(item.earlier)) for item in first] == [
        (0, False, 0), (1, False, 0), (2, False, 0), (3, False, 0), (3, False, 0),
    ]  # fmt: skip
    assert [(item.record.epoch, item.borrowed) for item in second] == [(2, True), (3, False), (3, False)]
    assert [record.epoch for record in second[0].earlier] == [0, 1]
    assert [(r.item, r.proxy_step) for r in (*second[0].earlier, second[0].record)] == [
        (0, False),
        (0, False),
        (1, True),
    ]
    assert second[-1].report.train_seconds == sum(
        [*(item.record.train_seconds for item in first[:3]), second[1].record.train_seconds]
    )


def test_a_trial_may_borrow_its_very_last_epoch(fast, few, alone, tmp_path):
    trials = [fast(schedule="1,p", threshold=threshold) for threshold in (0.1, 0.5)]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    assert [found.trained for found in shared] == [2, 0]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))


def test_trials_that_were_not_planned_share_their_first_epochs(fast, few, alone, tmp_path):
    sharing = Sharing(tmp_path / "shared", epochs=frozenset({2}))
    trials = [fast(schedule="1,p,1", threshold=0.1), fast(schedule="1,p,1", weight=0.1), fast(schedule="3")]

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    assert [found.trained for found in shared] == [3, 1, 1]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))


ALWAYS, STALLED = ("1,p,1,p,1,p,1", "1,p,1,p,1,1,1"), ("1,p?,1,p?,1,p,1", "1,p?,1,p?,1,1,1")
RESUMED = {
    "kept": (ALWAYS, {"clear_every_step": False, "subset": 0.5}),
    "redrawn": (
        ALWAYS,
        {"compound": True, "collect": "online", "split": "redrawn", "scope": "dataset", "replacement": "mean"},
    ),
    "skipped": (STALLED, {**FROZEN, "patience": 3, "subset": 0.6, "subset_decay": 0.5, "clear_every_step": False}),
    "skipped redrawn": (
        STALLED,
        {**FROZEN, "patience": 2, "split": "redrawn", "compound": True, "substitute": "add"},
    ),
}


@pytest.fixture(scope="module", params=RESUMED)
def cut(request, fast, few, tmp_path_factory):
    """A trial, its directory as it lay after some of its epochs, and what another trial has trained meanwhile."""
    folder = tmp_path_factory.mktemp("cut")
    schedules, fields = RESUMED[request.param]
    trial, other = (fast(**fields, schedule=schedule) for schedule in schedules)
    for after in (1, 3, 5):
        with contextlib.closing(run_trial(trial, few, directory=folder / "trial")) as running:
            while next(running).record.epoch + 1 < after:
                pass
        shutil.copytree(folder / "trial", folder / str(after))
    sharing, _ = sharing_of(folder / "shared", [trial, other], few)
    assert outcome(other, few, folder / "other", sharing).trained == 7
    return trial, folder, sharing


@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_trial_that_was_cut_goes_on_with_what_others_trained_meanwhile(few, alone, cut, after):
    trial, folder, sharing = cut

    rest = outcome(trial, few, folder / str(after), sharing)

    whole = alone(trial)
    assert rest.trained == 1
    assert rest.told["records"] == whole.told["records"][after:]
    assert {**rest.told, "records": None, "examples": None} == {**whole.told, "records": None, "examples": None}


@pytest.mark.parametrize("still_shares", [True, False])
def test_a_trial_cut_after_it_borrowed_goes_on_with_or_without_the_others(fast, few, alone, tmp_path, still_shares):
    trials = [fast(schedule="5"), fast(schedule="2,p,1,1")]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)
    outcome(trials[0], few, tmp_path / "0", sharing)
    with contextlib.closing(run_trial(trials[1], few, directory=tmp_path / "1", sharing=sharing)) as running:
        assert next(running).borrowed

    rest = outcome(trials[1], few, tmp_path / "1", sharing if still_shares else None)

    whole = alone(trials[1])
    assert rest.trained == 2
    assert rest.told["records"] == whole.told["records"][3:]
    assert rest.told["weights"] == whole.told["weights"]
    assert rest.told["report"] == whole.told["report"]


# ---- made once


def lane(folder, *epochs, **about):
    """A road with states shared after these epochs."""
    return SharedStates(Sharing(folder, **about), {n: f"state {n}" for n in epochs}, "cpu")


def in_thread(work):
    """Begin ``work`` in a thread; a list that will hold what it returns."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def test_the_furthest_state_is_taken_and_none_that_is_behind(tmp_path):
    with lane(tmp_path, 2, 4, 6) as first:
        for epochs in (2, 4):
            first.publish(epochs, {"epochs": epochs})

    with lane(tmp_path, 2, 4, 6) as second:
        assert second.borrow(after=0) == {"epochs": 4}
        assert second.borrow(after=4) is None
        assert second.borrow(after=6) is None


def test_nothing_is_written_on_a_road_that_no_other_trial_takes(fast, few, tmp_path):
    [*run_trial(fast(schedule="1,p"), few, sharing=Sharing(tmp_path / "shared"))]

    assert not (tmp_path / "shared").exists()


def test_a_trial_waits_for_the_one_that_is_making_its_state(tmp_path):
    with lane(tmp_path, 2) as maker, lane(tmp_path, 2) as waiting:
        assert maker.borrow(after=0) is None
        assert maker.borrow(after=1) is None  # its own lock does not stop it
        thread, found = in_thread(lambda: waiting.borrow(after=0))
        thread.join(0.2)
        assert found == []
        maker.publish(2, {"epochs": 2})
        thread.join(10)

    assert found == [{"epochs": 2}]
    assert not list(tmp_path.glob("*.lock"))


def just_before(monkeypatch, module, name, happens):
    """Let this happen just before the next call of this function, which is itself as it was."""
    function = getattr(module, name)

    def late(*args):
        monkeypatch.setattr(module, name, function)
        happens()
        return function(*args)

    monkeypatch.setattr(module, name, late)


def test_a_state_that_is_finished_between_the_look_and_the_lock_is_taken(tmp_path, monkeypatch):
    with lane(tmp_path, 2) as maker, lane(tmp_path, 2) as other:
        assert maker.borrow(after=0) is None
        just_before(monkeypatch, os, "open", lambda: maker.publish(2, {"epochs": 2}))

        assert other.borrow(after=0) == {"epochs": 2}
    assert not list(tmp_path.glob("*.lock"))


def test_a_lock_on_a_name_that_was_given_up_meanwhile_is_no_lock(tmp_path, monkeypatch):
    with lane(tmp_path, 2) as gives_up, lane(tmp_path, 2) as next_one, lane(tmp_path, 2) as other:
        assert gives_up.borrow(after=0) is None

        def change_hands():
            gives_up.__exit__()
            assert next_one.borrow(after=0) is None

        just_before(monkeypatch, fcntl, "flock", change_hands)
        thread, found = in_thread(lambda: other.borrow(after=0))
        thread.join(0.2)
        assert found == []
        next_one.publish(2, {"epochs": 2})
        thread.join(10)

    assert found == [{"epochs": 2}]


def test_what_is_made_from_a_state_is_made_once_and_by_its_name(tmp_path):
    made = []

    def make(value):
        made.append(value)
        return {"value": value}

    with lane(tmp_path, 2) as one, lane(tmp_path, 2) as other:
        assert one.compute_once(2, "scores a", lambda: make(1)) == {"value": 1}
        assert other.compute_once(2, "scores a", lambda: make(2)) == {"value": 1}
        assert other.compute_once(2, "scores b", lambda: make(3)) == {"value": 3}
        assert other.compute_once(3, "scores a", lambda: make(4)) == {"value": 4}
        assert one.compute_once(3, "scores a", lambda: make(5)) == {"value": 5}  # three epochs are not shared

    assert made == [1, 3, 4, 5]


def test_a_trial_that_fails_leaves_its_state_to_the_next(tmp_path):
    def fail():
        with lane(tmp_path, 2) as failing:
            assert failing.borrow(after=0) is None
            failing.compute_once(2, "scores", lambda: {"share": 1 / 0})

    with pytest.raises(ZeroDivisionError):
        fail()

    with lane(tmp_path, 2) as following:
        assert following.borrow(after=0) is None
        assert following.compute_once(2, "scores", lambda: {"of": "the next"}) == {"of": "the next"}


def test_a_trial_that_overtakes_its_own_state_leaves_it_to_the_next(tmp_path):
    with lane(tmp_path, 2, 4) as one, lane(tmp_path, 4) as ahead, lane(tmp_path, 2) as behind:
        assert one.borrow(after=0) is None  # and is the one to make the state after two epochs
        ahead.publish(4, {"epochs": 4})
        assert one.borrow(after=1) == {"epochs": 4}
        thread, found = in_thread(lambda: behind.borrow(after=0))
        thread.join(5)

        assert found == [None]


def test_a_trial_that_diverges_takes_no_other_with_it(fast, few, tmp_path):
    trials = [fast(schedule="6", lr=1e30), fast(schedule="4,p,1", lr=1e30)]
    sharing, _ = sharing_of(tmp_path, trials, few)

    for trial in trials:
        with pytest.raises(DivergedError):
            list(run_trial(trial, few, sharing=sharing))

    assert not list(tmp_path.iterdir())


def test_a_trial_that_is_closed_leaves_its_state_to_the_next(fast, few, alone, tmp_path):
    trials = [fast(schedule="5"), fast(schedule="2,p,1,1")]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)
    running = run_trial(trials[0], few, sharing=sharing)
    next(running)
    assert len(list((tmp_path / "shared").glob("*.lock"))) == 1
    running.close()
    assert not list((tmp_path / "shared").glob("*.lock"))

    assert_same(outcome(trials[1], few, tmp_path / "1", sharing), alone(trials[1]))


def test_a_trial_that_is_closed_has_written_its_state_before_it_lets_go_of_it(fast, few, tmp_path):
    trials = [fast(schedule="5"), fast(schedule="p,4")]
    sharing, roads = sharing_of(tmp_path, trials, few)
    path = sharing.path(roads[0][0], device="cpu")
    watched = []

    def watch(lock):
        fcntl.flock(lock, fcntl.LOCK_EX)  # as soon as it is free
        watched.append(path.exists())

    running = run_trial(trials[0], few, sharing=sharing)
    with contextlib.suppress(OSError):
        path.parent.mkdir()
    with path.with_suffix(".lock").open("w") as lock:
        next(running)
        thread = threading.Thread(target=watch, args=(lock,))
        thread.start()
        running.close()
        thread.join(10)

    assert watched == [True]


# ---- several processes


def work(connection):
    """What a process of its own does: the trials that it is told, each to its end, or until it is told to stop."""
    freeze_imports()
    torch.set_num_threads(1)
    held = []
    with contextlib.suppress(EOFError):  # the test has ended
        while True:
            trial, images, folder, sharing, stop_after = pickle.loads(connection.recv_bytes())
            if stop_after is None:
                said = outcome(trial, images, folder, sharing)
            else:
                held.append(run_trial(trial, images, directory=folder, sharing=sharing))
                said = [next(held[-1]).record.epoch for _ in range(stop_after)]
            connection.send_bytes(pickle.dumps(said))


@pytest.fixture(scope="module")
def processes():
    """Three processes that do ``work``, and how to speak with each."""
    sys.path.insert(0, str(Path(__file__).parent))
    from test_shared_states import work  # by the name under which they find it, however pytest has imported this file

    context = multiprocessing.get_context("forkserver")  # as fresh as spawned, but imports are paid once
    context.set_forkserver_preload(["proxy_attention.trial", "test_shared_states"])
    started = []
    for _ in range(3):
        here, there = context.Pipe()
        process = context.Process(target=work, args=(there,), daemon=True)
        process.start()
        there.close()
        started.append((process, here))
    yield started
    for process, connection in started:
        connection.close()
        process.kill()
        process.join()


def tell(process, *task):
    process[1].send_bytes(pickle.dumps(task))


def answer(process):
    return pickle.loads(process[1].recv_bytes())


def test_three_trials_at_once_train_every_distinct_epoch_once(fast, few, alone, processes, tmp_path):
    trials = [fast(schedule="5"), fast(schedule="2,p,2"), fast(schedule="2,p,2", threshold=0.1)]
    sharing, roads = sharing_of(tmp_path / "shared", trials, few)
    for number, (process, trial) in enumerate(zip(processes, trials, strict=True)):
        tell(process, trial, few, tmp_path / str(number), sharing, None)

    shared = [answer(process) for process in processes]

    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(roads, shared)) == 3 + 3 * 2
    assert len(list((tmp_path / "shared").iterdir())) == 2  # a state, and the scores that two trials make of it


def test_of_a_killed_trial_the_others_take_over_and_it_goes_on_itself(fast, few, alone, processes, tmp_path):
    trials = [fast(schedule="3,1,p"), fast(schedule="3,p,1"), fast(schedule="3,p,1", threshold=0.1)]
    sharing, roads = sharing_of(tmp_path / "shared", trials, few)
    tell(processes[0], trials[0], few, tmp_path / "0", sharing, 3)
    assert answer(processes[0]) == [0, 1, 2]  # of the four epochs that all share
    for number in (1, 2):
        tell(processes[number], trials[number], few, tmp_path / str(number), sharing, None)
    time.sleep(0.5)
    assert not [number for number in "12" if (tmp_path / number / "epochs.json").exists()]  # they wait

    os.kill(processes[0][0].pid, signal.SIGKILL)
    shared = [answer(process) for process in processes[1:]]
    rest = outcome(trials[0], few, tmp_path / "0", sharing)

    for trial, found in zip(trials[1:], shared, strict=True):
        assert_same(found, alone(trial))
    assert sum(found.trained for found in shared) == len(trained_once(roads[1:], shared)) == 4 + 2 * 1
    assert rest.trained == 1
    assert rest.told["weights"] == alone(trials[0]).told["weights"]
    assert not list((tmp_path / "shared").glob("*.lock"))


# ---- what goes wrong in the folder


def test_a_file_that_is_damaged_or_of_another_kind_is_as_if_it_were_not_there(tmp_path):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"weights": torch.arange(1000)})
    path = next(tmp_path.glob("*.pt"))
    content = path.read_bytes()
    foreign = tmp_path / "foreign"
    damages = [content[:length] for length in range(0, len(content), 397)]
    damages += [b"hello", b"{}", bytes(len(content)), b"x" * len(content), b"\x80\x02}q\x00.", b"PK\x03\x04"]
    for value in ([1, 2], {"weights": torch.zeros(3)}, {}):
        torch.save(value, foreign)
        damages.append(foreign.read_bytes())

    for damage in damages:
        path.write_bytes(damage)
        with lane(tmp_path, 2) as second:
            assert second.borrow(after=0) is None
            second.publish(2, {"epochs": 2})
            assert second.borrow(after=0) == {"epochs": 2}


def test_a_state_under_another_ones_name_is_as_if_it_were_not_there(tmp_path):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"epochs": 2})
    next(tmp_path.glob("*.pt")).rename(Sharing(tmp_path).path("state 4", device="cpu"))

    with lane(tmp_path, 4) as second:
        assert second.borrow(after=0) is None


def test_a_trial_beside_damaged_files_trains_by_itself_and_mends_them(fast, few, alone, tmp_path):
    trials = [fast(schedule="1,p,1", threshold=threshold) for threshold in (0.1, 0.3, 0.5)]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few)
    outcome(trials[0], few, tmp_path / "0", sharing)
    for path in (tmp_path / "shared").iterdir():
        path.write_bytes(path.read_bytes()[:-100])

    second, third = (outcome(trials[n], few, tmp_path / str(n), sharing) for n in (1, 2))

    assert (second.trained, third.trained) == (3, 1)
    assert_same(second, alone(trials[1]))
    assert_same(third, alone(trials[2]))


@pytest.mark.parametrize("kind", ["a file", "a name too long", "nowhere that may be made"])
def test_where_nothing_can_be_shared_a_trial_trains_by_itself_and_says_so(fast, few, alone, tmp_path, caplog, kind):
    (tmp_path / "file").write_text("mine")
    folder = {
        "a file": tmp_path / "file",
        "a name too long": tmp_path / ("x" * 300),
        "nowhere that may be made": Path("/proc/x"),
    }[kind]
    trials = [fast(schedule="1,p,1", threshold=threshold) for threshold in (0.1, 0.3)]
    sharing, _ = sharing_of(folder, trials, few)

    with caplog.at_level(logging.WARNING):
        found = outcome(trials[0], few, tmp_path / "0", sharing)

    assert found.trained == 3
    assert_same(found, alone(trials[0]))
    assert caplog.text.count("could not be locked") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_state_for_which_the_disk_has_no_room_is_not_kept_and_nothing_else_happens(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with lane(tmp_path, 2) as first, lane(tmp_path, 2) as second, caplog.at_level(logging.WARNING):
        assert first.borrow(after=0) is None
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
        try:
            first.publish(2, {"weights": torch.zeros(2**18)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert second.borrow(after=0) is None

    assert "could not be kept" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_state_that_cannot_be_locked_is_read_all_the_same(tmp_path):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"epochs": 2})
    next(tmp_path.glob("*.pt")).with_suffix(".lock").mkdir()  # opening it to write is an error, as without permission

    with lane(tmp_path, 2) as second:
        assert second.borrow(after=0) == {"epochs": 2}


# ---- the size of the folder


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    with lane(tmp_path, 1, 2, 3, 4, limit_mb=3) as every:
        for n in (1, 2, 3):  # of 0.9 MiB each
            every.publish(n, {"epochs": n, "weights": torch.zeros(235_000)})
            path = Sharing(tmp_path).path(f"state {n}", device="cpu")
            os.utime(path, (1000 + n, 1000 + n))
        with lane(tmp_path, 1) as reader:
            assert reader.borrow(after=0)["epochs"] == 1  # used now
        every.publish(4, {"epochs": 4, "weights": torch.zeros(235_000)})

        left = [n for n in (1, 2, 3, 4) if Sharing(tmp_path).path(f"state {n}", device="cpu").exists()]
    assert left == [1, 3, 4]


def test_a_limit_below_one_state_costs_sharing_and_nothing_else(fast, few, alone, tmp_path):
    trials = [fast(schedule="1,p,1", threshold=threshold) for threshold in (0.1, 0.3)]
    sharing, _ = sharing_of(tmp_path / "shared", trials, few, limit_mb=0)

    shared = [outcome(trial, few, tmp_path / str(number), sharing) for number, trial in enumerate(trials)]

    assert [found.trained for found in shared] == [3, 3]
    for trial, found in zip(trials, shared, strict=True):
        assert_same(found, alone(trial))
    assert not list((tmp_path / "shared").iterdir())


def test_what_killed_writers_left_is_removed_after_an_hour(tmp_path, caplog):
    long_ago = time.time() - STALE_SECONDS - 60
    for name in (".old-state.pt.abc", ".new-state.pt.abc"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".not-ours").mkdir()
    for name in (".old-state.pt.abc", ".not-ours"):
        os.utime(tmp_path / name, (long_ago, long_ago))

    with lane(tmp_path, 1) as road_of_one:
        road_of_one.publish(1, {"epochs": 1})

    assert {path.name for path in tmp_path.glob(".*")} == {".new-state.pt.abc", ".not-ours"}
    assert len(list(tmp_path.glob("*-state.pt"))) == 1
    assert caplog.text == ""


def test_a_shared_state_is_named_by_every_library_that_the_library_computes_with():
    files = sorted((Path(__file__).parents[3] / "proxy_attention").rglob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    heads = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"proxy_attention"}
    used = {packages_distributions()[head][0].lower() for head in heads}

    assert "torch" in used
    assert used - {"safetensors", "huggingface_hub", "huggingface-hub"} <= set(
        PACKAGES
    )  # they carry bits, and make none
