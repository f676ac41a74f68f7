"""Replacements of pixels by hand, their statistics and their scopes."""

import pytest
import torch

from proxy_attention.proxies.replacement import (
    NEED_STATISTICS,
    REPLACEMENTS,
    SCOPES,
    Statistics,
    replace,
    smooth,
    statistics,
    turn_down,
)

IMAGE = torch.tensor([0.2, 0.4, 0.6, 0.8]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
EVERY = torch.ones(1, 2, 2, dtype=torch.bool)
CASES = [(name, scope) for name in REPLACEMENTS for scope in SCOPES]


def noise(count=6, side=16, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def normal(like):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(9))


def made(images, name, scope, *, weight=0.7, maps=None, changed=None):
    maps = noise(len(images), images.shape[-1], seed=1)[:, 0] if maps is None else maps
    changed = maps >= 0.5 if changed is None else changed
    dataset = Statistics.per_image(noise(1, seed=5))
    stats = statistics(images, scope=scope, dataset=dataset)
    return replace(images, maps, changed, weight=weight, replacement=name, stats=stats, noise=normal(images)), changed


def exact(name, weight, maps=None):
    """The replaced pixels of one channel of ``IMAGE``, all four marked."""
    maps = torch.tensor([[[0.0, 0.5], [0.75, 1.0]]]) if maps is None else maps
    out, _ = made(IMAGE, name, "image", weight=weight, maps=maps, changed=EVERY)
    assert torch.equal(out[0, 0], out[0, 1])
    assert torch.equal(out[0, 0], out[0, 2])
    return out[0, 0].flatten().tolist()


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_every_replacement_keeps_shape_and_range_and_its_input(name, scope):
    images = noise()
    before = images.clone()

    out, _ = made(images, name, scope, weight=1.0)

    assert out.shape == images.shape
    assert out.dtype == images.dtype
    assert out.min() >= 0
    assert out.max() <= 1
    assert torch.equal(images, before)


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_no_replacement_touches_an_unmarked_pixel(name, scope):
    images = noise()

    out, changed = made(images, name, scope)

    kept = ~changed[:, None].expand_as(images)
    assert kept.any()
    assert torch.equal(out[kept], images[kept])


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_every_replacement_changes_marked_pixels(name, scope):
    images = noise()

    out, changed = made(images, name, scope)

    marked = changed[:, None].expand_as(images)
    assert (out != images)[marked].float().mean() > 0.9


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_no_replacement_changes_anything_at_weight_zero(name, scope):
    images = noise()

    out, _ = made(images, name, scope, weight=0.0)

    assert torch.equal(out, images)


@pytest.mark.parametrize(("name", "scope"), [case for case in CASES if case[1] != "batch"])
def test_no_replacement_depends_on_the_other_images_unless_its_scope_is_the_batch(name, scope):
    images = noise()
    maps = noise(6, seed=1)[:, 0]
    arguments = {"weight": 0.7, "replacement": name}
    dataset = Statistics.per_image(noise(1, seed=5))
    draws = normal(images)

    def run(part):
        stats = statistics(images[part], scope=scope, dataset=dataset)
        return replace(images[part], maps[part], maps[part] >= 0.5, stats=stats, noise=draws[part], **arguments)

    alone = torch.cat([run(slice(i, i + 1)) for i in range(6)])

    torch.testing.assert_close(run(slice(None)), alone, atol=1e-6, rtol=0)


def test_multiply_turns_each_pixel_down_by_weight_times_map():
    assert exact("multiply", 0.4) == pytest.approx([0.2, 0.4 * 0.8, 0.6 * 0.7, 0.8 * 0.6])


def test_multiply_at_weight_one_makes_the_peak_of_the_map_black():
    assert exact("multiply", 1.0)[3] == 0


@pytest.mark.parametrize(
    ("name", "value"), [("mean", 0.5), ("max", 0.8), ("min", 0.2), ("halfmax", 0.4), ("black", 0.0), ("white", 1.0)]
)
def test_a_value_is_laid_over_the_pixel_at_the_weight_whatever_the_map(name, value):
    expected = [0.75 * pixel + 0.25 * value for pixel in (0.2, 0.4, 0.6, 0.8)]

    assert exact(name, 0.25) == pytest.approx(expected)
    assert exact(name, 1.0) == pytest.approx([value] * 4)


TWO = torch.tensor([[0.2, 0.4, 0.6, 0.8], [0.0, 0.0, 0.5, 0.5]]).view(2, 1, 2, 2).expand(2, 3, 2, 2)
OWN = torch.tensor([0.1, 0.1, 0.3, 0.3]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
LAID_OVER = {
    ("mean", "image"): (0.5, 0.25), ("mean", "batch"): (0.375, 0.375), ("mean", "dataset"): (0.2, 0.2),
    ("max", "image"): (0.8, 0.5), ("max", "batch"): (0.8, 0.8), ("max", "dataset"): (0.3, 0.3),
    ("min", "image"): (0.2, 0.0), ("min", "batch"): (0.0, 0.0), ("min", "dataset"): (0.1, 0.1),
    ("halfmax", "image"): (0.4, 0.25), ("halfmax", "batch"): (0.4, 0.4), ("halfmax", "dataset"): (0.15, 0.15),
    # one standard deviation above the mean: sqrt(0.05) and 0.25; over both, E[x^2] = (0.3 + 0.125) / 2
    ("noise", "image"): (0.5 + 0.05**0.5, 0.5), ("noise", "batch"): (0.375 + 0.071875**0.5,) * 2,
    ("noise", "dataset"): (0.3, 0.3),
    **{(name, scope): (value, value) for name, value in (("black", 0.0), ("white", 1.0)) for scope in SCOPES},
}  # fmt: skip
"""What stands in the pixels of the images ``TWO`` at weight 1, by replacement and scope; the data set is ``OWN``."""


@pytest.mark.parametrize(("name", "scope"), [case for case in CASES if case[0] not in ("multiply", "blur")])
def test_a_value_is_taken_over_its_scope_exactly(name, scope):
    out = replace(
        TWO,
        torch.zeros(2, 2, 2),
        torch.ones(2, 2, 2, dtype=torch.bool),
        weight=1.0,
        replacement=name,
        stats=statistics(TWO, scope=scope, dataset=Statistics.per_image(OWN)),
        noise=torch.ones_like(TWO),
    )

    for image, value in zip(out, LAID_OVER[name, scope], strict=True):
        assert image.flatten().tolist() == pytest.approx([value] * 12, abs=1e-6)


@pytest.mark.parametrize(("draw", "value"), [(-9.0, 0.0), (0.0, 0.5), (9.0, 1.0)])
def test_noise_stays_within_the_range_of_pixels(draw, value):
    stats = Statistics.per_image(IMAGE)
    noise = torch.full_like(IMAGE, draw)

    out = replace(IMAGE, IMAGE[:, 0], EVERY, weight=1.0, replacement="noise", stats=stats, noise=noise)

    assert out.flatten().tolist() == pytest.approx([value] * 12)


def test_blur_spreads_a_point_by_a_sixteenth_of_the_side():
    point = torch.zeros(1, 3, 16, 16)
    point[:, :, 8, 8] = 1.0

    out, _ = made(point, "blur", "image", weight=1.0, changed=torch.ones(1, 16, 16, dtype=torch.bool))

    kernel = [2.718281828 ** (-(x**2) / 2) for x in range(-3, 4)]  # sigma 1, cut at three
    assert out[0, 1, 8, 5:12].tolist() == pytest.approx([kernel[3] * k / sum(kernel) ** 2 for k in kernel], abs=1e-6)
    assert out[0, 1, 5:12, 8].tolist() == pytest.approx([kernel[3] * k / sum(kernel) ** 2 for k in kernel], abs=1e-6)
    assert out[0, 1, 8, 4] == out[0, 1, 4, 8] == 0


@pytest.mark.parametrize(("name", "scope"), CASES)
def test_no_replacement_leaves_the_finite_numbers_on_a_plain_image(name, scope):
    for value in (0.0, 0.3, 1.0):
        plain = torch.full((2, 3, 16, 16), value)

        out, _ = made(plain, name, scope, weight=1.0)

        assert out.isfinite().all()
        assert 0 <= out.min() <= out.max() <= 1


def test_noise_has_the_mean_and_spread_of_the_image():
    image = (0.5 + 0.1 * torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))).clamp(0, 1)

    out, _ = made(image, "noise", "image", weight=1.0, changed=torch.ones(1, 200, 200, dtype=torch.bool))

    assert out.mean() == pytest.approx(0.5, abs=0.005)
    assert out.std() == pytest.approx(0.1, abs=0.005)
    assert abs(torch.corrcoef(torch.stack([out.flatten(), image.flatten()]))[0, 1]) < 0.02


def test_blur_keeps_a_plain_image_and_lowers_the_contrast_of_any_other():
    plain = torch.full((1, 3, 16, 16), 0.3)
    every = torch.ones(1, 16, 16, dtype=torch.bool)

    same, _ = made(plain, "blur", "image", weight=1.0, changed=every)
    softer, _ = made(noise(1), "blur", "image", weight=1.0, changed=every)

    torch.testing.assert_close(same, plain)
    assert softer.std() < 0.6 * noise(1).std()


def test_each_channel_has_its_own_statistics():
    images = torch.stack([torch.full((4, 4), value) for value in (0.1, 0.5, 0.9)])[None]

    out, _ = made(images, "mean", "image", weight=1.0, changed=torch.ones(1, 4, 4, dtype=torch.bool))

    torch.testing.assert_close(out, images)


@pytest.mark.parametrize(
    ("scope", "mean", "high"),
    [("image", [0.2, 0.6], [0.2, 0.6]), ("batch", [0.4, 0.4], [0.6, 0.6]), ("dataset", [0.9, 0.9], [0.9, 0.9])],
)
def test_the_scope_says_what_the_statistics_are_taken_over(scope, mean, high):
    images = torch.tensor([0.2, 0.6]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    dataset = Statistics.per_image(torch.full((1, 3, 4, 4), 0.9))

    stats = statistics(images, scope=scope, dataset=dataset)

    assert stats.mean.expand(2, 3, 1, 1)[:, 0, 0, 0].tolist() == pytest.approx(mean)
    assert stats.high.expand(2, 3, 1, 1)[:, 0, 0, 0].tolist() == pytest.approx(high)


def test_every_scope_is_known_to_this_test():
    assert set(SCOPES) == {"image", "batch", "dataset"}


def test_statistics_of_all_images_are_those_of_the_concatenation():
    parts = [noise(2, seed=1), noise(5, seed=2) * 0.5, noise(1, seed=3)]
    together = torch.cat(parts)

    found = Statistics.over([Statistics.per_image(part) for part in parts], [2, 5, 1])

    dims = (0, 2, 3)
    torch.testing.assert_close(found.mean, together.mean(dims, keepdim=True))
    torch.testing.assert_close(found.std, together.std(dims, keepdim=True, correction=0))
    assert torch.equal(found.low, together.amin(dims, keepdim=True))
    assert torch.equal(found.high, together.amax(dims, keepdim=True))


def test_turning_down_reaches_pixels_at_the_threshold_and_none_below():
    maps = torch.tensor([[[0.5, 0.4999], [1.0, 0.0]]])

    out = turn_down(IMAGE, maps, threshold=0.5, weight=0.5)

    assert out[0, 0].flatten().tolist() == pytest.approx([0.2 * 0.75, 0.4, 0.6 * 0.5, 0.8])
    assert out[0, 0, 0, 1] == IMAGE[0, 0, 0, 1]


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"maps must be \(1, 2, 2\) for these images; got \(1, 3, 3\), \(1, 3, 3\)"):
        turn_down(IMAGE, torch.zeros(1, 3, 3), threshold=0.5, weight=0.5)


@pytest.mark.parametrize("name", sorted(NEED_STATISTICS))
def test_a_replacement_without_the_statistics_it_needs_is_refused(name):
    with pytest.raises(ValueError, match="needs statistics; got none"):
        replace(IMAGE, IMAGE[:, 0], EVERY, weight=1.0, replacement=name, stats=None, noise=normal(IMAGE))


@pytest.mark.parametrize("name", sorted(set(REPLACEMENTS) - NEED_STATISTICS))
def test_any_other_replacement_needs_none(name):
    replace(IMAGE, IMAGE[:, 0], EVERY, weight=1.0, replacement=name, stats=None, noise=None)


def test_the_scope_of_a_data_set_without_its_statistics_is_refused():
    with pytest.raises(ValueError, match="scope dataset needs statistics of the training images; got none"):
        statistics(IMAGE, scope="dataset", dataset=None)


def test_noise_without_draws_is_refused():
    with pytest.raises(ValueError, match="noise needs draws; got none"):
        replace(
            IMAGE, IMAGE[:, 0], EVERY, weight=1.0, replacement="noise", stats=Statistics.per_image(IMAGE), noise=None
        )


def test_smoothing_by_nothing_is_the_image_itself():
    images = noise()

    assert smooth(images, sigma=0.0) is images


@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0, 1000.0])
def test_smoothing_keeps_shape_range_and_a_plain_image(sigma):
    maps = noise()[:, 0]

    out = smooth(maps, sigma=sigma)

    assert out.shape == maps.shape
    assert out.min() >= maps.min() - 1e-6
    assert out.max() <= maps.max() + 1e-6
    torch.testing.assert_close(smooth(torch.full((1, 16, 16), 0.3), sigma=sigma), torch.full((1, 16, 16), 0.3))


def test_smoothing_spreads_a_point_as_a_gaussian_of_that_sigma():
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1.0

    out = smooth(point, sigma=2.0)[0]

    distance = (torch.arange(41) - 20).float()
    assert float(out.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((out.sum(0) * distance**2).sum()) == pytest.approx(4.0, rel=0.05)
    assert float(out[20, 22] / out[20, 20]) == pytest.approx(torch.tensor(-0.5).exp().item(), rel=1e-4)
