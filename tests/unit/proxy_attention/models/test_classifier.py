"""A classifier: its normalisation, the map it is cut at, its precisions."""

import pytest
import timm
import torch

from proxy_attention.models.build import build
from proxy_attention.models.classifier import PRECISIONS, as_float, autocast, eval_batch


def made(name="test_resnet", *, classes=4, image_size=64, weights="none", seed=0):
    return build(name, classes=classes, image_size=image_size, weights=weights, seed=seed)


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 32), ("test_efficientnet", 64), ("test_vit", 32)])
def test_the_grid_is_the_shape_of_the_map_that_is_explained(name, size):
    model = made(name, image_size=size)
    features, logits = model.forward_from_features(torch.rand(2, 3, size, size))

    assert model.as_map(features).shape[2:] == model.grid
    assert logits.shape == (2, 4)
    assert features.requires_grad
    assert features.is_leaf


def test_a_cut_model_computes_what_the_whole_model_computes():
    model = made()
    model.module.eval()
    images = torch.rand(2, 3, 64, 64)

    torch.testing.assert_close(model.forward_from_features(images)[1], model(images))


def test_a_transformer_leaves_its_class_token_out_of_the_map():
    model = made("test_vit", image_size=32)
    rows, columns = model.grid
    tokens = torch.arange(1.0 + rows * columns)[None, :, None]

    assert model.as_map(tokens)[0, 0].flatten().tolist() == list(range(1, 1 + rows * columns))
    assert model.as_map(tokens)[0, 0, 0].tolist() == list(range(1, 1 + columns))


def test_pixels_become_floats_from_zero_to_one():
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0.0, 0.2, 1.0])


def test_images_are_normalised_inside_the_classifier():
    model = made()
    model.module.eval()
    images = torch.rand(2, 3, 64, 64)
    mean = torch.tensor(timm.data.IMAGENET_DEFAULT_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(timm.data.IMAGENET_DEFAULT_STD).view(1, 3, 1, 1)

    torch.testing.assert_close(model(images), model.module((images - mean) / std))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_what_autocast_computes_in(precision):
    with autocast(torch.device("cpu"), precision):
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert product.dtype == (PRECISIONS[precision] or torch.float32)


@pytest.mark.parametrize(("size", "images"), [(32, 1024), (224, 20), (4096, 1)])
def test_a_batch_without_gradients_holds_about_a_million_pixels(size, images):
    assert eval_batch(size) == images
