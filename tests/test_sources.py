import pytest
import torch

from proxy_attention.data import sources
from proxy_attention.data.images import load
from proxy_attention.data.sources import SAMPLE_CLASSES, SOURCES, open_sample, open_source
from proxy_attention.errors import ConfigError, DataError

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
    monkeypatch.setattr(sources, "SAMPLE_SHA256", "0" * 64)

    with pytest.raises(DataError, match=r"fashion_mnist_sample.npz must have SHA-256 0{64}; got [1-9a-f]"):
        open_sample()


def test_the_content_digest_of_the_sample_never_changes(sample):
    assert sample.digest == SAMPLE_DIGEST


@pytest.mark.parametrize("dataset", SOURCES)
def test_every_data_set_names_its_licence_and_its_home(dataset):
    assert SOURCES[dataset].licence
    assert SOURCES[dataset].home


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if source.needs_root])
def test_a_data_set_that_lies_elsewhere_asks_for_its_place(dataset):
    with pytest.raises(ConfigError, match=r"must be given its place \(--data-root DIR\); got none"):
        open_source(dataset)


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if not source.needs_root])
def test_a_data_set_inside_the_package_refuses_a_place(dataset, tmp_path):
    with pytest.raises(ConfigError, match=f"--data-root must not be given with dataset '{dataset}'"):
        open_source(dataset, tmp_path)


@pytest.mark.parametrize("dataset", [name for name, source in SOURCES.items() if not source.needs_root])
def test_a_data_set_inside_the_package_opens_and_loads(dataset):
    loaded = load(open_source(dataset), 16)

    assert loaded.images.shape[1:] == (3, 16, 16)
    assert not loaded.skipped


def test_an_unknown_data_set_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="dataset must be one of fashion-mnist-sample, folder; got 'imagenet'"):
        open_source("imagenet")
