"""Measures of faithfulness against torch-cam."""

import pytest
import torch
from torch import nn
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric

from proxy_attention.models.classifier import as_float
from proxy_attention.proxies.replacement import smooth
from proxy_attention.saliency.faithfulness import (
    deletion_auc,
    drop,
    increase,
    insertion_auc,
)
from proxy_attention.saliency.maps import low_resolution_maps, scale, upsample


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
    """16 images of the test split, the trained classifier's maps of its predictions, and how sure it is of a change."""
    trained.module.eval()
    ids = small.own_test.nonzero().flatten()[::5]
    images = as_float(small.images[ids])
    with torch.no_grad():
        whole, predicted = trained(images).softmax(1).max(1)
    low = low_resolution_maps(
        trained, images, predicted=predicted, true=predicted, saliency="eigengradcam", explain="predicted"
    )

    def confidence(changed):
        with torch.no_grad():
            return trained(changed).softmax(1).gather(1, predicted[:, None])[:, 0]

    return images, scale(upsample(low, 32))[0], whole, confidence


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
