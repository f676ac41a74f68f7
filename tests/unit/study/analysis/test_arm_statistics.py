import math

import pytest

from study.analysis.arm_statistics import MEASURES, arm_statistics, explanation_statistics, has_rivals
from study.analysis.estimates import estimate
from study.analysis.pairs import with_baselines
from study.results import JUDGED

CUT = {"augment": "cutmix"}
JUDGE = {"judged_by": "eigengradcam", "judged_images": 50}
WITHOUT_PROXIES = ("baseline", "rival", "less")


@pytest.fixture
def paired(frame):
    """Make rows with their differences, of (arm, seed, test, changed fields); rivals and less data have no proxies."""

    def make(*trials):
        rows = [
            (arm, seed, test + 10, test, {**({"schedule": "2"} if arm in WITHOUT_PROXIES else {}), **fields})
            for arm, seed, test, fields in trials
        ]
        return with_baselines(frame(*rows))

    return make


@pytest.fixture
def study(paired):
    """Two seeds of baseline, proxies, a rival and both; of both, the second seed is missing."""
    return paired(
        ("baseline", 0, 70.0, {}),
        ("proxy", 0, 71.0, {}),
        ("rival", 0, 72.0, CUT),
        ("both", 0, 76.0, CUT),
        ("baseline", 1, 60.0, {}),
        ("proxy", 1, 63.0, {}),
        ("rival", 1, 64.0, CUT),
        ("both", 1, 67.0, {**CUT, "status": "failed"}),
    )


def statistics(rows):
    """The statistics of each arm of these rows, by its name."""
    return {arm.name: arm for arm in arm_statistics(rows, rows[rows["status"] == "complete"])}


def differences(rows):
    """Of each arm its differences to the baseline and to its counterpart, seed by seed."""
    return {name: (arm.to_baseline.values, arm.to_counterpart.values) for name, arm in statistics(rows).items()}


def test_an_arm_has_its_accuracy_over_its_complete_trials(study):
    found = statistics(study)

    assert list(found) == ["baseline", "proxy", "rival", "both"]
    assert [arm.trials for arm in found.values()] == [2, 2, 2, 1]
    assert [arm.seeds for arm in found.values()] == [2, 2, 2, 1]
    assert [arm.test for arm in found.values()] == [estimate(v) for v in ([70, 60], [71, 63], [72, 64], [76])]
    assert found["both"].val == estimate([86.0])
    assert {arm.ece for arm in found.values()} == {0.25}


def test_an_arm_has_its_differences_to_the_baseline_and_to_the_same_training_without_proxies(study):
    assert differences(study) == {
        "baseline": ((), ()),
        "proxy": ((1.0, 3.0), (1.0, 3.0)),
        "rival": ((2.0, 4.0), ()),
        "both": ((6.0,), (4.0,)),
    }
    assert [(arm.baseline, arm.counterpart) for arm in statistics(study).values()] == [
        ("", ""),
        ("baseline", "baseline"),
        ("baseline", ""),
        ("baseline", "rival"),
    ]


def test_a_seed_that_has_no_baseline_is_in_no_difference(paired):
    rows = paired(("baseline", 0, 70.0, {}), ("rival", 0, 72.0, CUT), ("rival", 1, 60.0, CUT))

    assert statistics(rows)["rival"].seeds == 2
    assert differences(rows)["rival"] == ((2.0,), ())


def test_settings_of_a_seed_count_once_in_a_difference_and_each_in_the_accuracy(paired):
    rows = paired(
        ("baseline", 0, 70.0, {}),
        ("proxy", 0, 71.0, {}),
        ("proxy", 0, 71.0, {}),
        ("proxy", 0, 74.0, {"threshold": 0.9}),
    )

    proxies = statistics(rows)["proxy"]

    assert (proxies.trials, proxies.test.values) == (2, (71.0, 74.0))
    assert proxies.to_baseline.values == (2.5,)


def test_the_baseline_of_a_searched_level_is_the_first_level(levels):
    found = statistics(with_baselines(levels("augment", "none", "cutmix")))

    assert {name: (arm.baseline, arm.counterpart) for name, arm in found.items()} == {
        "augment none": ("", ""),
        "augment none + proxies": ("augment none", "augment none"),
        "augment cutmix": ("augment none", ""),
        "augment cutmix + proxies": ("augment none", "augment cutmix"),
    }
    assert found["augment cutmix + proxies"].to_baseline.values == (4.0, 4.0)
    assert found["augment cutmix + proxies"].to_counterpart.values == (2.0, 2.0)


def test_an_audit_is_leaking_and_its_honest_baseline_is_no_counterpart(paired):
    rows = paired(("baseline", 0, 70.0, {}), ("leaky", 0, 71.0, {"split": "merged", "split_digest": "another"}))

    assert [arm.leaking for arm in statistics(rows).values()] == [False, True]
    assert differences(rows)["leaky"] == ((1.0,), ())


def test_the_counterpart_of_an_audit_is_an_audit_of_the_same_split(paired):
    leaks = {"split": "merged", "split_digest": "another"}
    rows = paired(("baseline", 0, 70.0, {}), ("rival", 0, 71.0, leaks), ("leaky", 0, 74.0, leaks))

    assert differences(rows)["leaky"] == ((4.0,), (3.0,))
    assert statistics(rows)["leaky"].counterpart == "rival"


def test_an_arm_says_whether_it_trains_on_less_or_more_data_than_its_baseline(paired):
    part = {"train_fraction": 0.25, "split_digest": "a quarter"}
    less = paired(("baseline", 0, 70.0, {}), ("less", 0, 60.0, part))
    more = paired(("baseline", 0, 60.0, part), ("rival", 0, 70.0, {}))

    assert [arm.data for arm in statistics(less).values()] == ["", "less data"]
    assert [arm.data for arm in statistics(more).values()] == ["", "more data"]


def test_an_arm_that_was_trained_otherwise_than_the_baseline_is_a_rival_and_a_control_is_none(study, paired):
    control = paired(("baseline", 0, 70.0, {}), ("proxy", 0, 71.0, {}), ("masked", 0, 71.0, {"mask": "random"}))

    assert has_rivals(list(statistics(study).values()))
    assert not has_rivals(list(statistics(control).values()))


def measured(paired, **changes):
    """A baseline and proxies on two seeds, judged by insertion; fields of the second proxy trial are changed."""
    values = {"insertion_auc": (0.5, 0.6, 0.4, 0.7)}
    trials = [("baseline", 0), ("proxy", 0), ("baseline", 1), ("proxy", 1)]
    given = [{**JUDGE, "insertion_auc": value} for value in values["insertion_auc"]]
    given[-1] |= changes
    return paired(*((arm, seed, 70.0, more) for (arm, seed), more in zip(trials, given, strict=True)))


def test_explanations_are_compared_with_those_of_the_baseline_of_each_seed(paired):
    rows = measured(paired)

    found = explanation_statistics(rows, rows)

    assert [(each.measure, each.arm) for each in found] == [("insertion_auc", "baseline"), ("insertion_auc", "proxy")]
    assert found[0].value.values == (0.5, 0.4)
    assert found[0].to_baseline.n == 0
    assert found[1].to_baseline.values == pytest.approx((0.1, 0.3))


@pytest.mark.parametrize("changes", [{"judged_by": "gradcam"}, {"judged_images": 9}, {"insertion_auc": math.nan}])
def test_explanations_that_another_method_or_nobody_judged_are_in_no_difference(paired, changes):
    rows = measured(paired, **changes)

    assert explanation_statistics(rows, rows)[1].to_baseline.values == pytest.approx((0.1,))


def test_a_baseline_that_was_not_judged_leaves_no_difference(paired):
    rows = paired(("baseline", 0, 70.0, {}), ("proxy", 0, 71.0, {**JUDGE, "pointing_game": 0.5}))

    (found,) = explanation_statistics(rows, rows)

    assert (found.measure, found.arm, found.to_baseline.n) == ("pointing_game", "proxy", 0)


def test_where_nothing_was_judged_there_is_nothing_to_tell(study):
    assert explanation_statistics(study, study) == []
    assert explanation_statistics(study.drop(columns=list(MEASURES)), study.drop(columns=list(MEASURES))) == []


def test_of_every_measure_that_is_reported_it_is_known_which_way_is_better():
    assert set(MEASURES) == set(JUDGED)
