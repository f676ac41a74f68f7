"""Measures of faithfulness against torch-cam."""

import pytest
import torch
from saliency_models import maps_of_predictions
from torch import nn
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

from proxy_attention.proxies.replacement import smooth
from proxy_attention.saliency.faithfulness import (
    deletion_auc,
    drop,
    increase,
    insertion_auc,
)


class Inside(nn.Module):
    """A classifier with its normalisation inside, as torch-cam takes a model."""

    def __init__(self, classifier):
        super().__init__()
        self.network, self.classifier = classifier.module, classifier

    def forward(self, images):
        return self.classifier(images)


class Extractor:
    """What torch-cam asks of a method: here the maps are ours, so that measures of the same maps are compared."""

    def __init__(self, classifier, maps):
        self.model, self.maps = Inside(classifier), maps

    def __call__(self, class_idx=None, scores=None):
        return [self.maps]

    def fuse_cams(self, cams):
        return cams[0]

    def _hooks_off(self):
        return torch.no_grad()


@pytest.fixture
def asked(trained, small):
    return maps_of_predictions(trained, small)


def test_insertion_and_deletion_equal_torch_cams(trained, asked):
    images, maps, whole, confidence = asked
    blurred = smooth(images, sigma=2.0)

    def theirs(baseline, steps):
        metric = DeletionInsertionMetric(
            Extractor(trained, maps), lambda logits: logits.softmax(1), steps=steps, baseline=baseline
        )
        metric.update(images)
        return metric.summary()

    for steps in (4, 16):  # whose parts of 1024 pixels are equal
        deletion = deletion_auc(confidence, images, maps, whole=whole, blank=trained.blank, steps=steps)
        insertion = insertion_auc(confidence, images, maps, whole=whole, blurred=blurred, steps=steps)

        assert float(deletion.mean()) == pytest.approx(theirs(trained.blank, steps)["deletion_auc"], abs=1e-6)
        assert float(insertion.mean()) == pytest.approx(theirs(blurred, steps)["insertion_auc"], abs=1e-6)
        assert 0.05 < float(deletion.mean()) < float(insertion.mean()) < 0.95


def test_average_drop_and_increase_equal_torch_cams(trained, asked):
    images, maps, whole, confidence = asked
    metric = ClassificationMetric(Extractor(trained, maps), lambda logits: logits.softmax(1))
    metric.update(images)

    masked = confidence(images * maps[:, None])

    assert float(drop(whole, masked).mean()) == pytest.approx(metric.summary()["avg_drop"], abs=1e-6)
    assert float(increase(whole, masked).float().mean()) == metric.summary()["conf_increase"]
    assert 0.05 < metric.summary()["avg_drop"] < 1
