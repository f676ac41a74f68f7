"""Maps against captum, against grad-cam, and against their formulas, on every supported family of models."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerAttribution, LayerGradCam
from torch import nn

from proxy_attention.models import FAMILIES, Classifier, build, family_of
from proxy_attention.saliency.cam import CAMS, combined, gradcam, gradcam_plus_plus
from proxy_attention.saliency.maps import EXPLAIN, look_and_explain, low_resolution_maps, scale, upsample
from proxy_attention.saliency.methods import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Setting (forward|backward).*hooks:UserWarning")

MODELS = [
    ("test_resnet", 32), ("test_resnet", 64), ("test_resnet", 112),
    ("test_efficientnet", 32), ("test_efficientnet", 64), ("test_efficientnet", 112),
    ("test_vit", 32), ("test_vit", 64), ("test_vit", 112),
    ("resnet18", 32), ("resnet18", 64), ("resnet18", 112),
    ("resnet50", 64), ("resnet50", 112),
    ("efficientnet_b0", 32), ("efficientnet_b0", 64),
    ("vgg16", 32),
    ("vit_base_patch16_224", 64),
]  # fmt: skip
POOLED = [("test_resnet", 64), ("resnet18", 64), ("resnet50", 64), ("test_efficientnet", 32)]
CLASSES = 5
COUNT = 8

_built: dict[tuple[str, int], Classifier] = {}


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    _built.clear()


def model_of(name, size):
    """A model in eval mode with random weights that let a signal through: its head and normalisation are stirred."""
    if (name, size) not in _built:
        model = build(name, classes=CLASSES, image_size=size, weights="none", seed=1)
        draws = torch.Generator().manual_seed(7)
        for module in model.module.modules():
            if isinstance(module, nn.BatchNorm2d):  # moments as training would leave them: unlike 0 and 1
                module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=draws))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=draws))
                nn.init.normal_(module.bias, std=0.1, generator=draws)
        head = model.module.get_classifier()
        nn.init.normal_(head.weight, std=0.2, generator=draws)
        model.module.eval()
        _built[name, size] = model
    return _built[name, size]


def batch(size):
    """Images with something to look at: a bright patch at another place of each, on noise."""
    images = 0.3 * torch.rand(COUNT, 3, size, size, generator=torch.Generator().manual_seed(11))
    for i in range(COUNT):
        y, x = (i * 5 % 7) * size // 8, (i * 3 % 7) * size // 8
        images[i, :, y : y + size // 4, x : x + size // 4] += 0.6
    true = torch.arange(COUNT) % CLASSES
    return images, true


def explain(model, images, true, *, saliency="gradcam", of="true", predicted=None):
    with torch.no_grad():
        predicted = model(images).argmax(1) if predicted is None else predicted
    return low_resolution_maps(model, images, predicted=predicted, true=true, saliency=saliency, explain=of)


class OnGrid(nn.Module):
    """A norm over tokens whose patch tokens pass through ``layer`` as (N, K, h, w), where captum can see them."""

    def __init__(self, norm, prefix, grid):
        super().__init__()
        self.norm, self.prefix, self.grid, self.layer = norm, prefix, grid, nn.Identity()

    def forward(self, tokens):
        normed = self.norm(tokens)
        prefix, patches = normed[:, : self.prefix], normed[:, self.prefix :]
        maps = self.layer(patches.transpose(1, 2).reshape(len(tokens), -1, *self.grid))
        return torch.cat([prefix, maps.flatten(2).transpose(1, 2)], dim=1)


def with_visible_layer(model):
    """A copy of the model, and the module in it whose output is the last feature map."""
    seen = copy.deepcopy(model)
    if not hasattr(seen.module, "blocks") or "norm1" not in seen.feature_layer:
        return seen, seen.module.get_submodule(seen.feature_layer)
    block = seen.module.blocks[-1]
    block.norm1 = OnGrid(block.norm1, seen.module.num_prefix_tokens, seen.grid)
    return seen, block.norm1.layer


def captum_maps(model, images, *, score):
    """captum's GradCAM of a score (N,) of logits, positive part, at the size of the images."""
    seen, layer = with_visible_layer(model)
    cam = LayerGradCam(lambda x: score(seen(x))[:, None], layer)
    maps = cam.attribute(images, target=0, relu_attributions=True)
    return LayerAttribution.interpolate(maps, tuple(images.shape[2:]), "bilinear")[:, 0].detach()


def min_max(maps):
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low)


def assert_same_maps(found, expected, *, atol=1e-5):
    """Both scaled to [0, 1]; no map may be flat, or nothing would be compared."""
    scaled, flat = scale(found)
    assert not flat.any()
    torch.testing.assert_close(scaled, min_max(expected), atol=atol, rtol=0)


def test_every_family_is_compared():
    families = {family_of(name).fit for name, _ in MODELS}

    assert families == {family.fit for family in FAMILIES.values()}


def in_float64(model):
    """A copy that computes in float64: a sum of 1,280 channels that cancel has errors of 1e-5 of its own in float32."""
    exact = copy.deepcopy(model)
    exact.module.double()
    return exact


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_gradcam_is_what_captum_computes(name, size):
    model = in_float64(model_of(name, size))
    images, true = batch(size)
    low = explain(model, images.double(), true)

    expected = captum_maps(model, images.double(), score=lambda logits: logits.gather(1, true[:, None])[:, 0])

    lively = ~scale(low)[1]  # of random weights, some say that nothing speaks for the class
    assert lively.sum() >= COUNT // 2
    assert (expected[~lively] == 0).all()
    assert_same_maps(upsample(low[lively], size), expected[lively], atol=1e-10)


@pytest.mark.parametrize(("name", "size"), [(name, size) for name, size in MODELS if name != "efficientnet_b0"])
def test_gradcam_is_what_captum_computes_in_float32(name, size):
    model = model_of(name, size)
    images, true = batch(size)
    low = explain(model, images, true)

    expected = captum_maps(model, images, score=lambda logits: logits.gather(1, true[:, None])[:, 0])

    lively = ~scale(low)[1]
    assert lively.sum() >= COUNT // 2
    assert_same_maps(upsample(low[lively], size), expected[lively])


def test_a_linear_head_is_found_where_there_is_one_and_only_there():
    found = {name: model_of(name, size).linear_head is not None for name, size in MODELS}

    convolutional = ("resnet18", "resnet50", "efficientnet_b0", "test_resnet", "test_efficientnet")
    assert found == {name: name in convolutional for name in found}


@pytest.mark.parametrize(("name", "size"), [*POOLED, ("test_vit", 64), ("vgg16", 32)])
def test_the_pass_that_explains_gives_the_logits_of_an_ordinary_one(name, size):
    model = model_of(name, size)
    images, true = batch(size)

    logits, maps = look_and_explain(model, images, true=true, saliency="gradcam", explain="predicted")

    with torch.no_grad():
        assert torch.equal(logits, model(images))
    assert torch.equal(maps, explain(model, images, true, of="predicted"))


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 64), ("test_efficientnet", 64), ("test_vit", 64)])
def test_maps_under_autocast_are_those_of_float32_but_for_the_features_rounding(name, size):
    model = model_of(name, size)
    images, true = batch(size)
    exact = explain(model, images, true)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, rounded = look_and_explain(model, images, true=true, saliency="gradcam", explain="true")
        assert torch.is_autocast_enabled("cpu")

    assert rounded.dtype == logits.dtype == torch.float32
    close = (scale(rounded)[0] - scale(exact)[0]).abs().mean()
    assert 0 < close < 0.05


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 64), ("test_efficientnet", 64), ("test_vit", 64)])
def test_contrast_is_gradcam_of_the_difference_of_two_scores(name, size):
    model = model_of(name, size)
    images, true = batch(size)
    predicted = (true + 2) % CLASSES
    low = explain(model, images, true, of="contrast", predicted=predicted)

    def score(logits):
        rows = torch.arange(COUNT)
        return logits[rows, predicted] - logits[rows, true]

    lively = ~scale(low)[1]
    assert lively.sum() >= COUNT // 2
    assert_same_maps(upsample(low[lively], size), captum_maps(model, images, score=score)[lively])


def test_explaining_the_predicted_and_the_true_class_follow_the_class_they_name():
    model = model_of("test_resnet", 64)
    images, true = batch(64)
    other = (true + 1) % CLASSES

    assert torch.equal(
        explain(model, images, true, of="predicted", predicted=other), explain(model, images, other, of="true")
    )
    assert not torch.equal(explain(model, images, true), explain(model, images, other))


def test_contrast_of_a_class_with_itself_has_no_map():
    model = model_of("test_resnet", 64)
    images, true = batch(64)

    assert scale(explain(model, images, true, of="contrast", predicted=true))[1].all()


def features_and_gradients(model, images, true):
    """The feature map and the gradient of the true class's score, by ordinary hooks on the whole model."""
    seen, layer = with_visible_layer(model)
    kept = []
    handle = layer.register_forward_hook(lambda module, args, output: kept.append(output))
    score = seen(images).gather(1, true[:, None]).sum()
    handle.remove()
    (gradients,) = torch.autograd.grad(score, kept[0])
    return kept[0].detach(), gradients


@pytest.mark.parametrize(("name", "size"), POOLED)
def test_gradcam_of_a_pooled_linear_head_is_the_class_row_over_the_area(name, size):
    model = model_of(name, size)
    images, true = batch(size)
    features, _ = features_and_gradients(model, images, true)
    row = model.module.get_classifier().weight.detach()[true]

    closed = torch.einsum("nk,nkhw->nhw", row, features).relu() / (features.shape[2] * features.shape[3])

    torch.testing.assert_close(explain(model, images, true), closed, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "size"), POOLED)
def test_gradcam_plus_plus_of_a_pooled_linear_head_has_its_closed_form(name, size):
    model = model_of(name, size)
    images, true = batch(size)
    features = features_and_gradients(model, images, true)[0].double()
    row = model.module.get_classifier().weight.detach().double()[true]

    weights = row.relu() / (2 + row * features.mean((2, 3)))
    closed = torch.einsum("nk,nkhw->nhw", weights, features).relu()

    assert_same_maps(explain(model, images, true, saliency="gradcam++"), closed.float())


@pytest.mark.parametrize(("name", "size"), MODELS)
def test_gradcam_plus_plus_is_its_formula(name, size):
    model = model_of(name, size)
    images, true = batch(size)
    features, gradients = features_and_gradients(model, images, true)
    a, g = features.numpy().astype(np.float64), gradients.numpy().astype(np.float64)

    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3)
    alpha[~np.isfinite(alpha)] = 0
    weights = (alpha * np.maximum(g, 0)).sum(axis=(2, 3), keepdims=True)
    expected = torch.from_numpy(np.maximum((weights * a).sum(axis=1), 0)).float()

    low = explain(model, images, true, saliency="gradcam++")
    lively = ~scale(low)[1]
    assert lively.sum() >= COUNT // 2
    assert_same_maps(low[lively], expected[lively])


def test_gradcam_plus_plus_by_hand():
    a = torch.tensor([[[[1.0, 3.0]], [[2.0, -1.0]]]])  # sums 4 and 1
    g = torch.tensor([[[[0.5, 0.0]], [[1.0, -1.0]]]])
    # channel 0: alpha = .25 / (.5 + 4 * .125) = .25, weight .125
    # channel 1: alpha = 1 / (2 + 1) where g > 0, weight 1/3

    maps = combined(a, gradcam_plus_plus(a, g))

    torch.testing.assert_close(maps, torch.tensor([[[0.125 + 2 / 3, 0.375 - 1 / 3]]]))


def test_gradcam_plus_plus_has_no_weight_where_its_denominator_vanishes():
    a = torch.full((1, 1, 1, 1), -2.0)
    g = torch.ones(1, 1, 1, 1)

    assert combined(a, gradcam_plus_plus(a, g)).tolist() == [[[0.0]]]


def test_gradcam_plus_plus_does_not_vanish_with_small_gradients():
    a = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    g = torch.full((1, 3, 4, 4), 1e-16)

    assert combined(a, gradcam_plus_plus(a, g)).min() > 0


@pytest.mark.parametrize(("name", "size"), [("test_resnet", 64), ("test_efficientnet", 64), ("resnet18", 112)])
@pytest.mark.filterwarnings("ignore")  # the oracle's own imports
def test_gradcam_plus_plus_is_what_grad_cam_computes_with_its_epsilon(name, size):
    oracle = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model = model_of(name, size)
    images, true = batch(size)
    features, logits = model.cut(images)
    (gradients,) = torch.autograd.grad(logits.gather(1, true[:, None]).sum(), features)
    low = combined(features.detach(), gradcam_plus_plus(features.detach(), gradients, epsilon=1e-6)).relu()

    # grad-cam scales before and after the resize, and adds 1e-7 to what it divides by
    once = (low - low.amin((1, 2), keepdim=True)) / (1e-7 + (low.amax((1, 2)) - low.amin((1, 2)))[:, None, None])
    found = upsample(once, size)
    found = found - found.amin((1, 2), keepdim=True)
    found = found / (1e-7 + found.amax((1, 2), keepdim=True))

    seen = copy.deepcopy(model)
    wrapped = _Whole(seen)
    with oracle.GradCAMPlusPlus(wrapped, [seen.module.get_submodule(seen.feature_layer)]) as cam:
        expected = cam(images, [targets.ClassifierOutputTarget(int(label)) for label in true])

    assert (found.amax((1, 2)) > 0.9).all()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5, rtol=0)


class _Whole(nn.Module):
    """A classifier with its normalisation as the one module that grad-cam asks for."""

    def __init__(self, classifier):
        super().__init__()
        self.classifier, self.module = classifier, classifier.module

    def forward(self, images):
        return self.classifier(images)


EVERY = [(saliency, of) for saliency in METHODS for of in EXPLAIN]


@pytest.mark.parametrize(("saliency", "of"), EVERY)
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
def test_a_map_does_not_depend_on_the_other_images_of_its_batch(name, saliency, of):
    model = model_of(name, 64)
    images, true = batch(64)
    predicted = (true + 1) % CLASSES

    def run(part):
        return explain(model, images[part], true[part], saliency=saliency, of=of, predicted=predicted[part])

    alone = torch.cat([run(slice(i, i + 1)) for i in range(COUNT)])
    together = run(slice(None))

    assert together.shape == (COUNT, *model.grid)
    assert together.dtype == torch.float32
    assert together.min() >= 0
    torch.testing.assert_close(scale(together)[0], scale(alone)[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("saliency", "of"), EVERY)
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("training", [True, False])
def test_explaining_leaves_the_model_as_it_was(name, saliency, of, training):
    model = copy.deepcopy(model_of(name, 32))
    images, true = batch(32)
    model.module.train(training)
    first = next(model.module.parameters())
    first.requires_grad_(False)
    last = list(model.module.parameters())[-1]
    last.grad = torch.ones_like(last)

    def hooks():
        return [
            (len(m._forward_hooks), len(m._backward_hooks), len(m._forward_pre_hooks)) for m in model.module.modules()
        ]

    hooked, wanted = hooks(), [p.requires_grad for p in model.module.parameters()]
    weights = [p.detach().clone() for p in model.module.parameters()]

    explain(model, images, true, saliency=saliency, of=of, predicted=(true + 1) % CLASSES)

    assert model.module.training is training
    assert hooks() == hooked
    assert [p.requires_grad for p in model.module.parameters()] == wanted
    assert [p.grad is None for p in model.module.parameters()][:-1] == [True] * (len(wanted) - 1)
    assert torch.equal(last.grad, torch.ones_like(last))
    assert all(torch.equal(*pair) for pair in zip(weights, model.module.parameters(), strict=True))
    assert torch.is_grad_enabled()
    assert not images.requires_grad


def test_an_error_in_the_model_leaves_no_hook_and_no_mode_behind():
    model = copy.deepcopy(model_of("test_resnet", 32))
    model.module.fc = nn.Linear(3, 3)  # fails after the feature layer

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model.cut(torch.zeros(1, 3, 32, 32))

    assert not any(m._forward_hooks for m in model.module.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("saliency", CAMS)
def test_every_formula_gives_no_map_without_features_and_all_but_eigencam_none_without_a_gradient(saliency):
    a, method = torch.rand(2, 3, 4, 4), CAMS[saliency]

    def maps(features, gradients):
        return combined(features, method.weights(features, gradients), eigen=method.eigen)

    assert (maps(torch.zeros_like(a), a) == 0).all()
    assert (maps(a, torch.zeros_like(a)) == 0).all() == (saliency != "eigencam")


def test_gradcam_by_hand():
    a = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    g = torch.tensor([[[[0.0, 2.0]], [[-1.0, 0.0]]]])

    assert combined(a, gradcam(a, g)).tolist() == [[[1 - 1.5, 2 - 2.0]]]


def test_scaling_brings_each_map_on_its_own_to_zero_and_one():
    maps = torch.tensor([[[2.0, 4.0], [3.0, 2.0]], [[0.0, 100.0], [50.0, 25.0]]])

    scaled, flat = scale(maps)

    assert scaled.tolist() == [[[0.0, 1.0], [0.5, 0.0]], [[0.0, 1.0], [0.5, 0.25]]]
    assert flat.tolist() == [False, False]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1e-30, 1e30, float("nan"), float("inf"), float("-inf")])
def test_a_map_without_a_range_becomes_zeros_and_is_told(value):
    lively = torch.tensor([[0.0, 1.0], [0.5, 0.25]])

    scaled, flat = scale(torch.stack([torch.full((2, 2), value), lively]))

    assert flat.tolist() == [True, False]
    assert (scaled[0] == 0).all()
    assert torch.equal(scaled[1], lively)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_map_with_one_value_that_is_no_number_becomes_zeros_and_is_told(value):
    scaled, flat = scale(torch.tensor([[[0.0, 1.0], [0.5, value]]]))

    assert flat.tolist() == [True]
    assert (scaled == 0).all()


def test_rounding_on_a_constant_is_no_range_and_a_faint_map_is():
    rounding = 1 + torch.finfo(torch.float32).eps * torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    faint = torch.tensor([[[0.0, 1e-20], [5e-21, 0.0]]])

    scaled, flat = scale(torch.cat([rounding, faint]))

    assert flat.tolist() == [True, False]
    assert scaled[1].flatten().tolist() == pytest.approx([0.0, 1.0, 0.5, 0.0])


def test_upsampling_is_bilinear_about_pixel_centres():
    maps = torch.tensor([[[0.0, 1.0]] * 2])

    assert upsample(maps, 4)[0, 0].tolist() == [0.0, 0.25, 0.75, 1.0]
    assert torch.equal(upsample(maps, 4), F.interpolate(maps[None], 4, mode="bilinear")[0])
