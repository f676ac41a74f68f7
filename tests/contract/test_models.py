"""Every make of model: a usable layer is found at every size, looked at without a trace, and trained."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from saliency_models import slow_unless
from torch import nn

from proxy_attention.models.build import build
from proxy_attention.models.feature_layers import find_last, heads_of
from proxy_attention.models.input_size import FAMILIES, MIN_GRID, family_of

LAYERS = {
    "resnet18": "layer4",
    "vgg11": "features",
    "efficientnet_b0": "bn2",
    "test_resnet": "layer4",
    "test_efficientnet": "bn2",
    "test_vit": "blocks.5.norm1",
    "convnext_atto": "stages",
    "densenet121": "features.denseblock3",
    "mobilenetv3_small_050": "blocks.3",
    "regnetx_002": "s4",
    "deit_tiny_patch16_224": "blocks.11.norm1",
    "deit_tiny_distilled_patch16_224": "blocks.11.norm1",
    "swin_tiny_patch4_window7_224": "layers.2",
    "pit_ti_224": "transformers.1.pool.conv",
    "xcit_nano_12_p8_224": "cls_attn_blocks.1.norm1",
}
"""The layer that is found at 64 pixels, in models of many makes."""

LINEAR = {
    **dict.fromkeys(("resnet18", "efficientnet_b0", "regnetx_002", "test_byobnet"), True),
    **dict.fromkeys(("vgg11", "convnext_atto", "test_vit", "deit_tiny_distilled_patch16_224"), False),
}
"""Whether the head is linear in the mean of the map, of models whose head is known."""

MODELS = [*LAYERS, *sorted(set(timm.list_models("test_*")) - set(LAYERS))]
QUICK = ("resnet18", "mobilenetv3_small_050", "convnext_atto")
"""Tried in ``make test`` beside timm's tiny models; the others are slow to build."""


def is_quick(name):
    return name.startswith("test_") or name in QUICK


@pytest.fixture(scope="module", params=[slow_unless(is_quick(name), name) for name in MODELS])
def name(request):
    """Each model in turn: it is built once, and all tests look at it before the next is built."""
    return request.param


@pytest.fixture(scope="module")
def model(name):
    """The model at 64 pixels in eval mode, with a head that is not zero. Read only."""
    return explained(name)


def explained(name):
    model = build(name, classes=4, image_size=64, weights="none", seed=0)
    draws = torch.Generator().manual_seed(3)
    for head in model.heads:
        nn.init.normal_(head.weight, std=0.2, generator=draws)
    model.module.eval()
    return model


def images(count=2, size=64):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_there_are_models_of_every_make():
    assert len(MODELS) >= 25


def test_the_last_layer_with_a_usable_map_is_found(name, model):
    assert model.feature_layer == LAYERS.get(name, model.feature_layer)


def test_a_map_of_64_pixels_is_usable_and_the_logits_depend_on_it(model):
    features, logits = model.forward_from_features(images())

    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), features)

    assert min(model.grid) >= 4
    assert model.as_map(features).shape == model.as_map(gradient).shape == (2, model.channels, *model.grid)
    assert model.as_map(gradient).flatten(1).any(dim=1).all()
    assert model.classes == logits.shape[1] == 4


def test_looking_and_cutting_compute_what_an_ordinary_pass_does(model):
    with torch.no_grad():
        ordinary = model(images())

    looked, cut = model.forward_with_features(images()), model.forward_from_features(images())

    assert torch.equal(looked[1], ordinary)
    torch.testing.assert_close(cut[1].detach(), ordinary)
    torch.testing.assert_close(cut[0].detach(), looked[0])
    assert cut[0].is_leaf


def test_a_channel_set_to_zero_is_zero_everywhere_on_the_map_and_no_other_is(model):
    features = (
        torch.rand(model.forward_with_features(images())[0].shape, generator=torch.Generator().manual_seed(1)) + 1
    )
    channel = torch.tensor([1, 2])

    zeroed = model.with_zeroed(features, channel)

    kept = torch.ones(2, model.channels, *model.grid)
    kept[0, 1] = kept[1, 2] = 0
    assert torch.equal(model.as_map(zeroed), model.as_map(features) * kept)
    assert int((zeroed == 0).sum()) == 2 * model.grid[0] * model.grid[1]
    assert features.min() >= 1


def test_a_head_is_linear_if_and_only_if_it_gives_the_logits_of_the_maps_mean(model):
    features, logits = model.forward_with_features(images())
    (head, *more) = model.heads
    linear = not more and isinstance(head, nn.Linear) and head.in_features == model.channels

    if linear:
        with torch.no_grad():
            linear = torch.allclose(head(model.as_map(features).mean((2, 3))), logits, rtol=1e-4, atol=1e-4)

    assert model.linear_head is (head if linear else None)


def test_a_head_is_linear_where_nothing_but_a_mean_stands_before_it(name, model):
    assert (model.linear_head is not None) is LINEAR.get(name, model.linear_head is not None)


@pytest.mark.parametrize("training", [True, False])
def test_finding_a_layer_leaves_no_trace(model, training):
    module = copy.deepcopy(model.module)
    for each in module.modules():
        each.training = training
    next(module.modules()).training = not training
    for head in heads_of(module):
        nn.init.zeros_(head.weight)
    first, last = next(module.parameters()), list(module.parameters())[-1]
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    kept = {key: value.clone() for key, value in module.state_dict().items()}
    modes = [each.training for each in module.modules()]
    wanted = [each.requires_grad for each in module.parameters()]
    torch.manual_seed(4)
    stream = torch.random.get_rng_state()

    assert find_last(module, 64, at_least=4) is not None

    assert all(torch.equal(kept[key], value) for key, value in module.state_dict().items())
    assert [each.training for each in module.modules()] == modes
    assert [each.requires_grad for each in module.parameters()] == wanted
    assert [each.grad is not None for each in module.parameters()] == [each is last for each in module.parameters()]
    assert torch.equal(last.grad, torch.ones_like(last))
    assert not any(each._forward_hooks for each in module.modules())
    assert torch.equal(torch.random.get_rng_state(), stream)
    assert torch.is_grad_enabled()


def test_a_layer_is_found_with_two_passes_of_one_image():
    module, seen = explained("test_vit").module, []
    module.patch_embed.register_forward_hook(lambda each, args, output: seen.append(len(args[0])))

    find_last(module, 64, at_least=4)

    assert seen == [1, 1]


def test_one_step_of_training_changes_the_weights(model):
    trained = copy.deepcopy(model)
    trained.module.train()
    optimizer = torch.optim.SGD(trained.module.parameters(), lr=0.1)

    F.cross_entropy(trained(images()), torch.tensor([0, 3])).backward()
    optimizer.step()

    assert not torch.equal(trained.heads[0].weight, model.heads[0].weight)
    assert trained.heads[0].weight.isfinite().all()


SMALL = {
    "resnet": ["test_resnet", "resnet18"],
    "efficientnet": ["test_efficientnet", "tf_efficientnet_lite0"],
    "vgg": ["vgg11"],
    "vision_transformer": ["test_vit", "vit_tiny_patch16_224"],
}

SIZES = (16, 32, 64, 112, 224)


def test_every_family_has_a_small_member_here():
    assert set(SMALL) == set(FAMILIES)
    assert all(family_of(name) is FAMILIES[family] for family, names in SMALL.items() for name in names)


@pytest.mark.parametrize(
    ("small", "size"),
    [
        slow_unless(small.startswith("test_") or (small, size) == ("vgg11", 32), small, size)
        for smalls in SMALL.values()
        for small in smalls
        for size in SIZES
    ],
)
def test_every_family_keeps_a_usable_map_at_every_size(small, size):
    model = build(small, classes=4, image_size=size, weights="none", seed=0)

    assert min(model.grid) >= MIN_GRID == 4
    assert model.module.training
