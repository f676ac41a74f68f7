import pytest
import torch

from proxy_attention.data.embedded import sample as module
from proxy_attention.data.embedded.sample import SAMPLE_CLASSES, open_sample
from proxy_attention.errors import DataError

SAMPLE_DIGEST = "a1e9d07599d9f7e3b37e263005bc7c35cfec6639b3644bcf74a25054a37059b9"


def test_the_embedded_sample_has_3000_images_to_train_and_1000_to_test_balanced(sample):
    assert len(sample) == 4000
    assert sample.classes == SAMPLE_CLASSES
    assert torch.bincount(sample.labels[~sample.own_test]).tolist() == [300] * 10
    assert torch.bincount(sample.labels[sample.own_test]).tolist() == [100] * 10


def test_the_embedded_sample_is_grey_and_no_image_is_in_it_twice(sample):
    assert sample.images.shape == (4000, 3, 32, 32)
    assert torch.equal(sample.images[:, 0], sample.images[:, 1])
    assert torch.equal(sample.images[:, 0], sample.images[:, 2])
    assert len(set(sample.names)) == 4000
    catalogue = open_sample()
    assert len({catalogue.read(i) for i in range(4000)}) == 4000


def test_a_changed_embedded_sample_is_refused(monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_SHA256", "0" * 64)

    with pytest.raises(DataError, match=r"fashion_mnist_sample.npz must have SHA-256 0{64}; got [1-9a-f]"):
        open_sample()


def test_the_content_digest_of_the_sample_never_changes(sample):
    assert sample.digest == SAMPLE_DIGEST
