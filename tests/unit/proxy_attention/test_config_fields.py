"""The declarations of TrialConfig's fields: what is read from them, and that nothing lists fields beside them."""

import ast
import hashlib
from pathlib import Path

import pytest

from proxy_attention.config import DEFAULTS, FIELDS, JUDGE_FIELDS, PROXY_FIELDS, RULES, TrialConfig, fields_with
from proxy_attention.config_fields import MISSING, Enters, Role
from proxy_attention.field_rules import NAME
from proxy_attention.state_keys import state_keys
from proxy_attention.validation import CHOICES

ROOT = Path(__file__).parents[3]
SOURCES = [path for package in ("proxy_attention", "study") for path in sorted((ROOT / package).rglob("*.py"))]
MOST_IN_A_LITERAL = 2

KNOWN = [
    pytest.param({}, "1160f61591d0ace7d2c80f644bb5c660", "6eb91138087fd7a8c2a337cc94ba5d7e", id="defaults"),
    pytest.param(
        {"schedule": "6", "threshold": 0.3, "mask": "random", "patience": 5},
        "a675204e95466764d5a63a11e27d471f",
        "5415380b2f147ee8283f3ba989f7ba46",
        id="baseline with proxy values",
    ),
    pytest.param(
        {"schedule": "3,p,2", "threshold": 0.3, "weight": 1.0},
        "3b994575847eee49f131a57bd76f25e3",
        "628333d2dbb66d04d829f93b712e495a",
        id="one step",
    ),
    pytest.param(
        {"schedule": "2,p,1,p?,1", "patience": 3, "subset": 0.7, "subset_decay": 0.1},
        "4446b6c1cbf1e9e524640837e8d7d730",
        "764b047f55ed15cdc0d72c2fbadb4463",
        id="steps that may be skipped",
    ),
    pytest.param(
        {"schedule": "p,p,2", "clear_every_step": False, "compound": True, "subset_decay": 0.5, "patience": 7},
        "08d17e1a2d15234665660b54da04be88",
        "ef97efdeb92bc8bc4a10b00e40247bb2",
        id="earlier proxies kept",
    ),
    pytest.param(
        {
            "schedule": "2,p,1",
            "lr": 0.001,
            "weight_decay": 0.0,
            "compile": True,
            "freeze_trunk": True,
            "augment": "cutmix",
            "batch_size": 8,
            "precision": "bf16",
            "threads": 2,
        },
        "af33ee7d9edb0ce33d70404fc344e543",
        "43de1fcb54dab106714a577a094b6744",
        id="other training",
    ),
    pytest.param(
        {
            "val_fraction": 0.1,
            "test_fraction": 0.3,
            "train_fraction": 0.5,
            "folds": 4,
            "fold": 1,
            "split_seed": 9,
            "seed": 4,
            "on_bad_image": "skip",
            "label_function": "file-prefix",
            "schedule": "4",
        },
        "ef99c2ce6ce1f22427ff08e175606f1d",
        "bae2d0e2f62816bad49f816a7cb8ff00",
        id="other images",
    ),
    pytest.param(
        {"split": "redrawn", "schedule": "2,p,1,p,2", "collect": "online", "substitute": "add", "order": "hardest"},
        "84cef7d3733c7dd95b020ddb588a8e24",
        "129956eef358d794ac73e675fcd75874",
        id="redrawn split",
    ),
    pytest.param(
        {
            "schedule": "1,p,1",
            "saliency": "layercam",
            "feature_layer": "layer3",
            "eigen_smooth": True,
            "explain": "contrast",
            "mask": "inverse",
            "replacement": "blur",
            "scope": "dataset",
            "smoothing": 2,
            "max_area": 0.25,
        },
        "7d9bb34fc0c2b6f22e64585bd0d321bb",
        "8c1a8087abfca0093ed13da28414951c",
        id="other maps",
    ),
    pytest.param(
        {
            "schedule": "3",
            "judge": "layercam",
            "judge_images": 8,
            "model": "test_vit",
            "image_size": 32,
            "weights": "imagenet",
        },
        "3ff0ff8460a2cb4f8ca444f1cb253f99",
        "3a18b08d9e42f33dec3e97580b1e7bca",
        id="judge",
    ),
    pytest.param(
        {"schedule": "p?,p?", "judge": "layercam", "judge_images": 0},
        "2ec30c765672e2f7e14c4e1cd0e5018b",
        "426d2828c5ff74de25ae2781e1ab41b9",
        id="no judge",
    ),
]
"""Configs with the digest and the state keys (hashed together) that version 0.1.0 gave them, 32 digits of each."""


@pytest.mark.parametrize(("values", "digest", "keys"), KNOWN)
def test_digests_and_state_keys_are_those_of_earlier_versions(values, digest, keys):
    config = TrialConfig(**{"precision": "fp32", "threads": 1, **values})
    found = state_keys(config, data="images", weights=None)

    assert config.digest(data="images", weights=None)[:32] == digest
    assert hashlib.sha256(" ".join(found).encode()).hexdigest()[:32] == keys


def test_a_proxy_field_is_unused_without_a_proxy_step_and_in_no_key_before_it():
    baseline = TrialConfig(schedule="6")

    assert len(PROXY_FIELDS) == 22
    for name in PROXY_FIELDS:
        assert not FIELDS[name].used_if(baseline)
        assert FIELDS[name].enters not in (Enters.FIRST_EPOCH, Enters.NEVER)


def test_no_judge_field_enters_a_key():
    assert JUDGE_FIELDS == ("judge", "judge_images")
    assert {FIELDS[name].enters for name in JUDGE_FIELDS} == {Enters.NEVER}


def test_a_field_that_joined_later_is_left_out_of_the_digest_at_its_default():
    later = {name: declared.omitted_at for name, declared in FIELDS.items() if declared.omitted_at is not MISSING}

    assert len(later) == 14
    assert later == {name: DEFAULTS[name] for name in later}


@pytest.mark.parametrize("role", Role)
def test_every_role_is_taken_by_some_field_and_not_by_all(role):
    assert 0 < len(fields_with(role)) < len(FIELDS)


def test_fields_of_several_roles_are_listed_once_in_the_order_of_the_config():
    found = fields_with(Role.SPLIT, Role.REPEAT, Role.HELD_OUT)

    assert list(found) == [name for name in DEFAULTS if name in found]
    assert {"seed", "dataset", "split"} <= set(found)


def test_every_field_that_is_a_name_has_a_table_or_a_check_of_its_own():
    checked_elsewhere = {"model", "weights", "feature_layer", "augment"}  # timm, files, the model, the joined parts
    names = {name for name, rule in RULES.items() if rule is NAME}

    assert names == CHOICES.keys() | checked_elsewhere
    assert not CHOICES.keys() & checked_elsewhere


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_says_in_a_line_what_it_means(name):
    meaning = FIELDS[name].meaning

    assert 5 < len(meaning) <= 240
    assert "\n" not in meaning
    assert not meaning.endswith(".")


def fields_listed(tree):
    """(line, names) of every tuple, list or set literal that holds names of fields."""
    literals = [node for node in ast.walk(tree) if isinstance(node, ast.Tuple | ast.List | ast.Set)]
    found = ((node.lineno, [getattr(item, "value", None) for item in node.elts]) for node in literals)
    return [(line, names) for line, values in found if (names := [name for name in values if name in FIELDS])]


def test_no_module_lists_fields_beside_their_declarations():
    """A new field needs its declaration and nothing else: each list of fields is read from the declarations."""
    assert len(SOURCES) > 80
    listed = {
        f"{path.relative_to(ROOT)}:{line}": names
        for path in SOURCES
        for line, names in fields_listed(ast.parse(path.read_text(encoding="utf-8")))
    }

    assert any(len(names) == MOST_IN_A_LITERAL for names in listed.values())
    assert {place: names for place, names in listed.items() if len(names) > MOST_IN_A_LITERAL} == {}
