import math

import pandas as pd
import pytest

from proxy_attention.config import DEFAULTS, PROXY_FIELDS, TrialConfig
from study.analysis.arm_statistics import MEASURES, arm_statistics, explanation_statistics, has_rivals
from study.analysis.arms import arms_of
from study.analysis.contrasts import TrialIndex
from study.analysis.estimates import estimate
from study.analysis.pairs import with_baselines
from study.reporting.arm_tables import accuracy_by_arm
from study.results import COLUMNS, JUDGED, METRICS

CUT = {"augment": "cutmix"}
JUDGE = {"judged_by": "eigengradcam", "judged_images": 50}


def row_of(number, arm, seed, test, given):
    config = TrialConfig(
        **{
            "schedule": "2" if arm in ("baseline", "rival", "less") else "1,p",
            "seed": seed,
            "precision": "fp32",
            "threads": 1,
            **{name: value for name, value in given.items() if name in DEFAULTS},
        }
    ).canonical()
    return {
        "trial_id": f"{number:04d}-{arm}-seed{seed}",
        "config_digest": config.digest(data="x", weights=None),
        "search": "grid",
        "arm": arm,
        "status": "complete",
        **config.as_dict(),
        **({} if config.has_proxies else dict.fromkeys(PROXY_FIELDS)),
        **dict.fromkeys(METRICS, math.nan),
        "epochs_done": 2,
        "val_accuracy": test + 10,
        "test_accuracy": test,
        "test_ece": 0.25,
        "split_digest": f"split of seed {seed}",
        **{name: value for name, value in given.items() if name not in DEFAULTS},
    }


@pytest.fixture
def frame():
    """Make rows with their differences of (arm, seed, test, changed fields); rivals and less data have no proxies."""

    def make(*trials):
        rows = [row_of(number, *trial) for number, trial in enumerate(trials)]
        columns = dict.fromkeys([*COLUMNS, *MEASURES, "judged_by", "judged_images"])
        return with_baselines(pd.DataFrame(rows, columns=list(columns)))

    return make


@pytest.fixture
def study(frame):
    """Two seeds of baseline, proxies, a rival and both; of both, the second seed is missing."""
    return frame(
        ("baseline", 0, 70.0, {}),
        ("proxy", 0, 71.0, {}),
        ("rival", 0, 72.0, CUT),
        ("both", 0, 76.0, CUT),
        ("baseline", 1, 60.0, {}),
        ("proxy", 1, 63.0, {}),
        ("rival", 1, 64.0, CUT),
        ("both", 1, 67.0, {**CUT, "status": "failed"}),
    )


def complete(rows):
    return rows[rows["status"] == "complete"]


def shown(rows):
    """The table of these rows as lists of text, by arm."""
    return {row[0]: list(row[1:]) for row in accuracy_by_arm(arm_statistics(rows, complete(rows))).rows}


def test_a_side_has_its_accuracy_and_its_differences_to_the_baseline_and_to_its_twin(study):
    found = {side.name: side for side in arm_statistics(study, complete(study))}

    assert list(found) == ["baseline", "proxy", "rival", "both"]
    assert [side.trials for side in found.values()] == [2, 2, 2, 1]
    assert [side.test.mean for side in found.values()] == [65.0, 67.0, 68.0, 76.0]
    assert found["proxy"].to_baseline == found["proxy"].to_counterpart == estimate([1.0, 3.0])
    assert (found["rival"].to_baseline.values, found["rival"].to_counterpart.values) == ((2.0, 4.0), ())
    assert (found["both"].to_baseline.values, found["both"].to_counterpart.values) == ((6.0,), (4.0,))
    assert [(side.baseline, side.counterpart) for side in found.values()] == [
        ("", ""),
        ("baseline", "baseline"),
        ("baseline", ""),
        ("baseline", "rival"),
    ]


def test_the_table_names_a_twin_that_is_not_the_baseline(study):
    assert shown(study)["both"] == ["1", "86.00", "76.00", "0.250", "+6.00", "+4.00 (to rival)"]
    assert shown(study)["rival"][1:3] == ["78.00 ± 5.66", "68.00 ± 5.66"]
    assert shown(study)["baseline"][-2:] == ["", ""]


def test_the_table_says_how_many_seeds_a_difference_is_of_where_one_is_missing(frame):
    rows = frame(("baseline", 0, 70.0, {}), ("rival", 0, 72.0, CUT), ("rival", 1, 60.0, CUT))

    assert shown(rows)["rival"][-2] == "+2.00 (1 seed)"


def test_settings_of_a_seed_count_once_in_a_difference_and_each_in_the_accuracy(frame):
    rows = frame(
        ("baseline", 0, 70.0, {}),
        ("proxy", 0, 71.0, {}),
        ("proxy", 0, 71.0, {}),
        ("proxy", 0, 74.0, {"threshold": 0.9}),
    )

    proxies = arm_statistics(rows, rows)[1]

    assert (proxies.trials, proxies.test.values) == (2, (71.0, 74.0))
    assert proxies.to_baseline.values == (2.5,)


def test_a_searched_augmentation_has_a_row_a_level_and_the_first_is_the_baseline(frame):
    rows = frame(
        ("baseline", 0, 70.0, {"augment": "none"}),
        ("proxy", 0, 71.0, {"augment": "none"}),
        ("baseline", 0, 72.0, CUT),
        ("proxy", 0, 76.0, CUT),
    )

    table = accuracy_by_arm(arm_statistics(rows, rows))

    assert table.columns[-2] == "test \N{MINUS SIGN} augment none [95 %]"
    assert [(row[0], *row[-2:]) for row in table.rows] == [
        ("augment none", "", ""),
        ("augment none + proxies", "+1.00", "+1.00"),
        ("augment cutmix", "+2.00", ""),
        ("augment cutmix + proxies", "+6.00", "+4.00 (to augment cutmix)"),
    ]


def test_a_range_of_which_many_values_were_drawn_has_no_row_a_level(frame):
    rows = frame(*(("baseline", 0, 70.0, {"train_fraction": number / 10}) for number in range(1, 10)))

    assert [side.name for side in arms_of(rows)] == ["baseline"]


def test_weights_are_called_by_the_name_of_their_file(frame):
    rows = frame(
        ("baseline", 0, 70.0, {"weights": "none"}), ("baseline", 0, 80.0, {"weights": "/a/b/lite0.safetensors"})
    )

    assert [side.name for side in arms_of(rows)] == ["weights none", "weights lite0.safetensors"]


def test_an_audit_is_marked_and_set_against_the_honest_baseline_which_is_no_twin(frame):
    rows = frame(
        ("baseline", 0, 70.0, {}),
        ("leaky", 0, 71.0, {"split": "merged", "split_digest": "another"}),
    )

    assert shown(rows)["leaky"] == ["1", "81.00 LEAKING", "71.00", "0.250", "+1.00", ""]


def test_the_twin_of_an_audit_is_an_audit_of_the_same_split(frame):
    leaks = {"split": "merged", "split_digest": "another"}
    rows = frame(("baseline", 0, 70.0, {}), ("rival", 0, 71.0, leaks), ("leaky", 0, 74.0, leaks))

    assert shown(rows)["leaky"][-2:] == ["+4.00", "+3.00 (to rival)"]


def test_the_table_says_where_a_difference_is_to_other_data(frame):
    part = {"train_fraction": 0.25, "split_digest": "a quarter"}
    less = frame(("baseline", 0, 70.0, {}), ("less", 0, 60.0, part))
    more = frame(("baseline", 0, 60.0, part), ("rival", 0, 70.0, {}), ("rival", 1, 70.0, {}))

    assert shown(less)["less"][-2] == "\N{MINUS SIGN}10.00 (less data)"
    assert shown(more)["rival"][-2] == "+10.00 (more data, 1 seed)"


def test_a_baseline_of_another_split_is_none(frame):
    rows = frame(("baseline", 0, 70.0, {}), ("rival", 0, 72.0, {**CUT, "split_digest": "another"}))

    assert TrialIndex(rows).baseline(rows.iloc[1].to_dict(), arms_of(rows)[1]) is None
    assert shown(rows)["rival"][-2] == ""


def test_a_table_is_worth_it_where_an_arm_was_trained_otherwise_than_the_baseline(study, frame):
    control = frame(("baseline", 0, 70.0, {}), ("proxy", 0, 71.0, {}), ("masked", 0, 71.0, {"mask": "random"}))

    assert has_rivals(arm_statistics(study, complete(study)))
    assert not has_rivals(arm_statistics(control, control))


def measured(frame, **changes):
    """A baseline and proxies on two seeds, judged by insertion; fields of the second proxy trial are changed."""
    values = {"insertion_auc": (0.5, 0.6, 0.4, 0.7)}
    trials = [("baseline", 0), ("proxy", 0), ("baseline", 1), ("proxy", 1)]
    given = [{**JUDGE, "insertion_auc": value} for value in values["insertion_auc"]]
    given[-1] |= changes
    return frame(*((arm, seed, 70.0, more) for (arm, seed), more in zip(trials, given, strict=True)))


def test_explanations_are_compared_with_those_of_the_baseline_of_each_seed(frame):
    rows = measured(frame)

    found = explanation_statistics(rows, rows)

    assert [(each.measure, each.arm) for each in found] == [("insertion_auc", "baseline"), ("insertion_auc", "proxy")]
    assert found[0].value.values == (0.5, 0.4)
    assert found[0].to_baseline.n == 0
    assert found[1].to_baseline.values == pytest.approx((0.1, 0.3))


@pytest.mark.parametrize("changes", [{"judged_by": "gradcam"}, {"judged_images": 9}, {"insertion_auc": math.nan}])
def test_what_another_judged_or_nobody_is_in_no_difference(frame, changes):
    rows = measured(frame, **changes)

    assert explanation_statistics(rows, rows)[1].to_baseline.values == pytest.approx((0.1,))


def test_a_baseline_that_was_not_judged_leaves_no_difference(frame):
    rows = frame(("baseline", 0, 70.0, {}), ("proxy", 0, 71.0, {**JUDGE, "pointing_game": 0.5}))

    (found,) = explanation_statistics(rows, rows)

    assert (found.measure, found.arm, found.to_baseline.n) == ("pointing_game", "proxy", 0)


def test_where_nothing_was_judged_there_is_nothing_to_tell(study):
    assert explanation_statistics(study, study) == []
    assert explanation_statistics(study.drop(columns=list(MEASURES)), study.drop(columns=list(MEASURES))) == []


def test_of_every_measure_that_is_reported_it_is_known_which_way_is_better():
    assert set(MEASURES) == set(JUDGED)
