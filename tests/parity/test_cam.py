"""Class activation maps against captum, and against what their formulas become under a linear head."""

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from saliency_models import CLASSES, COUNT, REFUSED, explain, forget, in_float64, model_of
from saliency_oracles import Whole, assert_same_maps, features_and_gradients, images_and_classes

from proxy_attention.saliency.maps import upsample

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")

MODELS = [("test_resnet", 32), ("test_resnet", 64), ("test_efficientnet", 32), ("test_vit", 32), ("test_convnext", 32)]
LARGER = [*(model for model in REFUSED if model not in MODELS), ("test_vit", 112), ("resnet18", 112)]
EACH = [*MODELS, *(pytest.param(*model, marks=pytest.mark.slow) for model in LARGER)]
POOLED = [("test_resnet", 64), ("test_efficientnet", 32), pytest.param("regnetx_002", 32, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    images_and_classes.cache_clear()
    forget()


# ---- captum


def captum_maps(model, images, *, score):
    """captum's GradCAM of a score (N,) of logits, positive part, at the size of the images."""
    whole = Whole(model)
    cam = LayerGradCam(lambda x: score(whole(x))[:, None], whole.layer)
    maps = cam.attribute(images, target=0, relu_attributions=True)
    return LayerAttribution.interpolate(maps, tuple(images.shape[2:]), "bilinear")[:, 0].detach()


@pytest.mark.parametrize(("name", "size"), EACH)
def test_gradcam_is_what_captum_computes(name, size):
    model = in_float64(model_of(name, size))
    images, true = images_and_classes(name, size)
    images = images.double()

    expected = captum_maps(model, images, score=lambda logits: logits.gather(1, true[:, None])[:, 0])

    assert_same_maps(upsample(explain(model, images, true), size), expected, atol=1e-10)


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_gradcam_is_what_captum_computes_in_float32(name, size):
    model = model_of(name, size)
    images, true = images_and_classes(name, size)

    expected = captum_maps(model, images, score=lambda logits: logits.gather(1, true[:, None])[:, 0])

    assert_same_maps(upsample(explain(model, images, true), size), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_contrast_is_gradcam_of_the_difference_of_two_scores(name, size):
    model = in_float64(model_of(name, size))
    images, true = images_and_classes(name, size)
    images, predicted, true, rows = images.double(), true, (true + 2) % CLASSES, torch.arange(COUNT)

    found = explain(model, images, true, of="contrast", predicted=predicted)

    expected = captum_maps(model, images, score=lambda logits: logits[rows, predicted] - logits[rows, true])
    assert_same_maps(upsample(found, size), expected, atol=1e-10)


# ---- closed forms


@pytest.mark.parametrize(("name", "size"), POOLED)
def test_gradcam_of_a_pooled_linear_head_is_the_class_row_over_the_area(name, size):
    model = model_of(name, size)
    images, true = images_and_classes(name, size)
    features, _ = features_and_gradients(model, images, true)
    row = model.module.get_classifier().weight.detach()[true]

    closed = torch.einsum("nk,nkhw->nhw", row, features).relu() / (features.shape[2] * features.shape[3])

    torch.testing.assert_close(explain(model, images, true), closed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "size"), POOLED)
def test_gradcam_plus_plus_of_a_pooled_linear_head_has_its_closed_form(name, size):
    model = model_of(name, size)
    images, true = images_and_classes(name, size)
    features = features_and_gradients(model, images, true)[0].double()
    row = model.module.get_classifier().weight.detach().double()[true]

    weights = row.relu() / (2 + row * features.mean((2, 3)))
    closed = torch.einsum("nk,nkhw->nhw", weights, features).relu()

    assert_same_maps(explain(model, images, true, saliency="gradcam++"), closed.float(), atol=1e-5)


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_gradcam_plus_plus_is_its_formula(name, size):
    model = in_float64(model_of(name, size))
    images, true = images_and_classes(name, size, saliency="gradcam++")
    features, gradients = features_and_gradients(model, images.double(), true)
    a, g = features.numpy(), gradients.numpy()

    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3)
    alpha[~np.isfinite(alpha)] = 0
    weights = (alpha * np.maximum(g, 0)).sum(axis=(2, 3), keepdims=True)
    expected = torch.from_numpy(np.maximum((weights * a).sum(axis=1), 0))

    found = explain(model, images.double(), true, saliency="gradcam++")
    assert_same_maps(found, expected, atol=1e-8)
