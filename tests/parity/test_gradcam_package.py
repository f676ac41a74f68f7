"""Class activation maps against grad-cam 1.5.7, on every family of models."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from saliency_models import COUNT, REFUSED, explain, forget, in_float64, model_of, slow_unless
from saliency_oracles import Whole, features_and_gradients, images_and_classes
from torch import nn

from proxy_attention.saliency.cam import CAMS, combined, gradcam, gradcam_plus_plus, xgradcam
from proxy_attention.saliency.maps import upsample
from proxy_attention.saliency.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    images_and_classes.cache_clear()
    forget()


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

RESNET, VIT = ("test_resnet", 32), ("test_vit", 32)
FEW_CHANNELS = [VIT, ("test_convnext", 32), ("mobilenetv3_small_050", 32), RESNET, ("test_resnet", 64)]
"""Methods with a pass a channel are compared on these: on the others they take minutes."""


def cases():
    """Every method on every family; smoothed, every other one, in turn."""
    for number, model in enumerate(REFUSED):
        for place, saliency in enumerate(ORACLES):
            one_pass = METHODS[saliency].one_pass
            if not one_pass and model not in FEW_CHANNELS:
                continue
            quick = model == VIT or (model == RESNET and one_pass)
            yield slow_unless(quick, *model, saliency, False)
            if METHODS[saliency].can_eigen_smooth and (model == VIT or (number + place) % 2 == 0):
                yield slow_unless(model == VIT, *model, saliency, True)


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


@pytest.mark.parametrize(("name", "size", "saliency", "eigen"), list(cases()))
@pytest.mark.filterwarnings("ignore")  # the oracle's own imports
def test_a_map_is_what_grad_cam_computes(name, size, saliency, eigen, monkeypatch):
    """In float64, but grad-cam's scores and resizing are float32. Its upsampling for ScoreCAM aligns corners."""
    model = in_float64(model_of(name, size))
    component = eigen or METHODS[saliency].eigen
    if METHODS[saliency].one_pass:  # their decomposition takes all singular vectors
        images, true = images_and_classes(name, size, saliency=saliency, count=4 if component else COUNT)
    else:
        images, true = images_and_classes(name, size, count=2)  # a pass a channel, in float64
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


@pytest.mark.filterwarnings("ignore")  # the oracle's own imports
def test_ablationcam_is_what_grad_cam_computes_with_its_own_layer_behind_a_relu():
    name, size = "test_resnet", 64
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam import AblationCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = in_float64(model_of(name, size))
    images, true = images_and_classes(name, size, count=2)
    features, _ = features_and_gradients(model, images.double(), true)
    assert features.amin() == 0

    whole = Whole(model)
    with AblationCAM(whole, [whole.layer]) as cam:
        expected = cam(images.double(), [ClassifierOutputTarget(int(label)) for label in true])

    found = scaled_as_they_do(ours(model, images.double(), true, "ablationcam", eigen=False), size)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_every_formula_that_grad_cam_has_is_compared_with_it():
    """A formula that grad-cam has not is tested by hand alone, in the test of its module."""
    oracle = pytest.importorskip("pytorch_grad_cam")
    spelled = {name: name.replace("gradcam++", "gradcamplusplus").replace("-", "") for name in CAMS}
    theirs = {name.lower() for name in dir(oracle)}

    assert {name for name in CAMS if spelled[name] in theirs} == set(CAMS) & set(ORACLES)
    assert len(set(CAMS) & set(ORACLES)) > 5


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 32), ("test_efficientnet", 32), ("test_vit", 32)])
@pytest.mark.parametrize("saliency", ["eigencam", "eigengradcam"])
def test_a_component_points_where_gradcam_does(name, size, saliency):
    model = in_float64(model_of(name, size))
    images, true = images_and_classes(name, size)
    features, gradients = features_and_gradients(model, images.double(), true)
    towards = combined(features, gradcam(features, gradients))

    found = combined(features, METHODS[saliency].weights(features, gradients), towards=towards, eigen=True)

    assert ((found * towards).sum((1, 2)) > 0).all()
    maps = explain(model, images.double(), true, saliency=saliency)
    torch.testing.assert_close(maps, found.relu(), atol=1e-8, rtol=1e-6)
