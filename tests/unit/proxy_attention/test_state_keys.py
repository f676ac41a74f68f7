"""Which trials are in one state, and until when: every field enters a key where it first makes a difference."""

import ast
import dataclasses
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from proxy_attention.config import PROXY_FIELDS, TrialConfig
from proxy_attention.state_keys import PACKAGES, branch_points, state_keys

TWO_STEPS = "2,p,1,p?,1"
"""Six epochs: the third ends with a proxy step, and the fifth if validation accuracy has stalled."""


def names(trial, *, data="images", weights=None):
    return state_keys(trial, data=data, weights=weights)


def agree(one, other):
    """Count the epochs for which two trials have the same keys; they never agree again."""
    assert len(one) == len(other)
    count = sum(a == b for a, b in zip(one, other, strict=True))
    assert one[:count] == other[:count]
    assert not set(one[count:]) & set(other)
    return count


# ---- when a field enters

NEVER, AT_ONCE, AFTER_A_STEP, AFTER_THE_SECOND = 6, 0, 3, 5

AGREE = {
    "dataset": ("cifar10", NEVER),  # a name; the content of the images is in every key
    "model": ("resnet50", AT_ONCE),
    "weights": ("imagenet", AT_ONCE),
    "image_size": (64, AT_ONCE),
    "schedule": ("2,p,3", AFTER_THE_SECOND),
    "threshold": (0.1, AFTER_A_STEP),
    "weight": (0.1, AFTER_A_STEP),
    "choose": ("all", AFTER_A_STEP),
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
    "repeats": (3, AFTER_A_STEP),
    "restart": (True, AFTER_A_STEP),
    "clear_every_step": (False, AFTER_THE_SECOND),
    "compound": (True, AFTER_THE_SECOND),
    "augment": ("none", AT_ONCE),
    "batch_size": (8, AT_ONCE),
    "lr": (1e-3, AT_ONCE),
    "lr_schedule": ("constant", AT_ONCE),
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
    "white_level": (4095.0, AT_ONCE),
    "shortcut": ("patch:0.9:aligned:none", AT_ONCE),
    "split_seed": (17, AT_ONCE),
    "seed": (17, AT_ONCE),
    "judge": ("gradcam++", NEVER),
    "judge_images": (0, NEVER),
}
"""For every field another value, and for how many of the six epochs it makes no difference. A new field needs a row."""


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TrialConfig)])
def test_every_field_enters_where_it_first_makes_a_difference(config, field):
    base = config(schedule=TWO_STEPS, folds=3, substitute="add" if field == "repeats" else "replace")
    value, epochs = AGREE[field]

    assert getattr(base, field) != value
    assert agree(names(base), names(dataclasses.replace(base, **{field: value}))) == epochs


def test_no_field_is_listed_that_a_trial_does_not_have():
    assert AGREE.keys() == {field.name for field in dataclasses.fields(TrialConfig)}


def test_every_epoch_has_a_key_of_its_own(config):
    found = names(config(schedule=TWO_STEPS))

    assert len(set(found)) == len(found) == 6
    assert all(len(name) == 64 for name in found)
    assert found == names(config(schedule=TWO_STEPS))


@pytest.mark.parametrize("field", [field for field in PROXY_FIELDS if AGREE[field][1] == AFTER_A_STEP])
def test_what_a_proxy_is_made_of_enters_at_the_last_step_too(config, field):
    """Two trials that agree in the first step cannot differ in the second: a field holds for all of a trial's steps."""
    value, _ = AGREE[field]
    common = {"schedule": "p,p,2", "substitute": "add" if field == "repeats" else "replace"}
    one, other = (names(config(**{**common, **changes})) for changes in ({}, {field: value}))

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

    assert [len({trial[n] for trial in found}) for n in range(4)] == [1, 1, 4, 4]


def test_a_baseline_has_the_same_keys_whatever_its_proxy_fields(config):
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
    keys = [names(config(schedule="20,p,19", **each)) for each in fields] + [names(config(schedule="40"))]

    assert len(fields) == 24
    assert sum(map(len, keys)) == 1000
    assert len(set().union(*keys)) == 496
    assert branch_points(keys) == {keys[0][20]}


def test_trials_that_end_together_part_at_their_end(config):
    keys = [names(config(schedule="2,p", threshold=threshold)) for threshold in (0.1, 0.2)]

    assert branch_points(keys) == branch_points([keys[0], keys[0]]) == {keys[0][-1]}


def test_a_lone_trial_and_trials_of_other_seeds_part_nowhere(config):
    assert branch_points([]) == branch_points([names(config())]) == frozenset()
    assert branch_points([names(config(seed=seed)) for seed in range(3)]) == frozenset()


def test_every_place_where_some_part_is_kept(config):
    keys = [names(config(schedule=schedule)) for schedule in ("7", "1,p,5", "1,p,1,p,3", "1,p,1,p,1,p,1")]

    assert branch_points(keys) == {keys[3][1], keys[3][3], keys[3][5]}


def test_a_shared_state_is_named_by_every_library_that_the_library_computes_with():
    files = sorted((Path(__file__).parents[3] / "proxy_attention").rglob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    heads = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - {"proxy_attention"}
    distributions = packages_distributions()
    used = {distributions[head][0].lower() for head in heads}

    assert "torch" in used
    carry_bits_and_make_none = {"filelock", "huggingface_hub", "huggingface-hub", "safetensors"}
    assert used - carry_bits_and_make_none <= set(PACKAGES)
