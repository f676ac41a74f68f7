"""Classifiers are built for a size, with weights that follow from the seed alone."""

import pytest
import torch

from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build
from proxy_attention.models.input_size import ANY, family_of


def made(name="test_resnet", *, classes=4, image_size=64, weights="none", seed=0):
    return build(name, classes=classes, image_size=image_size, weights=weights, seed=seed)


def state(model):
    return model.module.state_dict()


def test_an_unknown_model_is_answered_with_one_that_is_near():
    with pytest.raises(
        ConfigError, match=r"model must be one of \d+ known names; got 'resnet81'; did you mean .*resnet18"
    ):
        family_of("resnet81")


def test_a_model_of_a_family_without_a_row_is_fitted_by_trying():
    assert family_of("convnext_atto") is ANY


def test_a_size_that_no_patch_fits_is_refused():
    with pytest.raises(ConfigError, match="image_size must be a multiple of a patch of 4 to 16 pixels; got 37"):
        made("vit_tiny_patch16_224", image_size=37)


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
