"""The formulas of class activation maps, by hand."""

import math

import pytest
import torch

from proxy_attention.saliency.cam import (
    CAMS,
    combined,
    eigencam,
    first_component,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    xgradcam,
)
from proxy_attention.saliency.maps import scale

A = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
G = torch.tensor([[[[0.0, 2.0]], [[-1.0, 0.0]]]])


def maps_of(saliency, features, gradients):
    """As the pass that classifies combines them."""
    method = CAMS[saliency]
    towards = combined(features, gradcam(features, gradients)) if method.eigen else None
    return combined(features, method.weights(features, gradients), towards=towards, eigen=method.eigen)


def test_gradcam_by_hand():
    assert combined(A, gradcam(A, G)).tolist() == [[[1 - 1.5, 2 - 2.0]]]


def test_hirescam_by_hand():
    assert combined(A, hirescam(A, G)).tolist() == [[[0 - 3.0, 4 + 0.0]]]


def test_xgradcam_by_hand():
    # weights: (0 * 1 + 2 * 2) / 3 and (-1 * 3 + 0 * 4) / 7
    torch.testing.assert_close(combined(A, xgradcam(A, G)), torch.tensor([[[4 / 3 - 9 / 7, 8 / 3 - 12 / 7]]]))


def test_xgradcam_gives_no_weight_to_a_channel_whose_sum_is_zero():
    a = torch.tensor([[[[2.0, -2.0]], [[0.0, 0.0]], [[1.0, 1.0]]]])
    g = torch.tensor([[[[1.0, 5.0]], [[1.0, 1.0]], [[1.0, 3.0]]]])

    assert xgradcam(a, g).flatten().tolist() == [0.0, 0.0, 2.0]
    assert combined(a, xgradcam(a, g)).tolist() == [[[2.0, 2.0]]]


def test_layercam_by_hand():
    assert combined(A, layercam(A, G)).tolist() == [[[0.0, 4.0]]]


def test_eigencam_by_hand():
    # centred channels (-.5, .5) and (-.5, .5): along (1, 1), the positions lie at -+ sqrt(2) / 2
    found = combined(A, eigencam(A, G), eigen=True)

    torch.testing.assert_close(found, torch.tensor([[[-1.0, 1.0]]]) / math.sqrt(2))


def test_eigengradcam_by_hand():
    # g * A is (0, 4) and (-3, 0): centred (-2, 2) and (-1.5, 1.5), along (4, 3) / 5
    found = maps_of("eigengradcam", A, G)

    torch.testing.assert_close(found, torch.tensor([[[-2.5, 2.5]]]))


def test_eigengradcam_turns_towards_gradcam():
    g = torch.tensor([[[[3.0, 1.0]], [[0.0, 0.0]]]])  # g * A is (3, 2); gradcam is 2 * (1, 2), which rises

    assert maps_of("eigengradcam", A, g).tolist() == [[[pytest.approx(-0.5), pytest.approx(0.5)]]]
    assert combined(A, hirescam(A, g), eigen=True).tolist() == [[[pytest.approx(0.5), pytest.approx(-0.5)]]]


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


# ---- every formula


def drawn(*shape, seed=0, negative=True):
    """Features and a gradient."""
    draws = torch.Generator().manual_seed(seed)
    a, g = torch.randn(*shape, generator=draws), torch.randn(*shape, generator=draws)
    return (a if negative else a.relu()), g


@pytest.mark.parametrize("saliency", CAMS)
def test_every_formula_gives_no_map_without_features_and_all_but_eigencam_none_without_a_gradient(saliency):
    a, g = drawn(2, 3, 4, 4)

    assert (maps_of(saliency, torch.zeros_like(a), g) == 0).all()
    assert (maps_of(saliency, a, torch.zeros_like(a)) == 0).all() == (saliency != "eigencam")


@pytest.mark.parametrize("saliency", CAMS)
@pytest.mark.parametrize("shape", [(3, 5, 4, 4), (3, 40, 2, 3), (1, 2, 1, 7)])
def test_every_formula_takes_a_gradient_that_is_the_same_everywhere_as_one_number(saliency, shape):
    a, g = drawn(*shape)
    g = g.mean((2, 3), keepdim=True)

    found = maps_of(saliency, a, g)

    assert found.shape == (shape[0], *shape[2:])
    assert found.any()
    torch.testing.assert_close(found, maps_of(saliency, a, g.expand_as(a)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("saliency", CAMS)
@pytest.mark.parametrize("pooled", [True, False])
def test_every_formula_is_one_images_own(saliency, pooled):
    a, g = drawn(4, 6, 3, 3)
    g = g.mean((2, 3), keepdim=True) if pooled else g

    alone = torch.cat([maps_of(saliency, a[i : i + 1], g[i : i + 1]) for i in range(4)])

    torch.testing.assert_close(maps_of(saliency, a, g), alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("saliency", [name for name in CAMS if name != "gradcam++"])
@pytest.mark.parametrize("factor", [1e20, 1e-20, 1e10, 1e-10])
def test_a_map_does_not_depend_on_the_unit_of_the_features_or_of_the_score(saliency, factor):
    a, g = drawn(2, 6, 3, 3)
    expected, _ = scale(maps_of(saliency, a, g).relu())
    assert expected.any()

    for units in (maps_of(saliency, a * factor, g / factor), maps_of(saliency, a * factor, g)):
        torch.testing.assert_close(scale(units.relu())[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("saliency", CAMS)
@pytest.mark.parametrize("factor", [1e20, 1e-20])
def test_huge_and_faint_features_give_finite_maps(saliency, factor):
    a, g = drawn(2, 6, 3, 3)

    assert maps_of(saliency, a * factor, g).isfinite().all()
    assert maps_of(saliency, a, g * factor).isfinite().all()


@pytest.mark.parametrize("saliency", CAMS)
@pytest.mark.parametrize("shape", [(2, 4, 1, 1), (0, 4, 3, 3), (1, 1, 2, 2)])
def test_one_position_no_image_and_one_channel_are_no_error(saliency, shape):
    found = maps_of(saliency, *drawn(*shape))

    assert found.shape == (shape[0], *shape[2:])
    assert found.isfinite().all()


@pytest.mark.parametrize("saliency", CAMS)
def test_how_features_lie_in_memory_does_not_matter(saliency):
    a, g = drawn(2, 6, 3, 3)
    lying = [t.contiguous(memory_format=torch.channels_last) for t in (a, g)]

    torch.testing.assert_close(maps_of(saliency, *lying), maps_of(saliency, a, g), atol=1e-6, rtol=1e-5)


# ---- the first principal component


def sum_of(weighted):
    return weighted.sum(dim=1)


def test_the_component_of_one_pattern_is_that_pattern():
    pattern = torch.tensor([-2.0, 1.0, 1.0, 0.0]).view(1, 1, 2, 2)
    amounts = torch.tensor([3.0, -4.0, 0.0]).view(1, 3, 1, 1)

    found = first_component(7 + amounts * pattern, towards=pattern[:, 0])

    torch.testing.assert_close(found.float(), 5 * pattern[:, 0])


@pytest.mark.parametrize(("channels", "height", "width"), [(2, 3, 3), (8, 3, 3), (9, 3, 3), (10, 3, 3), (1, 2, 5)])
def test_the_component_is_that_of_a_singular_value_decomposition(channels, height, width):
    weighted, towards = drawn(5, channels, height, width)
    towards = sum_of(towards)

    found = first_component(weighted, towards=towards).flatten(1)

    x = weighted.double().flatten(2).transpose(1, 2)
    x = x - x.mean(dim=1, keepdim=True)
    expected = (x @ torch.linalg.svd(x)[2][:, :1].transpose(1, 2))[:, :, 0]
    agree = (expected * towards.flatten(1)).sum(1, keepdim=True).sign()
    torch.testing.assert_close(found, agree * expected, atol=1e-10, rtol=1e-8)


def test_both_gram_matrices_give_the_same_component():
    few, towards = drawn(4, 5, 3, 3)
    many = torch.cat([few, torch.zeros(4, 20, 3, 3)], dim=1)  # channels of zeros vary in no direction
    towards = sum_of(towards)

    found, expected = first_component(few, towards=towards), first_component(many, towards=towards)

    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-8)


def test_the_sign_is_the_one_that_agrees_and_in_doubt_the_one_that_rises():
    weighted = torch.tensor([0.0, 0.0, 3.0]).view(1, 1, 1, 3).expand(3, 1, 1, 3)
    towards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])[:, None]

    found = first_component(weighted, towards=towards)

    assert found[:, 0].tolist() == [pytest.approx(sign) for sign in ([-1, -1, 2], [1, 1, -2], [-1, -1, 2])]


@pytest.mark.parametrize("channels", [2, 9])
def test_of_two_directions_that_vary_alike_one_is_taken_and_always_the_same(channels):
    weighted = torch.zeros(2, channels, 2, 2)
    weighted[:, 0] = torch.tensor([[1.0, -1.0], [0.0, 0.0]])
    weighted[:, 1] = torch.tensor([[0.0, 0.0], [1.0, -1.0]])

    found = first_component(weighted, towards=sum_of(weighted))

    torch.testing.assert_close(found.square().sum((1, 2)), torch.full((2,), 2.0, dtype=torch.float64))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found, first_component(weighted, towards=sum_of(weighted)))


@pytest.mark.parametrize("channels", [2, 9])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_features_that_are_no_numbers_give_zeros_and_leave_other_images_alone(channels, value):
    weighted, _ = drawn(3, channels, 2, 2)
    broken = weighted.clone()
    broken[1, 1, 0, 1] = value

    found = first_component(broken, towards=sum_of(broken))

    assert (found[1] == 0).all()
    assert torch.equal(found[[0, 2]], first_component(weighted, towards=sum_of(weighted))[[0, 2]])


@pytest.mark.parametrize("channels", [2, 9, 12])
def test_features_that_do_not_vary_give_zeros(channels):
    draws = torch.Generator().manual_seed(0)  # in float64, as weighted by gradcam++, a mean of equal numbers is rounded
    weighted = torch.rand(1, channels, 1, 1, generator=draws, dtype=torch.float64).expand(1, channels, 3, 3)

    assert (first_component(weighted, towards=sum_of(weighted)) == 0).all()


# ---- features and weights


def test_weights_a_channel_and_weights_a_position_are_combined_alike():
    a, g = drawn(2, 6, 3, 3)
    channel = g.mean((2, 3), keepdim=True)

    for eigen in (False, True):
        one, other = combined(a, channel, eigen=eigen), combined(a, channel.expand_as(a), eigen=eigen)
        assert one.dtype == a.dtype
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_smoothed_features_are_the_component_that_agrees_with_their_sum():
    a, g = drawn(2, 6, 3, 3)

    found = combined(a, g, eigen=True)

    torch.testing.assert_close(found.double(), first_component(g * a, towards=sum_of(g * a)), atol=1e-6, rtol=1e-5)
    assert ((found * combined(a, g)).sum((1, 2)) > 0).all()
