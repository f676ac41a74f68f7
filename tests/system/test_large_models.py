"""Layers of models too large for the unit tests."""

import pytest

from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build


def test_a_linear_head_is_found_behind_a_map_whose_channels_come_last():
    model = build(
        "swin_tiny_patch4_window7_224", classes=4, image_size=64, weights="none", seed=0, feature_layer="norm"
    )

    assert (model.layout.kind, model.grid) == ("nhwc", (2, 2))
    assert model.linear_head is model.module.head.fc


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
