import dataclasses

import pandas as pd
from written_runs import SMALL

from study.reporting.run_tables import cost_by_arm, epochs_to_accuracy, facts, undone_trials


def test_the_epochs_to_an_accuracy_are_the_median_over_trials_and_how_many_reached_it(findings):
    scope = pd.DataFrame(
        [("baseline", 100.0, "fixed"), ("proxy", 0, "fixed"), ("proxy", 0, "fixed"), ("proxy", 0, "fixed")],
        columns=["arm", "val_accuracy", "split"],
    ).assign(trial_id=["a", "b", "c", "d"])
    values = {"a": [80, 95, 100], "b": [90, 96, 97], "c": [91, 94, 94], "d": [10, 89, 90]}
    epochs = pd.DataFrame(
        [
            ("baseline" if trial == "a" else "proxy", trial, epoch, value)
            for trial, series in values.items()
            for epoch, value in enumerate(series)
        ],
        columns=["arm", "trial_id", "epoch", "val_accuracy"],
    )

    table = epochs_to_accuracy(dataclasses.replace(findings, rows=scope, scope=scope, all_epochs=epochs))

    assert table.columns == ("arm", "val 90.0 %", "val 95.0 %", "val 100.0 %")
    assert table.rows == (
        ("baseline", "2 (1 of 1)", "2 (1 of 1)", "3 (1 of 1)"),
        ("proxy", "1 (3 of 3)", "1 of 3", "0 of 3"),
    )


def test_without_a_baseline_there_is_no_accuracy_to_reach(findings_of):
    assert epochs_to_accuracy(findings_of(("proxy", 0, 50.0, {}))) is None


def test_the_cost_of_a_run_is_told_by_arm_with_the_highest_memory(findings):
    table = cost_by_arm(findings)

    assert table.columns == ("arm", "trials", "training, s", "proxies, s", "wall, s", "peak MB", "proxies made")
    assert table.rows == (
        ("baseline", "2", "3.50 ± 0.71", "0.00 ± 0.00", "4.00 ± 0.00", "904", "0"),
        ("proxy", "4", "3.50 ± 0.58", "0.50 ± 0.00", "4.00 ± 0.00", "906", "6"),
        ("random-mask", "2", "3.50 ± 0.71", "0.50 ± 0.00", "4.00 ± 0.00", "907", "6"),
        ("all", "8", "", "", "0:32 in all", "907", ""),
    )


def test_every_trial_that_is_not_complete_is_named_with_its_status_and_error(findings_of):
    found = findings_of(
        ("baseline", 0, 50.0, {}),
        ("baseline", 1, 0.0, {"status": "interrupted"}),
        ("proxy", 0, 0.0, {"error": "DivergedError: the loss is nan"}),
        ("proxy", 1, 0.0, {"status": "missing"}),
    )

    ids = list(found.rows["trial_id"])
    assert undone_trials(found).rows == (
        (ids[1], "interrupted", ""),
        (ids[2], "failed", "DivergedError: the loss is nan"),
        (ids[3], "missing", ""),
    )


def test_what_ran_is_told_with_plan_data_code_and_machine(findings):
    found = dict(facts(findings))

    assert found["plan"] == "small, grid, 8 trials (2 baseline, 4 proxy, 2 random-mask)"
    assert found["seeds"] == "0, 1"
    assert found["data"] == "folder: 4 classes, 32 train, 8 val, 16 test images"
    assert found["model"] == "test_resnet at 32 px"
    assert found["schedules"] == "2, 1,p"
    assert found["commit"] == "abc123"
    assert found["versions"] == "python 3.11.7, torch 2.9.0"
    assert "search" not in found
    assert "left out" not in found


def test_the_images_of_arms_that_train_on_others_are_told(rivals):
    assert dict(facts(rivals))["data"] == "folder: 4 classes, 16 or 32 train, 8 val, 16 test images"


def test_a_search_is_told_with_its_settings_and_skipped_images_are_counted(findings_of):
    found = dict(
        facts(
            findings_of(
                *SMALL[:2],
                search="random",
                suggestions=4,
                confirm=1,
                about={"skipped_images": ["a.png", "b.png"]},
            )
        )
    )

    assert found["search"] == "4 settings on seed 0, the best 1 on the others"
    assert found["left out"] == "2 unreadable images"
