"""What becomes of a map: brought to [0, 1] each on its own, and to the image's size."""

import pytest
import torch
import torch.nn.functional as F

from proxy_attention.saliency.maps import EXPLAIN, scale, upsample


def test_what_is_explained_is_said_by_coefficients_of_the_logits():
    predicted, true = torch.tensor([2, 1]), torch.tensor([0, 1])

    found = {name: score(predicted, true, 3).tolist() for name, score in EXPLAIN.items()}

    assert found == {
        "predicted": [[0, 0, 1], [0, 1, 0]],
        "true": [[1, 0, 0], [0, 1, 0]],
        "contrast": [[-1, 0, 1], [0, 0, 0]],
    }


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
