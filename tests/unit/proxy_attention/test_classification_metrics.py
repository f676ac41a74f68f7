"""Metrics of a classification, by hand and against sklearn."""

import numpy as np
import pytest
from sklearn import metrics

from proxy_attention.classification_metrics import (
    CLASSIFICATION_METRICS,
    ECE_BINS,
    Classification,
    calibration_bins,
    calibration_error,
)


def found(confidence, correct):
    """A classification with these confidences, right where it is said to be."""
    return Classification(np.ones(len(correct), dtype=int), np.asarray(correct).astype(int), confidence)


def test_averages_are_over_the_classes_as_sklearn_takes_them():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 0, 2])
    given = Classification(labels, predicted, np.full(6, 0.5))

    for name in ("precision", "recall", "f1"):
        score = getattr(metrics, f"{name}_score")
        expected = score(labels, predicted, average="macro")
        assert CLASSIFICATION_METRICS[name].compute(given) == pytest.approx(expected)


@pytest.mark.parametrize("name", CLASSIFICATION_METRICS)
def test_every_metric_of_a_perfect_classification_is_at_its_best(name):
    perfect = Classification(np.arange(4), np.arange(4), np.ones(4))

    assert CLASSIFICATION_METRICS[name].compute(perfect) == (0 if name == "ece" else 1)


def test_the_calibration_error_by_hand():
    # bins of a fifteenth: (.60, .667] holds .61 and .65, half of them right; (.933, 1] holds .95 and 1, all right
    confidence, correct = np.array([0.61, 0.65, 0.95, 1.0]), np.array([True, False, True, True])

    error = calibration_error(found(confidence, correct))

    assert error == pytest.approx(2 / 4 * abs(0.5 - 0.63) + 2 / 4 * abs(1.0 - 0.975))


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower():
    # .2 closes the third bin, .2001 opens the fourth: apart, their gaps cannot cancel
    error = calibration_error(found(np.array([0.2, 0.2001]), np.array([True, False])))

    assert error == pytest.approx((0.8 + 0.2001) / 2)


def test_a_calibrated_classifier_has_no_error_and_a_boastful_one_all_of_it():
    assert calibration_error(found(np.full(4, 0.75), np.array([True, True, True, False]))) == pytest.approx(0)
    assert calibration_error(found(np.ones(4), np.zeros(4, dtype=bool))) == pytest.approx(1)
    assert calibration_error(found(np.zeros(4), np.zeros(4, dtype=bool))) == pytest.approx(0)


def test_the_reliability_diagram_by_hand():
    # of fifteen bins, (.60, .667] is number 9 and (.933, 1] number 14
    confidence, correct = np.array([0.61, 0.65, 0.95, 1.0]), np.array([True, False, True, True])

    bins = calibration_bins(found(confidence, correct))

    assert len(bins) == ECE_BINS == 15
    assert bins[9] == (2, pytest.approx(0.63), 0.5)
    assert bins[14] == (2, pytest.approx(0.975), 1.0)
    assert [bins[i] for i in range(15) if i not in (9, 14)] == [(0, 0.0, 0.0)] * 13
