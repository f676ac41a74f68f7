"""Predictions of a trained model are those of its own evaluation, whatever images lie beside an image."""

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from study.inference import classify
from study.inference.classify import NOT_FINITE, classify_batch, classify_images
from study.inference.user_images import DecodedImage, ImageFile, decode_images, find_images
from study.run_folder import RunFolder


def silent(*counts):
    """A progress that is not shown."""


@pytest.fixture(scope="module")
def test_images(image_folder):
    """The sixteen images of the data set's own test."""
    return find_images([str(image_folder / "test")])


@pytest.fixture(scope="module")
def decoded(test_images):
    return list(decode_images(test_images, [32]))


def test_over_the_test_images_every_model_has_the_confusion_of_its_own_report(finished_run, models, test_images):
    predictions = classify_images(models, test_images, top=1, progress=silent)

    assert len(predictions) == 16 * 4
    for model in models:
        report = RunFolder(finished_run).trial(model.name).report()
        confusion = np.zeros((4, 4), dtype=int)
        for one in predictions:
            if one.trial_id == model.name:
                confusion[model.classes.index(one.true), model.classes.index(one.predicted)] += 1
        assert confusion.tolist() == report["confusion"]


def test_a_prediction_holds_as_many_classes_as_were_asked_for_the_likeliest_first(model, decoded):
    for top in (1, 4):
        for one in classify_batch(model, decoded, top=top):
            classes, shares = zip(*one.top, strict=True)
            assert len(set(classes)) == top
            assert list(shares) == sorted(shares, reverse=True)
            assert top == 1 or sum(shares) == pytest.approx(1, abs=1e-5)


def test_a_prediction_does_not_depend_on_the_images_beside_it(model, decoded):
    together = classify_batch(model, decoded, top=4)

    alone = [classify_batch(model, [image], top=4)[0] for image in decoded]
    assert [one.predicted for one in together] == [one.predicted for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert dict(one.top) == pytest.approx(dict(other.top), abs=1e-5)


def test_an_unreadable_image_keeps_its_place_its_true_class_and_its_error(model, decoded):
    broken = DecodedImage(ImageFile("dress/x.png", Path("dress/x.png")), {}, "the file is empty")

    first, second, third = classify_batch(model, [decoded[0], broken, decoded[1]], top=1)

    assert (second.image, second.top, second.true, second.error) == ("dress/x.png", (), "dress", "the file is empty")
    assert [first, third] == classify_batch(model, decoded[:2], top=1)


def test_logits_that_are_not_finite_are_an_error_of_that_image(model, decoded):
    broken = dataclasses.replace(model, classifier=copy.deepcopy(model.classifier))
    with torch.no_grad():
        broken.classifier.module.fc.weight.mul_(3e38)
        broken.classifier.module.fc.weight.mul_(3e38)

    (prediction,) = classify_batch(broken, decoded[:1], top=1)

    assert (prediction.top, prediction.error) == ((), NOT_FINITE)


def test_among_equally_likely_classes_an_evaluations_comes_first():
    probabilities = torch.tensor([[0.2, 0.4, 0.4], [0.5, 0.0, 0.5], [0.1, 0.2, 0.7]])

    ranked = classify._rank_classes(probabilities)

    assert ranked.tolist() == [[1, 2, 0], [0, 2, 1], [2, 1, 0]]


def test_batches_hold_as_many_readable_images_as_those_of_an_evaluation():
    images = [DecodedImage(ImageFile(str(n), Path(str(n))), {}, "broken" if n in (1, 2) else "") for n in range(7)]

    batches = [[item.image.name for item in batch] for batch in classify._in_batches(images, 2)]

    assert batches == [["0", "1", "2", "3"], ["4", "5"], ["6"]]


def test_models_of_two_sizes_have_batches_of_their_own_and_predictions_are_ordered_by_image(
    model, test_images, monkeypatch
):
    monkeypatch.setattr(classify, "eval_batch", {32: 3, 64: 2}.__getitem__)
    large = dataclasses.replace(model, config=dataclasses.replace(model.config, image_size=64), name="large")
    images, done = test_images[:4], []

    predictions = classify_images([large, model], images, top=1, progress=lambda *counts: done.append(counts))

    assert [(one.image, one.trial_id) for one in predictions] == [
        (image.name, name) for image in images for name in ("large", model.name)
    ]
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
