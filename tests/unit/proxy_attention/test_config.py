import dataclasses
import json
import math
import re
from fractions import Fraction

import pytest

from proxy_attention.config import DEFAULTS, PROXY_FIELDS, RULES, TrialConfig
from proxy_attention.errors import ConfigError

NAMES = (
    "dataset", "model", "weights", "saliency", "explain", "mask", "replacement", "scope", "choose", "collect", "order",
    "substitute", "augment", "precision", "split", "on_bad_image", "label_function", "feature_layer",
    "judge", "lr_schedule",
)  # fmt: skip

OUT_OF_RANGE = {
    **{name: ["", "  "] for name in NAMES},
    "image_size": [15, 0, -64, 4097],
    "threshold": [-0.1, 1.1, math.inf, "mean+0sd", "mean+2"],
    "weight": [-0.1, 1.1, 2],
    "subset": [0, 0.0, -0.5, 1.0001],
    "subset_decay": [0, 0.0, -0.5, 1.0001],
    "patience": [0, -1, 1001],
    "eigen_smooth": ["yes", "", 2],
    "smoothing": [-1.0, 257.0, math.inf],
    "max_area": [-0.1, 1.1],
    "repeats": [0, -1, 1001],
    "restart": ["yes", "", 2],
    "clear_every_step": [],
    "compound": [],
    "batch_size": [0, -1, 65_537, "many", ""],
    "lr": [0, 0.0, -1e-3, math.inf, 10**400],
    "weight_decay": [-1e-5, math.inf, 10**400],
    "threads": [0, -1, 1025, "many", ""],
    "compile": ["yes", "", 2],
    "freeze_trunk": ["yes", "", 2],
    "val_fraction": [0.0, 1.0, -0.2, 1],
    "test_fraction": [0.0, 1.0, -0.2, 1],
    "train_fraction": [0.0, 1.5],
    "shortcut": ["", "patch", "patch:1.1", "patch:nan", "stripe:0.5", "patch:0.5:maybe", "patch:1:none:none:none"],
    "white_level": [0, -1.0, math.inf, math.nan, "white", "", 10**400],
    "folds": [-1, 1001],
    "fold": [-1, 1000],
    "judge_images": [-1, 1_000_001],
    "split_seed": [-1, 2**63],
    "seed": [-1, 2**63],
}

OTHER_VALUE = {
    "model": "resnet50", "image_size": 32, "schedule": "2,p,3", "threshold": 0.6, "weight": 0.6, "subset": 0.9,
    "saliency": "gradcam++", "explain": "true", "mask": "random", "replacement": "mean", "scope": "batch",
    "smoothing": 1.0, "max_area": 0.5, "collect": "online", "order": "first", "substitute": "add",
    "clear_every_step": False, "compound": True, "augment": "none", "batch_size": 64, "lr": 1e-3,
    "weight_decay": 0.0, "precision": "bf16", "threads": 2, "compile": True, "val_fraction": 0.1, "test_fraction": 0.1,
    "train_fraction": 0.5, "split": "merged", "folds": 4, "fold": 1, "on_bad_image": "skip",
    "shortcut": "patch:0.9:aligned:none",
    "label_function": "file-prefix", "split_seed": 9, "seed": 1, "subset_decay": 0.5, "patience": 3,
    "feature_layer": "layer3", "eigen_smooth": True, "freeze_trunk": True, "judge": "layercam", "judge_images": 8,
    "white_level": 4095.0, "choose": "right", "lr_schedule": "constant", "repeats": 3, "restart": True,
}  # fmt: skip
"""A second legal value of every field whose value is part of a trial's identity."""

KNOWN_DIGEST = "3a56026c6dcdbc812ad04c31232b871b54871085498185f8937838521c136489"
"""Of the defaults with one thread at fp32, as version 0.1.0 gave it: an old run can still be restored."""

KNOWN_PROXY_DIGEST = "aa7f04d3a7947edcb576a81efe044fcfbcb70a6265f54dc49e9f7f02dcf458df"
"""Of the same with the schedule 3,p,2."""

PLAIN = {"schedule": "3,p?,p,1", "precision": "fp32", "threads": 1, "folds": 3}


def fields_of_type(kind):
    found = [name for name, rule in RULES.items() if kind in rule.kinds]
    assert found
    return found


def test_every_field_but_the_schedule_has_a_rule_and_a_row_in_these_tables():
    assert set(RULES) == set(DEFAULTS) - {"schedule"} == set(OUT_OF_RANGE)
    assert set(OTHER_VALUE) == set(DEFAULTS) - {"dataset", "weights"}


def test_every_default_keeps_its_rule():
    assert TrialConfig().as_dict() == DEFAULTS


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(f, v, id=f"{f}-{v!r:.12}") for f, values in OUT_OF_RANGE.items() for v in values],
)
def test_a_value_outside_its_range_is_refused_with_field_rule_and_value(field, value):
    with pytest.raises(ConfigError, match=rf"^{field} must be {re.escape(RULES[field].text)}; got "):
        TrialConfig(**{field: value})


@pytest.mark.parametrize("field", RULES)
def test_a_value_of_a_foreign_type_is_refused(field):
    for value in ([], {}, 1 + 2j, b"1", object()):
        with pytest.raises(ConfigError, match=rf"^{field} must be {re.escape(RULES[field].text)}; got "):
            TrialConfig(**{field: value})


@pytest.mark.parametrize("field", [name for name in RULES if name != "split_seed"])
def test_none_is_refused_where_a_value_is_needed(field):
    with pytest.raises(ConfigError, match=f"^{field} must be .*; got None$"):
        TrialConfig(**{field: None})


@pytest.mark.parametrize("field", [name for name in RULES if bool not in RULES[name].kinds])
def test_a_bool_is_no_number_and_no_name(field):
    with pytest.raises(ConfigError, match=f"^{field} must be .*; got True$"):
        TrialConfig(**{field: True})


@pytest.mark.parametrize("field", fields_of_type(bool))
@pytest.mark.parametrize("value", [0, 1, "true"])
def test_a_flag_is_true_or_false_only(field, value):
    with pytest.raises(ConfigError, match=f"^{field} must be true or false; got {value!r}$"):
        TrialConfig(**{field: value})


def test_a_field_that_joined_later_leaves_the_digest_as_it_was_until_it_is_used():
    plain, compiled = TrialConfig(threads=1, precision="fp32"), TrialConfig(threads=1, precision="fp32", compile=True)

    assert plain.digest(data="d", weights=None) != compiled.digest(data="d", weights=None)
    assert plain.digest(data="d", weights=None) == KNOWN_DIGEST
    assert dataclasses.replace(plain, schedule="3,p,2").digest(data="d", weights=None) == KNOWN_PROXY_DIGEST


@pytest.mark.parametrize("field", [*fields_of_type(float), *fields_of_type(int)])
def test_nan_is_refused(field):
    with pytest.raises(ConfigError, match=f"^{field} must be .*; got nan$"):
        TrialConfig(**{field: math.nan})


@pytest.mark.parametrize("field", fields_of_type(int))
def test_a_count_is_no_fraction(field):
    with pytest.raises(ConfigError, match=rf"^{field} must be .*; got 20\.0$"):
        TrialConfig(**{field: 20.0})


@pytest.mark.parametrize("field", ["threshold", "weight", "max_area"])
@pytest.mark.parametrize("value", [0, 1])
def test_the_ends_of_a_range_belong_to_it_and_a_whole_number_becomes_a_float(field, value):
    kept = getattr(TrialConfig(**{field: value}), field)

    assert kept == value
    assert type(kept) is float


def test_a_threshold_may_be_of_each_map_and_is_then_another_trial():
    number, text = (TrialConfig(**PLAIN, threshold=threshold) for threshold in (0.5, "mean+2sd"))

    assert text.threshold == "mean+2sd"
    assert TrialConfig.of(json.loads(json.dumps(text.as_dict()))) == text
    assert number.digest(data="d", weights=None) != text.digest(data="d", weights=None)


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrialConfig().seed = 1


def test_a_bad_schedule_is_refused():
    with pytest.raises(ConfigError, match="schedule must be counts"):
        TrialConfig(schedule="3,q")


def test_val_and_test_must_leave_images_to_train_on():
    with pytest.raises(ConfigError, match=r"val_fraction \+ test_fraction must leave .*; got \(0.5, 0.5\)"):
        TrialConfig(val_fraction=0.5, test_fraction=0.5)


def test_one_fold_is_refused():
    with pytest.raises(ConfigError, match=r"folds must be 0 .* or >= 2; got 1"):
        TrialConfig(folds=1)


@pytest.mark.parametrize(("folds", "fold"), [(0, 1), (5, 5)])
def test_a_fold_beyond_the_folds_is_refused(folds, fold):
    with pytest.raises(ConfigError, match=rf"fold must be in \[0, folds\) with folds = {folds}; got {fold}"):
        TrialConfig(folds=folds, fold=fold)


def test_a_mistyped_field_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="got 'treshold'; did you mean threshold"):
        TrialConfig.of({"treshold": 0.5})


def test_an_outlandish_field_is_answered_with_the_fields():
    with pytest.raises(ConfigError, match=r"^a field must be one of dataset, model, .*, seed; got '\*'$"):
        TrialConfig.of({"*": 0.5})


def test_plain_values_survive_json():
    trial = TrialConfig(**PLAIN, seed=4, lr=1e-3)

    assert TrialConfig.of(json.loads(json.dumps(trial.as_dict()))) == trial


def test_the_split_seed_is_the_seed_unless_it_is_set():
    assert TrialConfig(seed=5).effective_split_seed == 5
    assert TrialConfig(seed=5, split_seed=0).effective_split_seed == 0


def test_without_a_proxy_step_the_canonical_config_has_no_proxy_setting():
    changed = {name: OTHER_VALUE[name] for name in PROXY_FIELDS}
    assert changed

    canonical = TrialConfig(schedule="6", lr=1e-3, **changed).canonical()

    assert canonical == TrialConfig(schedule="6", lr=1e-3, split_seed=0)


@pytest.mark.parametrize(
    ("schedule", "unused"),
    [
        ("3,p,2", {"patience", "subset_decay"}),
        ("3,p?,2", {"subset_decay"}),
        ("3,p,1,p", {"patience"}),
        ("3,p?,1,p", set()),
        ("p?,p?", set()),
    ],
)
def test_with_a_proxy_step_the_canonical_config_keeps_every_proxy_setting_that_its_schedule_uses(schedule, unused):
    changed = {name: OTHER_VALUE[name] for name in PROXY_FIELDS}

    canonical = TrialConfig(schedule=schedule, **changed).canonical()

    kept = {name: getattr(canonical, name) for name in PROXY_FIELDS}
    assert kept == changed | {name: DEFAULTS[name] for name in unused}


def test_the_part_of_a_step_is_exact_and_shrinks_from_planned_step_to_planned_step():
    config = TrialConfig(schedule="p,p,p", subset=0.7, subset_decay=0.1)

    assert [config.subset_at(step) for step in range(3)] == [Fraction(7, 10), Fraction(7, 100), Fraction(7, 1000)]
    assert TrialConfig(subset=0.3).subset_at(5) == Fraction(3, 10)


@pytest.mark.parametrize("field", OTHER_VALUE)
def test_the_digest_depends_on_the_field(field):
    trial = TrialConfig(**PLAIN)
    trial = dataclasses.replace(trial, substitute="add" if field == "repeats" else "replace")
    other = dataclasses.replace(trial, **{field: OTHER_VALUE[field]})

    assert trial.digest(data="d", weights=None) != other.digest(data="d", weights=None)


@pytest.mark.parametrize("field", PROXY_FIELDS)
def test_without_a_proxy_step_the_digest_is_blind_to_proxy_fields(field):
    trial = TrialConfig(**{**PLAIN, "schedule": "6"})
    other = dataclasses.replace(trial, **{field: OTHER_VALUE[field]})

    assert trial.digest(data="d", weights=None) == other.digest(data="d", weights=None)


def test_the_digest_is_of_contents_not_of_names_or_places():
    here = TrialConfig(**PLAIN, weights="/here/w.pt", dataset="one")
    there = TrialConfig(**PLAIN, weights="/there/v.pt", dataset="other")

    assert here.digest(data="d", weights="w") == there.digest(data="d", weights="w")
    assert here.digest(data="d", weights="w") != here.digest(data="e", weights="w")
    assert here.digest(data="d", weights="w") != here.digest(data="d", weights="v")


def test_weights_that_are_a_name_are_told_apart_by_it():
    none, imagenet = TrialConfig(**PLAIN, weights="none"), TrialConfig(**PLAIN, weights="imagenet")

    assert none.digest(data="d", weights=None) != imagenet.digest(data="d", weights=None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"schedule": "3,p,2"}, {"schedule": " 03 ,p, 2"}),
        ({"weight": 1.0}, {"weight": 1}),
        ({"seed": 4}, {"seed": 4, "split_seed": 4}),
        ({"schedule": "3,p?,2"}, {"schedule": "3, p? ,2"}),
        ({"schedule": "3,p,p,1"}, {"schedule": "3,p,p,1", "patience": 9}),
        ({"schedule": "3,p?,2"}, {"schedule": "3,p?,2", "subset_decay": 0.5}),
        ({"judge_images": 0}, {"judge_images": 0, "judge": "layercam"}),
        ({"choose": "random"}, {"choose": "random", "order": "hardest"}),
        ({"substitute": "replace"}, {"substitute": "replace", "repeats": 20}),
        ({"mask": "region"}, {"mask": "region", "saliency": "lime", "explain": "true", "eigen_smooth": True}),
        ({"mask": "region"}, {"mask": "region", "feature_layer": "x", "threshold": 0.1, "smoothing": 2.0}),
    ],
)
def test_two_spellings_of_one_trial_have_one_digest(one, other):
    digests = {TrialConfig(**{**PLAIN, **change}).digest(data="d", weights=None) for change in (one, other)}

    assert len(digests) == 1


@pytest.mark.parametrize("field", ["precision", "threads", "batch_size"])
def test_a_trial_that_is_not_resolved_has_no_identity(field):
    with pytest.raises(ConfigError, match=f"^{field} must be a plain value in a trial; got 'auto'"):
        TrialConfig(**{**PLAIN, field: "auto"}).digest(data="d", weights=None)
