import dataclasses

import pytest
import torch

from proxy_attention.proxies.scoring import clean_scores
from study.reporting.gallery_models import (
    FLOWER,
    GallerySize,
    TrainedNetwork,
    photograph_config,
    photograph_crops,
    proxies_of,
    train,
    wrong_images,
)


@pytest.fixture(scope="module")
def network(config, small, training_set_of, trained):
    """A network that is right about some images and wrong about others. Read only."""
    trial = config()
    training_set = training_set_of(trial, small)
    return TrainedNetwork(trained, training_set, clean_scores(trained, training_set, trial), trial, small.classes)


def test_wrong_images_are_of_different_classes_and_of_the_training_set_only(network, small):
    ids = wrong_images(network, 4)

    assert len(set(small.labels[ids].tolist())) == len(ids) == 4
    assert torch.isin(ids, network.training_set.train).all()
    assert network.scores.wrong[torch.searchsorted(network.scores.ids, ids)].all()


def test_proxies_are_made_of_the_given_images_with_the_given_fields(network):
    ids = network.scores.ids[:2]  # whether they are wrong or not

    found = proxies_of(network, ids, threshold=0.0, weight=1.0, replacement="black")

    assert found.ids.tolist() == ids.tolist()
    assert not found.proxies.any()


def test_crops_are_square_of_two_photographs_and_the_same_every_time():
    size = GallerySize(image_size=8, crops=3)

    crops = photograph_crops(size)

    assert crops.images.shape == (6, 3, 8, 8)
    assert crops.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert crops.names[3] == f"flower {FLOWER[0]} {FLOWER[1]} {FLOWER[2]}"
    assert torch.equal(crops.images, photograph_crops(size).images)


def test_a_network_is_trained_on_every_crop_and_says_how_far_it_is():
    size, lines = GallerySize(image_size=32, crops=4, epochs=2), []
    config = dataclasses.replace(photograph_config(size), model="test_efficientnet")

    network = train(config, photograph_crops(size), report=lines.append)

    assert lines == [f"test_efficientnet on 8 images: epoch {number} of 2" for number in (1, 2)]
    assert len(network.scores.ids) == 8
    assert network.classes == ("china", "flower")
