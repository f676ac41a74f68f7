"""The layer that is explained: found in models of every make, in every layout, and without a trace."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build, untrained
from proxy_attention.models.feature_layers import find_last, find_named, heads_of
from proxy_attention.models.layout import Layout, layout_of

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

MODELS = [*LAYERS, *sorted(set(timm.list_models("test_*")) - set(LAYERS))]
_built = {}


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    yield
    _built.clear()


def model_of(name):
    """The model at 64 pixels in eval mode, with a head that is not zero. Read only."""
    if name not in _built:
        model = build(name, classes=4, image_size=64, weights="none", seed=0)
        draws = torch.Generator().manual_seed(3)
        for head in model.heads:
            nn.init.normal_(head.weight, std=0.2, generator=draws)
        model.module.eval()
        _built[name] = model
    return _built[name]


def images(count=2, size=64):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(5))


def test_there_are_models_of_every_make():
    assert len(MODELS) >= 25


@pytest.mark.parametrize(("name", "layer"), LAYERS.items())
def test_the_last_layer_with_a_usable_map_is_found(name, layer):
    assert model_of(name).feature_layer == layer


@pytest.mark.parametrize("name", MODELS)
def test_a_map_of_64_pixels_is_usable_and_the_logits_depend_on_it(name):
    model = model_of(name)
    features, logits = model.forward_from_features(images())

    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), features)

    assert min(model.grid) >= 4
    assert model.as_map(features).shape == model.as_map(gradient).shape == (2, model.channels, *model.grid)
    assert model.as_map(gradient).flatten(1).any(dim=1).all()
    assert model.classes == logits.shape[1] == 4


@pytest.mark.parametrize("name", MODELS)
def test_looking_and_cutting_compute_what_an_ordinary_pass_does(name):
    model = model_of(name)
    with torch.no_grad():
        ordinary = model(images())

    looked, cut = model.forward_with_features(images()), model.forward_from_features(images())

    assert torch.equal(looked[1], ordinary)
    torch.testing.assert_close(cut[1].detach(), ordinary)
    torch.testing.assert_close(cut[0].detach(), looked[0])
    assert cut[0].is_leaf


@pytest.mark.parametrize("name", MODELS)
def test_a_channel_set_to_zero_is_zero_everywhere_on_the_map_and_no_other_is(name):
    model = model_of(name)
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


@pytest.mark.parametrize("name", MODELS)
def test_a_head_is_linear_if_and_only_if_it_gives_the_logits_of_the_maps_mean(name):
    model = model_of(name)
    features, logits = model.forward_with_features(images())
    (head, *more) = model.heads
    linear = not more and isinstance(head, nn.Linear) and head.in_features == model.channels

    if linear:
        with torch.no_grad():
            linear = torch.allclose(head(model.as_map(features).mean((2, 3))), logits, rtol=1e-4, atol=1e-4)

    assert model.linear_head is (head if linear else None)


def test_heads_are_linear_where_nothing_but_a_mean_stands_before_them():
    linear = {name for name in MODELS if model_of(name).linear_head is not None}

    assert {"resnet18", "efficientnet_b0", "regnetx_002", "test_byobnet"} <= linear
    assert not {"vgg11", "convnext_atto", "test_vit", "deit_tiny_distilled_patch16_224"} & linear


def test_a_linear_head_is_found_behind_a_map_whose_channels_come_last():
    model = build(
        "swin_tiny_patch4_window7_224", classes=4, image_size=64, weights="none", seed=0, feature_layer="norm"
    )

    assert (model.layout.kind, model.grid) == ("nhwc", (2, 2))
    assert model.linear_head is model.module.head.fc


@pytest.mark.parametrize("name", ["test_resnet", "deit_tiny_distilled_patch16_224", "test_mambaout"])
@pytest.mark.parametrize("training", [True, False])
def test_finding_a_layer_leaves_no_trace(name, training):
    module = copy.deepcopy(model_of(name).module)
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
    module, seen = copy.deepcopy(model_of("test_vit").module), []
    module.patch_embed.register_forward_hook(lambda each, args, output: seen.append(len(args[0])))

    find_last(module, 64, at_least=4)

    assert seen == [1, 1]


@pytest.mark.parametrize("name", MODELS)
def test_one_step_of_training_changes_the_weights(name):
    model = model_of(name)
    del _built[name]
    model.module.train()
    optimizer = torch.optim.SGD(model.module.parameters(), lr=0.1)
    before = model.heads[0].weight.detach().clone()

    F.cross_entropy(model(images()), torch.tensor([0, 3])).backward()
    optimizer.step()

    assert not torch.equal(model.heads[0].weight, before)
    assert model.heads[0].weight.isfinite().all()


class Small(nn.Module):
    """A network of one's own: a map, changed in place, and a head that reads it if it is told to."""

    def __init__(self, *, reads=True, square=True):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, stride=(8, 8) if square else (8, 16))
        self.act, self.again, self.head, self.reads = (
            nn.ReLU(inplace=True),
            nn.ReLU(inplace=True),
            nn.Linear(16, 2),
            reads,
        )

    def get_classifier(self):
        return self.head

    def forward_features(self, x):
        return self.again(self.act(self.stem(x)) - 0.1)

    def forward(self, x):
        features = self.forward_features(x).mean((2, 3))
        return self.head(features if self.reads else torch.zeros_like(features))


def test_what_an_in_place_activation_makes_is_not_what_it_was_made_of():
    found = find_last(Small(), 64, at_least=4)
    model = find_named(Small(), 64, "stem")

    assert (found.name, found.layout) == ("again", Layout("nchw", (8, 8), 16))
    assert model.name == "stem"


def test_a_network_whose_logits_do_not_depend_on_any_map_has_no_layer():
    assert find_last(Small(reads=False), 64, at_least=4) is None


def test_a_network_without_a_map_is_refused_with_what_it_gives():
    with pytest.raises(ConfigError, match=r"a layer with a map of at least 2x2; its last layers give .*1x16x8x4"):
        find_last(Small(square=False), 64, at_least=4)


@pytest.mark.parametrize(
    ("shape", "prefix", "layout"),
    [
        ((1, 32, 4, 4), 0, Layout("nchw", (4, 4), 32)),
        ((1, 4, 4, 32), 0, Layout("nhwc", (4, 4), 32)),
        ((1, 17, 32), 1, Layout("tokens", (4, 4), 32, 1)),
        ((1, 16, 32), 1, Layout("tokens", (4, 4), 32, 0)),
        ((1, 21, 32), 5, Layout("tokens", (4, 4), 32, 5)),
        ((1, 18, 32), 2, Layout("tokens", (4, 4), 32, 2)),
        ((1, 19, 32), 0, None),
        ((1, 32, 4, 5), 0, None),
        ((1, 32, 1, 1), 0, None),
        ((2, 32, 4, 4), 0, None),
        ((1, 32), 0, None),
    ],
)
def test_a_layout_is_read_from_the_shape_of_one_square_image(shape, prefix, layout):
    assert layout_of(shape, prefix=prefix) == layout


def test_three_equal_sizes_are_read_as_the_model_says():
    assert layout_of((1, 8, 8, 8)).kind == "nchw"
    assert layout_of((1, 8, 8, 8), nhwc=True).kind == "nhwc"


@pytest.mark.parametrize(
    ("layout", "features"),
    [
        (Layout("nchw", (1, 2), 3), [[[[1, 2]], [[3, 4]], [[5, 6]]]]),
        (Layout("nhwc", (1, 2), 3), [[[[1, 3, 5], [2, 4, 6]]]]),
        (Layout("tokens", (1, 2), 3, 1), [[[0, 0, 0], [1, 3, 5], [2, 4, 6]]]),
    ],
)
def test_every_layout_gives_the_same_map(layout, features):
    assert layout.as_map(torch.tensor(features)).tolist() == [[[[1, 2]], [[3, 4]], [[5, 6]]]]


# ---- a layer by name


def named(name, layer, *, size=64, make=build):
    return make(name, classes=4, image_size=size, weights="none", seed=0, feature_layer=layer)


@pytest.mark.parametrize("make", [build, untrained])
def test_a_layer_can_be_asked_for_by_name(make):
    model = named("test_resnet", "layer2", make=make)

    assert (model.feature_layer, model.grid, model.channels, model.linear_head) == ("layer2", (8, 8), 48, None)
    assert model.note == "output stride 16, map of layer2 as asked"


def test_a_layer_that_is_asked_for_may_be_smaller_than_one_that_is_found():
    assert named("densenet121", "features.norm5").grid == (2, 2)


def test_asking_for_another_layer_changes_no_weight():
    one, other = (named("swin_tiny_patch4_window7_224", layer).module.state_dict() for layer in ("last", "layers.1"))

    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "layer", "why"),
    [
        ("test_resnet", "layer5", "got 'layer5', which is no module of it .*did you mean layer"),
        ("test_resnet", "fc", "got 'fc', whose output is no map"),
        ("test_resnet", "global_pool", "got 'global_pool', whose output is no map"),
        ("test_vit", "norm", "got 'norm', on whose positions no logit depends"),
        ("test_vit", "blocks.5.norm2", "got 'blocks.5.norm2', on whose positions no logit depends"),
    ],
)
def test_a_layer_that_gives_no_map_is_refused_with_those_that_do(name, layer, why):
    with pytest.raises(
        ConfigError, match=f"feature_layer must be last or a layer of {name} that gives a map; {why}"
    ) as e:
        named(name, layer)

    assert ("layer3 4x4, " in str(e.value)) == (name == "test_resnet")
    assert ("blocks.5.norm1 4x4)" in str(e.value)) == (name == "test_vit")
    assert "\n" not in str(e.value)


# ---- sizes that a model cannot take


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("inception_v4", 32, "model must build, and give a map at 32 px; got 'inception_v4': Calculated padded input"),
        ("swin_tiny_patch4_window7_224", 16, None),
        ("densenet121", 16, "model must build, and give a map at 16 px; got 'densenet121': Given input size"),
        ("hiera_tiny_224", 64, "image_size must give hiera_tiny_224 a map of at least 4x4; got 64"),
    ],
)
def test_a_size_is_served_by_some_layer_or_refused_in_one_line(name, size, why):
    if why is None:
        assert min(build(name, classes=4, image_size=size, weights="none", seed=0).grid) >= 4
        return
    with pytest.raises(ConfigError, match=why) as refused:
        build(name, classes=4, image_size=size, weights="none", seed=0)
    assert "\n" not in str(refused.value)
