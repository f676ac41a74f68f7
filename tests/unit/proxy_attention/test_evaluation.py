import copy

import numpy as np
import pytest
import torch
from sklearn import metrics

from proxy_attention import evaluation
from proxy_attention.errors import DivergedError
from proxy_attention.evaluation import ECE_BINS, calibration_bins, calibration_error, evaluate


@pytest.fixture
def test_ids(small):
    return small.own_test.nonzero().flatten().numpy()


@pytest.fixture
def measured(trained, small, test_ids):
    return evaluate(trained, small.images, small.labels, ids=test_ids, precision="fp32")


@pytest.fixture
def truth(trained, small, test_ids):
    """True labels, predictions and logits, by one plain pass."""
    trained.module.eval()
    with torch.no_grad():
        logits = trained(small.images[test_ids].float() / 255)
    return small.labels[test_ids].numpy(), logits.argmax(1).numpy(), logits


def test_accuracy_is_in_percent_and_what_sklearn_computes(measured, truth):
    y, y_hat, _ = truth

    assert measured.accuracy == pytest.approx(100 * metrics.accuracy_score(y, y_hat))
    assert 20 < measured.accuracy < 100


def test_precision_recall_and_f1_are_macro_averages(measured, truth):
    y, y_hat, _ = truth

    for name, score in (
        ("precision", metrics.precision_score),
        ("recall", metrics.recall_score),
        ("f1", metrics.f1_score),
    ):
        assert getattr(measured, name) == pytest.approx(score(y, y_hat, average="macro", zero_division=0.0))


def test_the_loss_is_the_mean_cross_entropy(measured, truth):
    y, _, logits = truth

    assert measured.loss == pytest.approx(metrics.log_loss(y, logits.double().softmax(1).numpy(), labels=range(10)))


def test_the_confusion_counts_true_classes_in_rows(measured, truth):
    y, y_hat, _ = truth
    expected = np.zeros((10, 10), dtype=int)
    np.add.at(expected, (y, y_hat), 1)

    assert measured.confusion.tolist() == expected.tolist()


def test_the_confusion_has_a_row_for_a_class_that_does_not_occur(trained, small):
    ids = (small.labels == 3).nonzero().flatten().numpy()

    assert evaluate(trained, small.images, small.labels, ids=ids, precision="fp32").confusion.shape == (10, 10)


def test_the_calibration_error_of_the_report_is_of_its_own_confidences(measured, truth):
    y, y_hat, logits = truth

    confidence = logits.softmax(1).max(1).values.numpy()
    assert measured.ece == pytest.approx(calibration_error(confidence, y == y_hat), abs=1e-6)


def test_the_calibration_error_by_hand():
    # bins of a fifteenth: (.60, .667] holds .61 and .65, half of them right; (.933, 1] holds .95 and 1, all right
    confidence, correct = np.array([0.61, 0.65, 0.95, 1.0]), np.array([True, False, True, True])

    error = calibration_error(confidence, correct)

    assert error == pytest.approx(2 / 4 * abs(0.5 - 0.63) + 2 / 4 * abs(1.0 - 0.975))


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower():
    # .2 closes the third bin, .2001 opens the fourth: apart, their gaps cannot cancel
    error = calibration_error(np.array([0.2, 0.2001]), np.array([True, False]))

    assert error == pytest.approx((0.8 + 0.2001) / 2)


def test_a_calibrated_classifier_has_no_error_and_a_boastful_one_all_of_it():
    assert calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == pytest.approx(0)
    assert calibration_error(np.ones(4), np.zeros(4, dtype=bool)) == pytest.approx(1)
    assert calibration_error(np.zeros(4), np.zeros(4, dtype=bool)) == pytest.approx(0)


def test_the_reliability_diagram_by_hand():
    # of fifteen bins, (.60, .667] is number 9 and (.933, 1] number 14
    confidence, correct = np.array([0.61, 0.65, 0.95, 1.0]), np.array([True, False, True, True])

    bins = calibration_bins(confidence, correct)

    assert len(bins) == ECE_BINS == 15
    assert bins[9] == (2, pytest.approx(0.63), 0.5)
    assert bins[14] == (2, pytest.approx(0.975), 1.0)
    assert [bins[i] for i in range(15) if i not in (9, 14)] == [(0, 0.0, 0.0)] * 13


def test_the_calibration_error_is_the_gap_of_the_diagram_weighted_by_images(measured, test_ids):
    gaps = sum(count * abs(right - sure) for count, sure, right in measured.calibration)

    assert sum(count for count, _, _ in measured.calibration) == len(test_ids)
    assert measured.ece == pytest.approx(gaps / len(test_ids))


@pytest.mark.parametrize("size", [1, 7, 79])
def test_how_images_are_cut_into_batches_does_not_change_what_is_measured(
    monkeypatch, trained, small, test_ids, measured, size
):
    monkeypatch.setattr(evaluation, "eval_batch", lambda image_size: size)

    again = evaluate(trained, small.images, small.labels, ids=test_ids, precision="fp32")

    assert again.confusion.tolist() == measured.confusion.tolist()
    for name in ("accuracy", "precision", "recall", "f1"):
        assert getattr(again, name) == getattr(measured, name)
    assert again.loss == pytest.approx(measured.loss, abs=1e-6)
    assert again.ece == pytest.approx(measured.ece, abs=1e-6)


def test_only_the_named_images_are_looked_at(trained, small, test_ids, measured):
    others = small.images.clone()
    mask = torch.ones(len(small), dtype=torch.bool)
    mask[test_ids] = False
    others[mask] = 0

    again = evaluate(trained, others, small.labels, ids=test_ids, precision="fp32")

    assert again.loss == measured.loss


def test_a_classifier_in_training_is_measured_as_it_will_be_used(trained, small, test_ids, measured):
    model = copy.deepcopy(trained)
    model.module.train()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}

    again = evaluate(model, small.images, small.labels, ids=test_ids, precision="fp32")

    assert again.loss == measured.loss
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_half_precision_measures_nearly_the_same(trained, small, test_ids, measured):
    again = evaluate(trained, small.images, small.labels, ids=test_ids, precision="bf16")

    assert again.loss == pytest.approx(measured.loss, rel=0.05)
    assert again.loss != measured.loss


def test_logits_that_are_no_numbers_are_an_error(trained, small, test_ids):
    model = copy.deepcopy(trained)
    with torch.no_grad():
        next(model.module.parameters()).fill_(float("nan"))

    with pytest.raises(DivergedError, match=r"must give finite logits; got nan or infinity \(try a smaller lr\)"):
        evaluate(model, small.images, small.labels, ids=test_ids, precision="fp32")
