import math

import pandas as pd
import pytest

from proxy_attention.config import DEFAULTS, PROXY_FIELDS
from study.analysis.pairs import with_baselines


def differences(results):
    return [None if math.isnan(value) else value for value in with_baselines(results)["test_difference"]]


def test_a_trial_is_compared_with_the_baseline_of_its_seed(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 80, 70, {}),
            ("proxy", 0, 81, 73, {}),
            ("baseline", 1, 60, 50, {}),
            ("proxy", 1, 62, 49, {}),
        )
    )

    assert list(results["baseline_id"].dropna()) == ["0000-baseline-seed0", "0002-baseline-seed1"]
    assert list(results["val_difference"].dropna()) == [1, 2]
    assert list(results["test_difference"].dropna()) == [3, -1]
    assert results["baseline_id"].isna().tolist() == [True, False, True, False]


CHANGED = {
    "lr": 0.01,
    "weight_decay": 0.5,
    "lr_schedule": "constant",
    "shortcut": "patch:0.9",
    "batch_size": 64,
    "model": "resnet34",
    "weights": "imagenet",
    "image_size": 32,
    "augment": "none",
    "precision": "bf16",
    "threads": 2,
    "compile": True,
    "freeze_trunk": True,
    "train_fraction": 0.5,
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "split": "merged",
    "split_seed": 9,
    "folds": 3,
    "on_bad_image": "skip",
    "label_function": "file-prefix",
    "white_level": 4095.0,
    "dataset": "folder",
    "judge": "gradcam++",
    "judge_images": 8,
    "split_digest": "another",
    "epochs_done": 3,
}


def test_every_field_that_is_no_proxy_field_is_changed_below():
    assert set(DEFAULTS) - set(PROXY_FIELDS) - {"schedule", "seed", "fold"} <= set(CHANGED)


@pytest.mark.parametrize("field", CHANGED)
def test_a_baseline_that_differs_in_what_is_no_proxy_field_is_not_used(frame, field):
    results = frame(("baseline", 0, 80, 70, {field: CHANGED[field]}), ("proxy", 0, 81, 73, {}))

    assert differences(results) == [None, None]


def test_of_two_baselines_the_one_that_agrees_is_used(frame):
    results = frame(
        ("baseline", 0, 0, 10, {"lr": 0.5}),
        ("baseline", 0, 0, 70, {}),
        ("proxy", 0, 0, 73, {}),
        ("proxy", 0, 0, 12, {"lr": 0.5}),
    )

    assert differences(results) == [None, None, 3, 2]


def test_a_baseline_that_is_not_complete_is_not_used(frame):
    results = frame(("baseline", 0, 80, 70, {"status": "failed"}), ("proxy", 0, 81, 73, {}))

    assert differences(results) == [None, None]


def test_a_trial_that_is_not_complete_has_no_difference(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {"status": "interrupted"}))

    assert differences(results) == [None, None]


def test_an_arm_without_proxies_is_no_proxy_trial(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("rival", 0, 81, 73, {"schedule": "2", "lr": 0.5}))

    assert differences(results) == [None, None]


@pytest.mark.parametrize("audit", [{"split": "redrawn"}, {"split": "merged", "schedule": "2"}])
def test_an_audit_is_set_against_the_honest_baseline_of_its_seed(frame, audit):
    results = frame(
        ("baseline", 0, 80.0, 79.0, {}),
        ("baseline", 1, 70.0, 69.0, {}),
        ("leaky", 0, 95.0, 79.5, {**audit, "split_digest": "another"}),
    )

    audited = with_baselines(results).iloc[2]

    assert audited["baseline_id"] == "0000-baseline-seed0"
    assert (audited["val_difference"], audited["test_difference"]) == (15.0, 0.5)


def test_a_trial_whose_only_step_may_be_skipped_is_compared_with_the_baseline_and_is_none(frame):
    results = frame(
        ("baseline", 0, 80, 70, {}),
        ("proxy", 0, 81, 73, {"schedule": "1,p?"}),
        ("proxy", 0, 82, 74, {"schedule": "1,p?", "patience": 1}),
        ("proxy", 0, 79, 69, {"schedule": "1,p"}),
    )

    assert differences(results) == [None, 3, 4, -1]


def test_an_audit_is_never_the_baseline_of_an_honest_trial(frame):
    results = frame(
        ("merged", 0, 95.0, 79.5, {"split": "merged", "schedule": "2"}),
        ("proxy", 0, 81.0, 80.0, {}),
    )

    assert with_baselines(results)["baseline_id"].isna().all()


def test_an_audit_of_other_training_has_no_baseline(frame):
    results = frame(("baseline", 0, 80.0, 79.0, {}), ("leaky", 0, 95.0, 79.5, {"split": "redrawn", "lr": 0.1}))

    assert with_baselines(results)["baseline_id"].isna().all()


def test_the_rows_that_were_given_are_not_changed(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {}))
    before = results.copy()

    with_baselines(results)

    pd.testing.assert_frame_equal(results, before)
