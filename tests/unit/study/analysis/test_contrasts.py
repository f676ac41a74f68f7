import pytest

from study.analysis.arms import arms_of
from study.analysis.contrasts import (
    TrialIndex,
    control_contrasts,
    counterpart_contrasts,
    other_data,
    rival_contrasts,
    training_contrasts,
)
from study.analysis.pairs import with_baselines
from study.analysis.query import query

CUT = {"augment": "cutmix"}


def contrasts_of(results, *, planned=None):
    done = results[results["status"] == "complete"].drop_duplicates(["config_digest", "arm"])
    arms = arms_of(results if planned is None else planned)
    found = [
        *counterpart_contrasts(arms, done, proxies="proxies"),
        *training_contrasts(arms, done, proxies="proxies"),
        *control_contrasts(done),
        *rival_contrasts(done, proxies="proxies"),
    ]
    return [contrast for contrast in found if len(contrast.pairs)]


def by_seed(results, **options):
    """Of every contrast its text and, of each seed, the mean difference on test."""
    return {
        contrast.text: tuple(contrast.pairs.groupby("seed")["test_difference"].mean())
        for contrast in contrasts_of(results, **options)
    }


# ---- augmentation alone, proxies alone, both


def test_augmentation_proxies_and_both_are_compared_with_each_other_and_with_the_baseline(four_arms):
    assert by_seed(four_arms()) == {
        "both - rival": (4.0, 6.0),
        "both - proxies": (5.0, 7.0),
        "both - baseline": (6.0, 9.0),
        "(both - rival) - (proxies - baseline)": (3.0, 4.0),
        "rival - baseline": (2.0, 3.0),
    }


def test_only_what_proxies_add_to_a_rival_answers_a_question(four_arms):
    assert [(each.text, each.question) for each in contrasts_of(four_arms()) if each.question] == [
        ("(both - rival) - (proxies - baseline)", "Do proxies add to rival what they add to the baseline?")
    ]


def test_a_seed_that_misses_one_of_four_has_no_part_in_what_proxies_add_to_a_rival(four_arms):
    assert by_seed(four_arms(without=[("proxy", 1)])) == {
        "both - rival": (4.0, 6.0),
        "both - proxies": (5.0,),
        "both - baseline": (6.0, 9.0),
        "(both - rival) - (proxies - baseline)": (3.0,),
        "rival - baseline": (2.0, 3.0),
    }


def test_a_trial_that_failed_is_in_no_contrast(four_arms):
    found = by_seed(four_arms(changes={"rival": {"status": "failed"}}))

    assert found == {"both - proxies": (5.0, 7.0), "both - baseline": (6.0, 9.0)}


def test_both_is_compared_with_the_proxies_of_its_own_setting_alone(four_arms):
    weaker = ("proxy", 0, 50, 60, {"threshold": 0.9})

    found = by_seed(four_arms(extra=[weaker]))

    assert found["both - proxies"] == (5.0, 7.0)
    assert found["(both - rival) - (proxies - baseline)"] == (3.0, 4.0)


def test_proxies_alone_may_be_an_arm(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 0, 70, {}),
            ("rival", 0, 0, 72, {"schedule": "2", **CUT}),
            ("masked", 0, 0, 71, {"mask": "random"}),
            ("both-masked", 0, 0, 76, {"mask": "random", **CUT}),
        )
    )

    found = by_seed(results)

    assert found["both-masked - masked"] == (5.0,)
    assert found["(both-masked - rival) - (masked - baseline)"] == (3.0,)


def test_both_without_a_rival_alone_is_compared_with_proxies_and_baseline(four_arms):
    assert by_seed(four_arms(without=["rival"])) == {"both - proxies": (5.0, 7.0), "both - baseline": (6.0, 9.0)}


def test_an_audit_is_compared_with_its_counterpart_alone(frame):
    leaks = {"split": "merged", "split_digest": "another"}
    results = frame(
        ("baseline", 0, 80, 70, {}),
        ("proxy", 0, 80, 71, {}),
        ("merged", 0, 99, 72, {"schedule": "2", **leaks}),
        ("merged-both", 0, 99, 75, leaks),
    )

    assert by_seed(with_baselines(results)) == {"merged - baseline": (2.0,), "merged-both - merged": (3.0,)}


def test_an_arm_that_is_the_baseline_is_not_compared_with_itself(frame):
    assert by_seed(with_baselines(frame(("baseline", 0, 80, 70, {}), ("same", 0, 80, 70, {"schedule": "2"})))) == {}


# ---- less data, other images, other training


def test_less_data_is_compared_where_val_and_test_are_the_same_images_and_is_named(frame):
    quarter = {"train_fraction": 0.25, "split_digest": "a quarter"}
    results = frame(
        ("baseline", 0, 0, 70, {}),
        ("proxy", 0, 0, 71, {}),
        ("less", 0, 0, 72, {"schedule": "2", **quarter}),
        ("less-both", 0, 0, 76, quarter),
    )

    assert by_seed(with_baselines(results)) == {
        "less-both - less": (4.0,),
        "(less-both - less) - (proxies - baseline)": (3.0,),
        "less - baseline (less data)": (2.0,),
    }


def test_more_data_is_named_too(frame):
    results = frame(
        ("baseline", 0, 80, 70, {"train_fraction": 0.25, "split_digest": "a quarter"}),
        ("whole", 0, 80, 79, {"schedule": "2"}),
    )

    assert by_seed(with_baselines(results)) == {"whole - baseline (more data)": (9.0,)}


def test_the_part_of_the_images_says_which_of_two_trials_has_less_data():
    half, whole = {"train_fraction": 0.5}, {"train_fraction": 1.0}

    assert [other_data(half, whole), other_data(whole, half), other_data(half, half)] == ["less data", "more data", ""]


OTHER_IMAGES = {
    "dataset": "folder",
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "folds": 3,
    "split_seed": 9,
    "on_bad_image": "skip",
    "label_function": "file-prefix",
    "split_digest": "another",
    "epochs_done": 3,
}


@pytest.mark.parametrize("field", OTHER_IMAGES)
def test_a_rival_that_is_tested_on_other_images_or_trained_longer_is_not_compared(frame, field):
    rival = {"schedule": "2", **CUT, field: OTHER_IMAGES[field]}

    assert by_seed(with_baselines(frame(("baseline", 0, 80, 70, {}), ("rival", 0, 80, 72, rival)))) == {}


def test_a_baseline_of_another_split_is_none(frame):
    rows = frame(("baseline", 0, 80, 70, {}), ("rival", 0, 80, 72, {"schedule": "2", **CUT, "split_digest": "another"}))
    trials, rival = TrialIndex(rows), arms_of(rows)[1]

    (row,) = trials.rows(rival)

    assert row["trial_id"] == "0001-rival-seed0"
    assert trials.baseline(row, rival) is None


OTHER_TRAINING = {
    "weights": "imagenet",
    "model": "resnet34",
    "lr": 0.01,
    "image_size": 32,
    "batch_size": 64,
    "weight_decay": 0.5,
}


@pytest.mark.parametrize("field", OTHER_TRAINING)
def test_an_arm_without_proxies_may_differ_in_any_field_of_its_training(frame, field):
    rival = {"schedule": "2", field: OTHER_TRAINING[field]}

    found = by_seed(with_baselines(frame(("baseline", 0, 80, 70, {}), ("rival", 0, 80, 72, rival))))

    assert found == {"rival - baseline": (2.0,)}


def test_a_baseline_that_a_query_leaves_out_leaves_its_place_to_no_other(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 0, 70, {"lr": 0.1}),
            ("baseline", 0, 0, 60, {"lr": 0.2}),
            ("rival", 0, 0, 72, {"schedule": "2", **CUT, "lr": 0.1}),
        )
    )
    part = query(results, "arm == 'rival' or lr == 0.2")

    assert by_seed(part) == {"rival - baseline": (12.0,)}
    assert by_seed(part, planned=results) == {}


def test_a_baseline_that_failed_leaves_its_place_to_no_other(frame):
    results = frame(
        ("baseline", 0, 0, 70, {"lr": 0.1}),
        ("baseline", 0, 0, 60, {"lr": 0.2, "status": "failed"}),
        ("rival", 0, 0, 72, {"schedule": "2", **CUT, "lr": 0.2}),
    )

    assert by_seed(with_baselines(results)) == {}


# ---- levels of a search


def test_levels_of_a_searched_augmentation_are_compared_with_the_first(levels):
    assert by_seed(with_baselines(levels("augment", "none", "cutmix"))) == {
        "augment cutmix - augment none": (2.0, 2.0),
        "augment cutmix + proxies - augment none + proxies": (3.0, 3.0),
        "augment cutmix + proxies - augment none": (4.0, 4.0),
        "(augment cutmix + proxies - augment cutmix) - (augment none + proxies - augment none)": (1.0, 1.0),
    }


def test_levels_of_a_field_that_is_no_rival_are_not_compared_with_each_other(levels):
    assert by_seed(with_baselines(levels("lr", 0.1, 0.2))) == {}


@pytest.mark.parametrize(("count", "contrasts"), [(4, 3), (5, 0)])
def test_few_levels_are_compared_with_the_first_and_many_are_not(frame, count, contrasts):
    trials = [("baseline", 0, 0, 70 + level, {"augment": f"augment-{level}"}) for level in range(count)]

    assert len(by_seed(with_baselines(frame(*trials)))) == contrasts


def test_a_rival_arm_is_compared_with_its_level_of_a_searched_augmentation(levels):
    masked = ("masked", 0, 0, 75, {"augment": "cutmix", "mask": "random"})

    found = by_seed(with_baselines(levels("augment", "none", "cutmix", extra=[masked])))

    assert found["masked - augment cutmix"] == (3.0,)


# ---- attention against chance


def test_attention_is_compared_with_chance_only_where_nothing_but_the_mask_differs(study):
    found = by_seed(study)

    assert found["saliency - random-mask"] == (0.5, -2.0)  # threshold 0.3, never 0.6
    assert [text for text in found if text.startswith("saliency")] == ["saliency - random-mask"]


def test_an_arm_with_the_mask_of_the_search_is_no_control(frame):
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {}), ("twin", 0, 81, 73, {})))

    assert list(by_seed(results)) == ["twin - baseline"]


def test_a_searched_mask_is_no_attention(frame):
    results = with_baselines(
        frame(
            ("proxy", 0, 81, 73, {}),
            ("proxy", 0, 81, 60, {"mask": "random"}),
            ("inverse", 0, 80, 72, {"mask": "inverse"}),
        )
    )

    assert by_seed(results) == {"saliency - inverse": (1.0,)}


def test_a_known_place_is_compared_with_proxies_by_any_map(frame):
    """A trial that replaces known places has no method, threshold or class: these are no difference."""
    results = with_baselines(
        frame(
            ("proxy", 0, 81, 73, {"saliency": "gradcam++", "threshold": 0.3}),
            ("proxy", 0, 81, 74, {"saliency": "gradcam++", "threshold": 0.6}),
            ("proxy", 0, 81, 60, {"saliency": "gradcam++", "weight": 0.9}),
            ("place", 0, 80, 70, {"mask": "region", "saliency": "gradcam++", "threshold": 0.3}),
        )
    )

    assert by_seed(results) == {"saliency - place": (3.5,)}


MASKTUNE = {"choose": "all", "threshold": "mean+2sd", "schedule": "p,1"}
JTT = {"substitute": "add", "repeats": 20, "restart": True, "weight": 0.0}


def test_a_rival_is_compared_with_the_arm_that_takes_its_steps_at_another_place_or_with_other_images(frame):
    results = with_baselines(
        frame(
            ("masktune", 0, 80, 70, MASKTUNE),
            ("masktune-random", 0, 80, 66, {**MASKTUNE, "mask": "random"}),
            ("jtt", 0, 80, 71, {**JTT, "order": "hardest"}),
            ("jtt-random", 0, 80, 69, {**JTT, "choose": "random"}),
            ("jtt-of-others", 0, 80, 50, {**JTT, "choose": "random", "repeats": 3}),
        )
    )

    assert by_seed(results) == {"masktune - masktune-random": (4.0,), "jtt - jtt-random": (2.0,)}


def test_the_proxies_of_the_search_are_compared_with_as_many_of_any_images(frame):
    results = with_baselines(
        frame(
            ("proxy", 0, 81, 73, {"threshold": 0.3}),
            ("proxy", 0, 81, 75, {"threshold": 0.6}),
            ("whoever", 0, 80, 70, {"threshold": 0.3, "choose": "random"}),
        )
    )

    assert by_seed(results) == {"proxies - whoever": (3.0,)}


def test_only_a_control_is_marked_as_one_whatever_an_arm_is_called(study, frame):
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), ("saliency", 0, 81, 73, {})))

    assert {each.text: each.control for each in contrasts_of(results)} == {"saliency - baseline": ""}
    assert {each.text: each.control for each in contrasts_of(study)}["saliency - random-mask"] == "random-mask"


def test_a_control_of_another_split_is_not_compared(frame):
    results = frame(("proxy", 0, 81, 73, {}), ("random-mask", 0, 80, 72, {"mask": "random", "split_digest": "another"}))

    assert by_seed(with_baselines(results)) == {}
