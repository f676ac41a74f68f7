"""Attributions against captum, asked as its documentation asks it."""

import numpy as np
import pytest
import torch
from captum import attr
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
from captum.attr._utils.lrp_rules import GammaRule
from saliency_models import admitted, explain, few_draws, forget, in_float64, model_of, slow_unless
from saliency_models import batch as images_of
from saliency_toys import chain, one_hot, signed
from torch import nn

from proxy_attention.saliency import attributions, gradients, relevance
from proxy_attention.saliency.attributions import ATTRIBUTIONS, NOISES
from proxy_attention.saliency.gradients import GRADIENTS

pytestmark = pytest.mark.filterwarnings("ignore:\\s*Setting (forward|backward).*hooks:UserWarning")
COUNT = 2
SEEDS = (5, 6)
NETWORKS = ("test_vit", "test_resnet", "test_efficientnet")
"""The first that a method explains is compared in ``make test``, the others among the slow tests."""


@pytest.fixture(scope="module", autouse=True)
def frugal():
    with few_draws():
        yield
    forget()


def batch(size=32):
    return images_of(size, COUNT)


PLAIN = {
    "saliency": lambda m, x, t: attr.Saliency(m).attribute(x, target=t).amax(1),
    "input-x-gradient": lambda m, x, t: attr.InputXGradient(m).attribute(x, target=t).sum(1),
    "integrated-gradients": lambda m, x, t: (
        attr.IntegratedGradients(m).attribute(x, target=t, n_steps=gradients.STEPS).sum(1)
    ),
    "deconvnet": lambda m, x, t: attr.Deconvolution(m).attribute(x, target=t).sum(1),
    "guided-backprop": lambda m, x, t: attr.GuidedBackprop(m).attribute(x, target=t).sum(1),
    "guided-gradcam": lambda m, x, t: (
        attr.GuidedGradCam(m, m.layer).attribute(x, target=t, interpolate_mode="bilinear").sum(1)
    ),
    "deeplift": lambda m, x, t: attr.DeepLift(m).attribute(x, target=t).sum(1),
    "layer-conductance": lambda m, x, t: m.as_map(
        attr.LayerConductance(m, m.layer).attribute(x, target=t, n_steps=gradients.STEPS, method="riemann_trapezoid")
    ).sum(1),
    "occlusion": lambda m, x, t: attr.Occlusion(m).attribute(
        x, (3, 8, 8), (3, 4, 4), target=t, perturbations_per_eval=49
    )[:, 0],
}
"""captum as its documentation asks it, on the score of a class, by the names of rows."""


DRAWN = {
    "gradient-shap": lambda m, x, t: (
        attr.GradientShap(m)
        .attribute(x, torch.zeros_like(x), target=t, n_samples=attributions.SAMPLES, stdevs=attributions.NOISE)
        .sum(1)
    ),
    "kernel-shap": lambda m, x, t: attr.KernelShap(m).attribute(
        x, target=t, feature_mask=squares(), n_samples=attributions.DRAWS, perturbations_per_eval=attributions.DRAWS
    )[:, 0],
}
"""Those that draw, of one image at a time."""


TUNNELLED = {
    "saliency": (attr.Saliency, {"abs": False}),
    "input-x-gradient": (attr.InputXGradient, {}),
    "integrated-gradients": (attr.IntegratedGradients, {"n_steps": 3}),
    "deconvnet": (attr.Deconvolution, {}),
    "guided-backprop": (attr.GuidedBackprop, {}),
    "guided-gradcam": (lambda m: attr.GuidedGradCam(m, m.layer), {"interpolate_mode": "bilinear"}),
    "deeplift": (attr.DeepLift, {}),
    "layer-conductance": (
        lambda m: attr.LayerConductance(m, m.layer),
        {"n_steps": 3, "method": "riemann_trapezoid"},
    ),
}


CAPTUMS = {"smoothgrad": "smoothgrad", "smoothgrad-squared": "smoothgrad_sq", "vargrad": "vargrad"}


def squares():
    """Squares of four by four pixels, numbered by rows."""
    number = torch.arange(64).view(8, 8)
    return number.repeat_interleave(4, 0).repeat_interleave(4, 1)[None, None]


class Direct(nn.Module):
    """A copy of a classifier in float64 as captum's documentation wants it: a module without in-place activations."""

    def __init__(self, model):
        super().__init__()
        self.classifier = in_float64(model)
        self.network = self.classifier.module
        self.as_map = self.classifier.as_map
        self.feature_layer = model.feature_layer
        for module in self.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False

    @property
    def layer(self):
        """No second child: captum would hook its activations twice."""
        return self.network.get_submodule(self.feature_layer)

    def forward(self, images):
        return self.classifier(images)


def tunnelled(direct, name, noise, images, target):
    build, options = TUNNELLED[name]
    tunnel = attr.NoiseTunnel(build(direct))
    samples, stdevs = attributions.SAMPLES, attributions.NOISE
    found = tunnel.attribute(
        images, nt_type=CAPTUMS[noise], nt_samples=samples, stdevs=stdevs, target=target, **options
    ).detach()
    found = direct.as_map(found) if name == "layer-conductance" else found
    return found.abs().amax(1) if (name, noise) == ("saliency", "smoothgrad") else found.sum(1)


def seeded(attribute, images, true):
    """Each image on its own, after its seed."""
    found = []
    for i, seed in enumerate(SEEDS):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        found.append(attribute(images[i : i + 1], true[i : i + 1]))
    return torch.cat(found)


def expected_of(direct, saliency, images, true):
    noise, _, name = saliency.partition("/")
    if saliency in PLAIN:
        return PLAIN[saliency](direct, images, true)
    if saliency in DRAWN:
        return seeded(lambda x, t: DRAWN[saliency](direct, x, t), images, true)
    return seeded(lambda x, t: tunnelled(direct, name or "saliency", noise, x, t), images, true)


def test_all_rows_but_two_are_compared_with_captum():
    compared = {*PLAIN, *DRAWN} | {noise if n == "saliency" else f"{noise}/{n}" for n in TUNNELLED for noise in NOISES}

    assert len(compared) > 30
    left = set(ATTRIBUTIONS) - compared
    assert left == {"lime", "lrp", *(f"{noise}/lrp" for noise in NOISES)}  # each has a test of its own below


def pairs():
    for saliency in ATTRIBUTIONS:
        if saliency == "lime" or saliency.endswith("lrp"):
            continue
        for place, name in enumerate(name for name in NETWORKS if admitted(name, saliency)):
            yield slow_unless(place == 0, name, saliency)


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients:UserWarning")
@pytest.mark.parametrize(("name", "saliency"), list(pairs()))
def test_a_row_is_what_captum_computes_to_rounding_in_float64(name, saliency):
    model, (images, true) = in_float64(model_of(name)), batch()
    direct = Direct(model_of(name))
    state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        expected = expected_of(direct, saliency, images.double(), true).detach().relu()
    finally:
        torch.set_rng_state(state[0])
        np.random.set_state(state[1])  # noqa: NPY002

    found = explain(model, images.double(), true, saliency=saliency, seeds=SEEDS)

    expected = expected.double()  # some of captum's answers are float32
    largest = expected.amax((1, 2), keepdim=True).clamp(min=1e-30)
    torch.testing.assert_close(found / largest, expected / largest, atol=1e-10, rtol=0, check_dtype=False)


def test_lime_is_captums_with_the_authors_regression_and_kernel():
    from captum._utils.models.linear_model import SkLearnRidge
    from captum.attr._core.lime import get_exp_kernel_similarity_function

    model, (images, true) = model_of("test_resnet"), batch()
    direct = Direct(model).float()
    lime = attr.Lime(direct, SkLearnRidge(alpha=1.0), get_exp_kernel_similarity_function("cosine", 0.25))
    state = torch.get_rng_state()
    options = {"feature_mask": squares(), "n_samples": attributions.DRAWS, "perturbations_per_eval": 70}
    expected = seeded(lambda x, t: lime.attribute(x, target=t, **options)[:, 0], images, true).relu()
    torch.set_rng_state(state)

    found = explain(model, images, true, saliency="lime", seeds=SEEDS)

    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert found.amax() > 0


def test_relevance_is_captums_where_captum_can(monkeypatch):
    model, (images, true) = chain(), batch(16)
    images = images.double()
    found = signed(model, "lrp", images, one_hot(true, images))
    layers = model.module.layers
    for number in (3, 5, 8):
        layers[number].rule = GammaRule(gamma=relevance.GAMMA)

    expected = attr.LRP(model.module).attribute(images.requires_grad_(), target=true).sum(1).detach()

    torch.testing.assert_close(found, expected, atol=1e-6 * expected.abs().amax().item(), rtol=0)  # captum adds 1e-9


def test_differences_through_a_pool_are_captums_where_windows_do_not_overlap_and_no_relu_is_next_to_it():
    model, (images, true) = chain(), batch(16)
    model.module.layers[1] = nn.Identity()
    images = images.double()

    found = signed(model, "deeplift", images, one_hot(true, images))

    alone = [
        attr.DeepLift(model.module).attribute(x[None].requires_grad_(), target=t)
        for x, t in zip(images, true, strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(alone).sum(1).detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [s for s in GRADIENTS if s != "lrp"])
def test_what_is_put_under_noise_is_what_captum_calls_a_gradient_method(name):
    build, _ = TUNNELLED[name]
    module = nn.Sequential(nn.Linear(1, 1))
    module.layer = module[0]

    assert isinstance(build(module), attr._utils.attribution.GradientAttribution)
    assert {noise if name == "saliency" else f"{noise}/{name}" for noise in NOISES} <= set(ATTRIBUTIONS)


def test_the_rules_that_are_taken_for_captums_are():
    assert nn.GELU not in SUPPORTED_NON_LINEAR
    assert {nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Softplus, nn.MaxPool2d} <= set(SUPPORTED_NON_LINEAR)
