import copy

import numpy as np
import pytest
import torch
from sklearn import metrics

from proxy_attention import evaluation
from proxy_attention.classification_metrics import Classification, calibration_error
from proxy_attention.errors import DivergedError
from proxy_attention.evaluation import evaluate


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
        assert measured.metrics[name] == pytest.approx(score(y, y_hat, average="macro", zero_division=0.0))


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
    expected = calibration_error(Classification(y, y_hat, confidence))
    assert measured.metrics["ece"] == pytest.approx(expected, abs=1e-6)


def test_the_calibration_error_is_the_gap_of_the_diagram_weighted_by_images(measured, test_ids):
    gaps = sum(count * abs(right - sure) for count, sure, right in measured.calibration)

    assert sum(count for count, _, _ in measured.calibration) == len(test_ids)
    assert measured.metrics["ece"] == pytest.approx(gaps / len(test_ids))


@pytest.mark.parametrize("size", [1, 7, 79])
def test_how_images_are_cut_into_batches_does_not_change_what_is_measured(
    monkeypatch, trained, small, test_ids, measured, size
):
    monkeypatch.setattr(evaluation, "eval_batch", lambda image_size: size)

    again = evaluate(trained, small.images, small.labels, ids=test_ids, precision="fp32")

    assert again.confusion.tolist() == measured.confusion.tolist()
    assert again.accuracy == measured.accuracy
    for name in ("precision", "recall", "f1"):
        assert again.metrics[name] == measured.metrics[name]
    assert again.loss == pytest.approx(measured.loss, abs=1e-6)
    assert again.metrics["ece"] == pytest.approx(measured.metrics["ece"], abs=1e-6)


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
