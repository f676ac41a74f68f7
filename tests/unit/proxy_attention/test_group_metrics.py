"""Accuracy by group, and the error set against conflicting images: each equal to a count by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from proxy_attention.data.groups import Groups
from proxy_attention.group_metrics import GroupMetrics, error_set_metrics, group_metrics

#                       0       1       2       3       4      5      6       7
BIRDS = Groups.of(["land", "land", "land", "land", "sea", "sea", "air", "conflicting"])


def of(*numbers):
    return torch.tensor(numbers, dtype=torch.int64)


def test_accuracy_by_group_the_worst_of_them_and_the_gap_are_those_counted_by_hand():
    test = np.array([0, 1, 2, 3, 4, 5, 7])
    correct = np.array([True, True, True, False, False, True, True])

    found = group_metrics(BIRDS, test, correct)

    assert found == GroupMetrics(
        group_images={"air": 0, "conflicting": 1, "land": 4, "sea": 2},
        group_accuracies={"air": None, "conflicting": 100.0, "land": 75.0, "sea": 50.0},
        worst_group="sea",
        worst_group_accuracy=50.0,
        group_gap=100 * 5 / 7 - 50,
    )


def test_the_first_of_equally_bad_groups_is_the_worst():
    found = group_metrics(BIRDS, np.array([4, 0]), np.array([True, True]))

    assert (found.worst_group, found.worst_group_accuracy, found.group_gap) == ("land", 100.0, 0.0)


def test_a_model_that_is_wrong_about_everything_has_no_gap():
    found = group_metrics(BIRDS, np.array([0, 4]), np.array([False, False]))

    assert (found.worst_group_accuracy, found.group_gap) == (0.0, 0.0)


def test_a_data_set_without_groups_has_no_accuracy_by_group():
    assert group_metrics(None, np.array([0]), np.array([True])) == GroupMetrics()


def test_precision_and_recall_of_the_error_set_are_those_counted_by_hand():
    groups = Groups.of(["aligned"] * 6 + ["conflicting"] * 4)
    train = of(0, 1, 2, 3, 6, 7, 8)

    # of three errors two conflict; of three conflicting training images two are errors
    assert error_set_metrics(groups, wrong=of(1, 6, 8), train=train) == (2 / 3, 2 / 3)
    assert error_set_metrics(groups, wrong=of(0, 1, 2, 6), train=train) == (1 / 4, 1 / 3)


@pytest.mark.parametrize(
    ("wrong", "train", "expected"),
    [((), (0, 7), (None, 0.0)), ((0,), (0, 1), (0.0, None)), ((), (0,), (None, None))],
)
def test_a_share_of_nothing_is_no_number(wrong, train, expected):
    assert error_set_metrics(BIRDS, wrong=of(*wrong), train=of(*train)) == expected


def test_without_a_group_that_conflicts_there_is_neither():
    neutral = Groups.of(["land", "sea"])

    assert error_set_metrics(neutral, wrong=of(0), train=of(0, 1)) == (None, None)
    assert error_set_metrics(None, wrong=of(0), train=of(0, 1)) == (None, None)


def test_a_trial_reports_what_its_confusion_and_its_step_say(config, tiny, finish):
    """With the classes as groups, accuracy by group is recall by class."""
    names = [tiny.classes[label] for label in tiny.labels.tolist()]
    by_class = dataclasses.replace(tiny, groups=Groups.of(names, conflicting=tiny.classes))
    records, report = finish(config(), by_class)

    of_class = {
        name: 100 * row[i] / sum(row)
        for i, (name, row) in enumerate(zip(report.classes, report.confusion, strict=True))
    }
    assert report.group_accuracies == pytest.approx(of_class)
    assert report.worst_group_accuracy == min(report.group_accuracies.values())
    assert report.group_gap == pytest.approx(report.test_accuracy - report.worst_group_accuracy)
    assert [record.error_set_precision for record in records] == [None, 1.0]
    assert records[1].error_set_recall == records[1].wrong_images / report.train_images


def test_groups_change_no_number_of_a_trial(config, tiny, finish, metrics):
    grouped = dataclasses.replace(tiny, groups=Groups.of(["aligned"] * 50 + ["conflicting"] * 50))
    added = ("group_images", "group_accuracies", "worst_group", "worst_group_accuracy", "group_gap")
    step = ("error_set_precision", "error_set_recall")

    (records, report), (plain_records, plain) = finish(config(), grouped), finish(config(), tiny)

    assert metrics(report, *added) == metrics(plain, *added)
    assert [metrics(one, *step) for one in records] == [metrics(one, *step) for one in plain_records]
    assert (plain.group_accuracies, plain.worst_group_accuracy, plain.group_gap) == ({}, None, None)
    assert [getattr(plain_records[1], name) for name in step] == [None, None]
