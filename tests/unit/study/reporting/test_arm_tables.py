from written_runs import write_run

from study.analysis.arm_statistics import ArmStatistics
from study.analysis.estimates import estimate
from study.analysis.findings import Findings
from study.reporting.arm_tables import accuracy_by_arm, explanations_by_arm

MINUS = "\N{MINUS SIGN}"
NONE = estimate([])


def arm(name, *test, **changes):
    """The statistics of an arm of these test accuracies; on val each is ten higher."""
    values = {
        "trials": len(test),
        "seeds": len(test),
        "val": estimate(value + 10 for value in test),
        "test": estimate(test),
        "ece": 0.25,
        "to_baseline": NONE,
        "to_counterpart": NONE,
        "baseline": "",
        "counterpart": "",
        "data": "",
        "rival": False,
        "leaking": False,
    }
    return ArmStatistics(name, **{**values, **changes})


def cells(*arms):
    """The cells of each row but its name, by that name."""
    return {row[0]: list(row[1:]) for row in accuracy_by_arm(arms).rows}


def test_an_arm_is_shown_with_its_accuracies_its_calibration_and_both_differences():
    to = {"to_baseline": estimate([1.0, 3.0]), "to_counterpart": estimate([1.0, 3.0])}
    table = accuracy_by_arm(
        [arm("baseline", 70.0, 60.0), arm("proxy", 71.0, 63.0, baseline="baseline", counterpart="baseline", **to)]
    )

    assert table.columns == (
        "arm",
        "trials",
        "val %",
        "test %",
        "test ECE",
        f"test {MINUS} baseline [95 %]",
        f"test {MINUS} without proxies [95 %]",
    )
    difference = f"+2.00 [{MINUS}10.71, +14.71]"
    assert table.rows == (
        ("baseline", "2", "75.00 ± 7.07", "65.00 ± 7.07", "0.250", "", ""),
        ("proxy", "2", "77.00 ± 5.66", "67.00 ± 5.66", "0.250", difference, difference),
    )


def test_the_worst_group_and_its_gap_are_shown_where_an_arm_has_groups():
    groups = {"worst_group": estimate([40.0, 50.0]), "group_gap": estimate([20.0, 22.0])}
    table = accuracy_by_arm([arm("baseline", 60.0, 72.0, **groups), arm("other", 50.0)])

    assert table.columns[4:7] == ("test ECE", "worst group %", "gap")
    assert [row[4:7] for row in table.rows] == [("0.250", "45.00 ± 7.07", "21.00 ± 1.41"), ("0.250", "", "")]


def test_a_counterpart_that_is_not_the_baseline_is_named():
    both = arm(
        "both",
        76.0,
        to_baseline=estimate([6.0]),
        baseline="baseline",
        to_counterpart=estimate([4.0]),
        counterpart="rival",
    )

    assert cells(both)["both"][-2:] == ["+6.00", "+4.00 (to rival)"]


def test_a_baseline_that_all_arms_share_stands_in_the_heading_and_another_in_the_cell():
    to = {"to_baseline": estimate([2.0])}
    one, other = arm("b", 1.0, baseline="a", **to), arm("d", 1.0, baseline="c", **to)

    assert accuracy_by_arm([one]).columns[-2] == f"test {MINUS} a [95 %]"
    assert accuracy_by_arm([one, other]).columns[-2] == f"test {MINUS} baseline [95 %]"
    assert [row[-2] for row in cells(one, other).values()] == ["+2.00 (to a)", "+2.00 (to c)"]


def test_a_difference_says_where_it_is_of_fewer_seeds_or_of_other_data():
    to = {"to_baseline": estimate([-10.0]), "baseline": "baseline"}

    assert cells(arm("rival", 1.0, 2.0, **to))["rival"][-2] == f"{MINUS}10.00 (1 seed)"
    assert cells(arm("less", 1.0, data="less data", **to))["less"][-2] == f"{MINUS}10.00 (less data)"
    assert cells(arm("more", 1.0, 2.0, data="more data", **to))["more"][-2] == f"{MINUS}10.00 (more data, 1 seed)"


def test_the_val_of_an_arm_that_trains_on_validation_images_is_marked():
    assert cells(arm("leaky", 71.0, leaking=True))["leaky"] == ["1", "81.00 LEAKING", "71.00", "0.250", "", ""]


def test_each_measure_of_explanations_has_a_table_that_says_by_whom_and_which_way_is_better(tmp_path):
    values = (0.5, 0.6, 0.25, 0.25, 0.5, 0.25)
    arms = [("baseline", {}), ("proxy", {}), ("random-mask", {"mask": "random"})] * 2
    judged = {"judged_by": "eigengradcam", "judged_images": 16}
    trials = [
        (arm, number // 3, 50.0, {**fields, **judged, "deletion_auc": value})
        for number, ((arm, fields), value) in enumerate(zip(arms, values, strict=True))
    ]

    found = explanations_by_arm(Findings.of(write_run(tmp_path / "small" / "grid", *trials)))

    assert found.judges == "by eigengradcam on 16 test images a trial"
    ((title, table),) = found.measures
    assert title == "Deletion: lower is better"
    assert table.columns == ("arm", "deletion", f"{MINUS} baseline [95 %]")
    assert table.rows == (
        ("baseline", "0.375 ± 0.177", ""),
        ("proxy", "0.550 ± 0.071", f"+0.175 [{MINUS}0.778, +1.128]"),
        ("random-mask", "0.250 ± 0.000", f"{MINUS}0.125 [{MINUS}1.713, +1.463]"),
    )


def test_where_nothing_was_judged_there_is_no_table(tmp_path):
    run = write_run(tmp_path / "small" / "grid", ("baseline", 0, 50.0, {}))

    assert explanations_by_arm(Findings.of(run)) is None
