"""Classifiers are built for a size, with weights that follow from the seed alone."""

import pytest
import torch

from proxy_attention.models.build import build, build_for, untrained


def made(name="test_resnet", *, classes=4, image_size=64, weights="none", seed=0):
    return build(name, classes=classes, image_size=image_size, weights=weights, seed=seed)


def state(model):
    return model.module.state_dict()


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_one_seed_gives_one_set_of_weights_whatever_was_drawn_before(name):
    torch.manual_seed(1)
    first = state(made(name, image_size=32))
    torch.rand(1000)
    second = state(made(name, image_size=32))

    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_another_seed_gives_other_weights(name):
    one, other = state(made(name, image_size=32)), state(made(name, image_size=32, seed=1))

    changed = [key for key in one if one[key].ndim > 1 and not torch.equal(one[key], other[key])]
    assert len(changed) > 3


def test_building_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made()

    assert torch.equal(torch.rand(3), expected)


def test_a_classifier_says_how_it_was_adapted():
    assert made(image_size=64).note == "output stride 16"
    assert build("densenet121", classes=2, image_size=64, weights="none", seed=0).note == (
        "as it is, map of features.denseblock3 (the last is 2x2)"
    )


def test_a_trial_begins_with_the_classifier_of_its_configuration(config):
    trial = config(model="test_resnet", image_size=64, feature_layer="layer2", seed=7)

    found, expected = build_for(trial, classes=4), made(seed=7)

    assert (found.feature_layer, found.image_size, found.classes) == ("layer2", 64, 4)
    assert all(torch.equal(found.module.state_dict()[key], value) for key, value in state(expected).items())


def test_an_untrained_twin_has_the_architecture_and_other_weights_of_its_own_stream():
    arguments = {"classes": 4, "image_size": 64, "weights": "none", "seed": 3}
    one, twin, again = build("test_resnet", **arguments), *(untrained("test_resnet", **arguments) for _ in range(2))

    assert (twin.feature_layer, twin.grid, twin.note) == (one.feature_layer, one.grid, one.note)
    assert not torch.equal(state(twin)["layer1.0.conv1.weight"], state(one)["layer1.0.conv1.weight"])
    assert torch.equal(state(twin)["layer1.0.conv1.weight"], state(again)["layer1.0.conv1.weight"])
