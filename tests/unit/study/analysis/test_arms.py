import pytest

from study.analysis.arms import arms_of, level_name, named_arms, names_of
from study.analysis.pairs import TRAINING

CUT = {"augment": "cutmix"}


def references(arm, field):
    """Of each training of an arm its value of a field, and the value in the training of its baseline."""
    place = TRAINING.index(field)
    return [(own[place], other[place]) for own, other in arm.references.items()]


def test_arms_are_what_was_searched_then_the_arms_of_the_study_in_its_order(frame):
    rows = frame(
        ("baseline", 0, 0, 0, {}),
        ("proxy", 0, 0, 0, {"threshold": 0.3}),
        ("proxy", 0, 0, 0, {"threshold": 0.6}),
        ("z-mask", 0, 0, 0, {"mask": "random"}),
        ("rival", 0, 0, 0, {"schedule": "2", **CUT}),
    )

    found = arms_of(rows)

    assert [(arm.name, len(arm.rows)) for arm in found] == [
        ("baseline", 1),
        ("proxy", 2),
        ("z-mask", 1),
        ("rival", 1),
    ]
    assert [sorted(arm.changed) for arm in found] == [[], [], [], ["augment"]]
    assert named_arms(rows) == ["z-mask", "rival"]


def test_claims_call_the_trials_of_the_search_proxies_and_the_others_by_their_arm(frame):
    arms = arms_of(frame(("baseline", 0, 0, 0, {}), ("proxy", 0, 0, 0, {}), ("rival", 0, 0, 0, {"schedule": "2"})))

    assert names_of(arms, proxies="chosen proxies") == {
        "0000-baseline-seed0": "baseline",
        "0001-proxy-seed0": "chosen proxies",
        "0002-rival-seed0": "rival",
    }


def test_the_baseline_of_an_arm_is_the_one_that_differs_least(frame):
    rows = frame(
        ("baseline", 0, 0, 0, {"lr": 0.1}),
        ("baseline", 0, 0, 0, {"lr": 0.2}),
        ("rival", 0, 0, 0, {"schedule": "2", **CUT, "lr": 0.2}),
    )

    rival = arms_of(rows)[-1]

    assert references(rival, "lr") == [("0.2", "0.2")]
    assert rival.changed == {"augment"}


def test_an_arm_as_near_to_one_baseline_as_to_another_has_none(frame):
    rows = frame(
        ("baseline", 0, 0, 0, {"lr": 0.1}),
        ("baseline", 0, 0, 0, {"lr": 0.2}),
        ("rival", 0, 0, 0, {"schedule": "2", **CUT, "lr": 0.3}),
    )

    assert arms_of(rows)[-1].references == {}


@pytest.mark.parametrize("field", ["val_fraction", "test_fraction"])
def test_an_arm_with_other_val_or_test_images_has_no_baseline(frame, field):
    rows = frame(("baseline", 0, 0, 0, {}), ("rival", 0, 0, 0, {"schedule": "2", **CUT, field: 0.1}))

    assert arms_of(rows)[-1].references == {}


def test_an_audit_is_no_baseline(frame):
    rows = frame(("baseline", 0, 0, 0, {"split": "merged"}), ("rival", 0, 0, 0, {"schedule": "2"}))

    assert arms_of(rows)[-1].references == {}


def test_each_level_of_a_searched_augmentation_is_an_arm_and_the_first_is_the_baseline(levels):
    found = arms_of(levels("augment", "none", "cutmix"))

    assert [arm.name for arm in found] == [
        "augment none",
        "augment none + proxies",
        "augment cutmix",
        "augment cutmix + proxies",
    ]
    assert [references(arm, "augment") for arm in found] == [[("none", "none")]] * 2 + [[("cutmix", "none")]] * 2
    assert all(arm.claimed for arm in found)


def test_more_than_four_levels_are_shown_and_not_claimed(frame):
    rows = frame(*(("baseline", 0, 0, 0, {"augment": f"augment-{level}"}) for level in range(5)))

    assert [arm.claimed for arm in arms_of(rows)] == [False] * 5


def test_levels_of_two_searched_rivals_are_no_arms(frame):
    rows = frame(
        *(
            ("baseline", 0, 0, 0, {"augment": augment, "weights": weights})
            for augment in ("none", "cutmix")
            for weights in ("none", "imagenet")
        )
    )

    assert [arm.name for arm in arms_of(rows)] == ["baseline"]


def test_a_range_of_which_many_values_were_drawn_is_one_arm(frame):
    rows = frame(*(("baseline", 0, 0, 0, {"train_fraction": number / 10}) for number in range(1, 10)))

    assert [arm.name for arm in arms_of(rows)] == ["baseline"]


def test_a_level_is_named_by_its_field_and_a_weights_file_without_its_folder():
    assert level_name("lr", 0.10) == "lr 0.1"
    assert level_name("augment", "cutmix") == "augment cutmix"
    assert level_name("weights", "/a/b/lite0.safetensors") == "weights lite0.safetensors"
