"""Maps against captum and against grad-cam 1.5.7, on every family of models."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from saliency_models import (
    CLASSES,
    COUNT,
    FAMILY,
    TINY,
    Whole,
    batch,
    explain,
    features_and_gradients,
    forget,
    in_float64,
    model_of,
)
from torch import nn

from proxy_attention.saliency.cam import CAMS, combined, gradcam, gradcam_plus_plus, xgradcam
from proxy_attention.saliency.maps import scale, upsample
from proxy_attention.saliency.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    forget()


MODELS = [(name, size) for name in TINY for size in (32, 64, 112)]
MODELS += [("resnet18", 32), ("resnet18", 64), ("vgg11", 32), ("test_convnext", 32), ("regnetx_002", 32)]
LARGER = [(name, 32) for name in FAMILY if (name, 32) not in MODELS]
LARGER += [("resnet18", 112), ("resnet50", 64), ("resnet50", 112), ("efficientnet_b0", 32), ("efficientnet_b0", 64)]
LARGER += [("vgg16", 32), ("vit_base_patch16_224", 64)]
EACH = [*MODELS, *(pytest.param(*model, marks=pytest.mark.slow) for model in LARGER)]
POOLED = [("test_resnet", 64), ("resnet18", 64), ("test_efficientnet", 32), ("regnetx_002", 32)]


def asked(model, size, *, saliency="gradcam", count=COUNT):
    """Images, and of each the class that most speaks for: of random weights, some say that nothing does."""
    images, _ = batch(size, count=count)
    every = [torch.full((count,), label) for label in range(CLASSES)]
    maps = torch.stack([explain(model, images, label, saliency=saliency) for label in every])
    with torch.no_grad():
        scores = model(images).T  # of one below 0, AblationCAM shows what speaks against the class
    return images, (maps.amax((2, 3)) * torch.where(scores > 0, 1.0, 1e-3)).argmax(0)


def assert_same_maps(found, expected, *, atol):
    """Both scaled to [0, 1] as captum's users do; of random weights some say that nothing speaks for a class."""
    scaled, flat = scale(found)
    assert (~flat).sum() >= COUNT // 2
    assert (expected[flat] == 0).all()
    low, high = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
    torch.testing.assert_close(scaled[~flat], ((expected - low) / (high - low))[~flat], atol=atol, rtol=0)


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
    images, true = asked(model_of(name, size), size)
    images = images.double()

    expected = captum_maps(model, images, score=lambda logits: logits.gather(1, true[:, None])[:, 0])

    assert_same_maps(upsample(explain(model, images, true), size), expected, atol=1e-10)


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_gradcam_is_what_captum_computes_in_float32(name, size):
    model = model_of(name, size)
    images, true = asked(model, size)

    expected = captum_maps(model, images, score=lambda logits: logits.gather(1, true[:, None])[:, 0])

    assert_same_maps(upsample(explain(model, images, true), size), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_contrast_is_gradcam_of_the_difference_of_two_scores(name, size):
    model = in_float64(model_of(name, size))
    images, true = asked(model_of(name, size), size)
    images, predicted, true, rows = images.double(), true, (true + 2) % CLASSES, torch.arange(COUNT)

    found = explain(model, images, true, of="contrast", predicted=predicted)

    expected = captum_maps(model, images, score=lambda logits: logits[rows, predicted] - logits[rows, true])
    assert_same_maps(upsample(found, size), expected, atol=1e-10)


# ---- closed forms


def test_a_linear_head_is_found_where_there_is_one_and_only_there():
    found = {name: model_of(name, size).linear_head is not None for name, size in MODELS}

    pooled = ("resnet18", "test_resnet", "test_efficientnet", "regnetx_002")
    assert found == {name: name in pooled for name in found}


@pytest.mark.parametrize(("name", "size"), POOLED)
def test_gradcam_of_a_pooled_linear_head_is_the_class_row_over_the_area(name, size):
    model = model_of(name, size)
    images, true = asked(model, size)
    features, _ = features_and_gradients(model, images, true)
    row = model.module.get_classifier().weight.detach()[true]

    closed = torch.einsum("nk,nkhw->nhw", row, features).relu() / (features.shape[2] * features.shape[3])

    torch.testing.assert_close(explain(model, images, true), closed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "size"), POOLED)
def test_gradcam_plus_plus_of_a_pooled_linear_head_has_its_closed_form(name, size):
    model = model_of(name, size)
    images, true = asked(model, size)
    features = features_and_gradients(model, images, true)[0].double()
    row = model.module.get_classifier().weight.detach().double()[true]

    weights = row.relu() / (2 + row * features.mean((2, 3)))
    closed = torch.einsum("nk,nkhw->nhw", weights, features).relu()

    assert_same_maps(explain(model, images, true, saliency="gradcam++"), closed.float(), atol=1e-5)


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_gradcam_plus_plus_is_its_formula(name, size):
    model = in_float64(model_of(name, size))
    images, true = asked(model_of(name, size), size, saliency="gradcam++")
    features, gradients = features_and_gradients(model, images.double(), true)
    a, g = features.numpy(), gradients.numpy()

    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3)
    alpha[~np.isfinite(alpha)] = 0
    weights = (alpha * np.maximum(g, 0)).sum(axis=(2, 3), keepdims=True)
    expected = torch.from_numpy(np.maximum((weights * a).sum(axis=1), 0))

    found = explain(model, images.double(), true, saliency="gradcam++")
    assert_same_maps(found, expected, atol=1e-8)


# ---- grad-cam

ORACLES = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "hirescam": "HiResCAM",
    "xgradcam": "XGradCAM",
    "layercam": "LayerCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "ablationcam": "AblationCAM",
    "scorecam": "ScoreCAM",
}
"""grad-cam's name of each method that it has."""

CAM_MODELS = [("test_resnet", 32), ("test_efficientnet", 32), ("test_vit", 32), ("test_convnext", 32)]
CAM_LARGER = [("resnet18", 32), ("test_resnet", 64), *((name, 32) for name in FAMILY if name != "test_convnext")]
CAM_EACH = [*CAM_MODELS, *(pytest.param(*model, marks=pytest.mark.slow) for model in CAM_LARGER)]

SMOOTH = ("test_resnet", "test_vit")
"""Whose smoothed maps are compared whenever tests run: their decomposition takes seconds where channels are many."""

SMOOTHED = [(saliency, True) for saliency in ORACLES if METHODS[saliency].can_eigen_smooth]
ASKED = [
    pytest.param(
        *model,
        *asked,
        marks=() if model in CAM_MODELS and (not asked[1] or model[0] in SMOOTH) else pytest.mark.slow,
    )
    for model in (*CAM_MODELS, *CAM_LARGER)
    for asked in (*((saliency, False) for saliency in ORACLES), *SMOOTHED)
    if model in CAM_MODELS or not asked[1] or METHODS[asked[0]].one_pass  # minutes, where each channel has a pass
]


EPSILONS = {
    "gradcam++": partial(gradcam_plus_plus, epsilon=1e-6),
    "xgradcam": partial(xgradcam, epsilon=1e-7),
}


def ours(model, images, true, saliency, *, eigen):
    """Our map, with grad-cam's epsilon where it has one: what is divided by may all but cancel."""
    if saliency not in EPSILONS:
        return explain(model, images, true, saliency=saliency, eigen=eigen)
    features, gradients = features_and_gradients(model, images, true)
    return combined(features, EPSILONS[saliency](features, gradients), eigen=eigen).relu()


def scaled_as_they_do(low, size):
    """grad-cam scales before and after the resize, and adds 1e-7 to what it divides by."""

    def to_one(maps):
        maps = maps - maps.amin((1, 2), keepdim=True)
        return maps / (1e-7 + maps.amax((1, 2), keepdim=True))

    return to_one(upsample(to_one(low), size)).numpy()


def theirs(whole, images, true, saliency, *, eigen, sign):
    """grad-cam's map; ``sign`` turns it before its negative part is cut: that of a principal component is arbitrary."""
    oracle = pytest.importorskip("pytorch_grad_cam")
    ablation = pytest.importorskip("pytorch_grad_cam.ablation_layer")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    kind = getattr(oracle, ORACLES[saliency])

    class Turned(kind):
        def get_cam_image(self, *args, **named):
            return sign * super().get_cam_image(*args, **named)

    class Zeroing(ablation.AblationLayer):
        """As the paper has it: grad-cam's own takes 1e7 off a layer that has values below 0."""

        def __call__(self, x):
            output = self.activations
            output[torch.arange(len(output)), torch.as_tensor(self.indices[: len(output)]).long()] = 0
            return output

    whole = copy.deepcopy(whole)
    options = {"ablation_layer": Zeroing()} if saliency == "ablationcam" else {}
    with Turned(whole, [whole.layer], **options) as cam:
        return cam(images, [targets.ClassifierOutputTarget(int(label)) for label in true], eigen_smooth=eigen)


@pytest.mark.parametrize(("name", "size", "saliency", "eigen"), ASKED)
@pytest.mark.filterwarnings("ignore")  # the oracle's own imports
def test_a_map_is_what_grad_cam_computes(name, size, saliency, eigen, monkeypatch):
    """In float64, but grad-cam's scores and resizing are float32. Its upsampling for ScoreCAM aligns corners."""
    model = in_float64(model_of(name, size))
    component = eigen or METHODS[saliency].eigen
    if METHODS[saliency].one_pass:  # their decomposition takes all singular vectors
        images, true = asked(model_of(name, size), size, saliency=saliency, count=4 if component else COUNT)
    else:
        few = 2 if (name, size) in CAM_MODELS else 4 if model.channels < 256 else 1  # a pass a channel, in float64
        images, true = asked(model_of(name, size), size, count=few)
    images = images.double()
    monkeypatch.setattr(
        nn, "UpsamplingBilinear2d", lambda size: nn.Upsample(size=tuple(size), mode="bilinear", align_corners=False)
    )

    found = scaled_as_they_do(ours(model, images, true, saliency, eigen=eigen), size)

    whole = Whole(model)
    expected = theirs(whole, images, true, saliency, eigen=eigen, sign=1)
    if component:
        turned = theirs(whole, images, true, saliency, eigen=eigen, sign=-1)
        nearer = np.abs(found - turned).max((1, 2)) < np.abs(found - expected).max((1, 2))
        expected = np.where(nearer[:, None, None], turned, expected)
    lively = (found.max((1, 2)) > 0.9).sum()
    assert lively >= (len(images) / 2 if METHODS[saliency].one_pass else 1)
    # what AblationCAM sees of a channel is the difference of two scores
    np.testing.assert_allclose(found, expected, atol=1e-4 if saliency == "ablationcam" else 1e-5, rtol=0)


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 64), pytest.param("resnet18", 64, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")  # the oracle's own imports
def test_ablationcam_is_what_grad_cam_computes_with_its_own_layer_behind_a_relu(name, size):
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = in_float64(model_of(name, size))
    images, true = asked(model_of(name, size), size, count=2)
    features, _ = features_and_gradients(model, images.double(), true)
    assert features.amin() == 0

    whole = Whole(model)
    with AblationCAM(whole, [whole.layer]) as cam:
        expected = cam(images.double(), [ClassifierOutputTarget(int(label)) for label in true])

    found = scaled_as_they_do(ours(model, images.double(), true, "ablationcam", eigen=False), size)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_every_formula_has_an_oracle():
    assert set(CAMS) <= set(ORACLES)


@pytest.mark.parametrize(("name", "size"), CAM_EACH)
@pytest.mark.parametrize("saliency", ["eigencam", "eigengradcam"])
def test_a_component_points_where_gradcam_does(name, size, saliency):
    model = in_float64(model_of(name, size))
    images, true = asked(model_of(name, size), size)
    features, gradients = features_and_gradients(model, images.double(), true)
    towards = combined(features, gradcam(features, gradients))

    found = combined(features, METHODS[saliency].weights(features, gradients), towards=towards, eigen=True)

    assert ((found * towards).sum((1, 2)) > 0).all()
    maps = explain(model, images.double(), true, saliency=saliency)
    torch.testing.assert_close(maps, found.relu(), atol=1e-8, rtol=1e-6)
