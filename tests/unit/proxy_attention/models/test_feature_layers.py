"""The layer that is explained: found in models of every make, in every layout, and without a trace."""

import pytest
import torch
from torch import nn

from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build, untrained
from proxy_attention.models.feature_layers import find_last, find_named
from proxy_attention.models.layout import Layout


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
    one, other = (named("test_resnet", layer).module.state_dict() for layer in ("last", "layer2"))

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
