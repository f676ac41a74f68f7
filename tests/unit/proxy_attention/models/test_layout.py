"""The layout of a feature map is read from the shape of a layer's output."""

import pytest
import torch

from proxy_attention.models.layout import Layout, layout_of


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
