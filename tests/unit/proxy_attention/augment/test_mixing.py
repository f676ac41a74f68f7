import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from timm.data.mixup import Mixup, mixup_target

from proxy_attention.augment import mixing
from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.fields import Boxes, beta, boxes_of_area
from proxy_attention.augment.mixing import MIXING, blend, cow_mask, mixed_labels, paste_box, paste_small, patched

CLASSES = 5
BLENDS = ["mixup", "remix", "samplepairing", "smoothmix"]


def images_of(count, size=32, seed=0):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def draws_of(row, count, seed=1):
    return torch.rand(count, row.columns, generator=torch.Generator().manual_seed(seed))


def batch_of(count, size=32):
    return Batch(images_of(count, size), torch.arange(count) % CLASSES)


def task(counts=(10,) * CLASSES):
    return Task(torch.tensor(counts), saliency=None)


def squares(count, size=4):
    """Images whose pixels are all their own number."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 3, size, size)


def timms(kind, monkeypatch, seed):
    """A batch, what timm makes of it, and what it drew for that: the part of each image, and the middle of its box."""
    images, labels = images_of(8), torch.arange(8) % CLASSES
    generator, drawn = np.random.default_rng(seed), {"beta": [], "integers": []}

    def keeping(name):
        return lambda *args, **more: drawn[name].append(getattr(generator, name)(*args, **more)) or drawn[name][-1]

    monkeypatch.setattr(np.random, "beta", keeping("beta"))
    monkeypatch.setattr(np.random, "randint", keeping("integers"))
    alphas = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, f"{kind}_alpha": 1.0}
    mix = Mixup(**alphas, mode="elem", label_smoothing=0.0, num_classes=CLASSES)
    out, targets = mix(images.clone(), labels)
    part = torch.from_numpy(drawn["beta"][0].astype(np.float32))
    return images, labels, part, torch.tensor(drawn["integers"]).view(-1, 2), out, targets


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mixup_of_the_same_parts_and_partners_is_timms_bit_for_bit(monkeypatch, seed):
    images, labels, part, _, expected, targets = timms("mixup", monkeypatch, seed)
    partner = torch.arange(8).flip(0)

    assert torch.equal(blend(images, partner, part), expected)
    assert torch.equal(mixed_labels(labels, partner, part, classes=CLASSES), targets)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cutmix_of_the_same_parts_places_and_partners_is_timms_bit_for_bit(monkeypatch, seed):
    images, labels, part, middles, expected, targets = timms("cutmix", monkeypatch, seed)
    partner = torch.arange(8).flip(0)

    boxes = boxes_of_area(middles[:, 0], middles[:, 1], 1 - part, height=32, width=32)

    assert torch.equal(paste_box(images, partner, boxes), expected)
    labelled = mixed_labels(labels, partner, 1 - boxes.share(32, 32), classes=CLASSES)
    assert torch.equal(labelled, targets)


def test_timms_target_is_the_mixed_label_of_a_part():
    labels, part = torch.tensor([0, 3, 3]), torch.tensor([0.25, 1.0, 0.7])

    found = mixed_labels(labels, torch.tensor([2, 1, 0]), part, classes=CLASSES)

    assert torch.equal(found, mixup_target(labels, CLASSES, part[:, None]))
    assert found[0].tolist() == [0.25, 0, 0, 0.75, 0]


@pytest.mark.parametrize("name", MIXING)
def test_a_lone_image_stays_itself(name):
    row, given = MIXING[name], batch_of(1)

    out = row.apply(given, draws_of(row, 1), task())

    assert torch.equal(out.images, given.images)
    assert out.mixed is None


@pytest.mark.parametrize("name", MIXING)
@pytest.mark.parametrize("shape", [(16, 16), (17, 30), (64, 16)])
def test_any_size_of_image_is_mixed_and_its_label_is_one_image_worth(name, shape):
    row = MIXING[name]
    given = Batch(images_of(6, 64)[:, :, : shape[0], : shape[1]], torch.arange(6) % CLASSES)

    for extreme in (draws_of(row, 6), torch.zeros(6, row.columns), torch.full((6, row.columns), 1 - 2.0**-24)):
        out = row.apply(given, extreme, task())

        assert out.images.shape == given.images.shape
        assert out.images.isfinite().all()
        assert 0 <= out.images.min() <= out.images.max() <= 1 + 1e-6
        assert out.mixed is None or torch.allclose(out.mixed.sum(1), torch.ones(6))


@pytest.mark.parametrize("name", BLENDS)
def test_equal_images_stay_themselves_when_they_are_blended(name):
    row = MIXING[name]
    same = images_of(1).expand(6, -1, -1, -1)

    out = row.apply(Batch(same, torch.arange(6) % CLASSES), draws_of(row, 6), task())

    torch.testing.assert_close(out.images, same, atol=1e-6, rtol=0)


def test_mixup_blends_image_and_label_by_hand():
    draws = torch.tensor([[0.1, 0.25], [0.2, 1 - 0.125]])  # two images: each is the other's partner

    out = MIXING["mixup"].apply(Batch(squares(2), torch.tensor([1, 4])), draws, task())

    assert out.images[:, 0, 0, 0].tolist() == [0.75, 0.875]
    assert out.mixed.tolist() == [[0, 0.25, 0, 0, 0.75], [0, 0.125, 0, 0, 0.875]]
    assert out.labels.tolist() == [1, 4]


def test_cutmix_pastes_a_box_cut_at_the_border_by_hand():
    draws = torch.tensor([[0.1, 0.75, 0.5, 0.5], [0.2, 0.75, 0.0, 0.99]])  # a quarter; around (2, 2) and around (0, 3)

    out = MIXING["cutmix"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    assert out.images[0, 0].tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert out.images[1, 0].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert out.mixed[:, :2].tolist() == [[0.75, 0.25], [0.125, 0.875]]


def test_a_small_image_is_the_bilinear_one_of_torch():
    images = images_of(2)
    boxes = Boxes(*(torch.tensor(edge) for edge in ([3, 0], [13, 25], [5, 1], [29, 2])))

    out = paste_small(images, torch.tensor([1, 0]), boxes)

    for image, (high, wide), (top, left) in ((0, (10, 24), (3, 5)), (1, (25, 1), (0, 1))):
        small = F.interpolate(images[1 - image][None], (high, wide), mode="bilinear", align_corners=False)[0]
        expected = images[image].clone()
        expected[:, top : top + high, left : left + wide] = small
        torch.testing.assert_close(out[image], expected, atol=1e-5, rtol=0)


def test_resizemix_puts_the_whole_other_image_within_this_one_by_hand():
    draws = torch.tensor([[0.1, 4 / 7 + 1e-6, 0.99, 0.0], [0.2, 0.0, 0.0, 0.5]])  # sides of 0.5 and of 0.1, at least 1

    out = MIXING["resizemix"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    assert out.images[0, 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert out.images[1, 0].tolist() == [[1, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert out.mixed[:, :2].tolist() == [[0.75, 0.25], [1 / 16, 15 / 16]]


def test_ricap_sets_four_crops_side_by_side_by_hand():
    images = torch.arange(4 * 16, dtype=torch.float32).view(4, 1, 4, 4).expand(4, 3, 4, 4)
    sources = torch.tensor([[0, 1, 2, 3]] * 4)
    point = torch.tensor([3, 0, 4, 2]), torch.tensor([1, 0, 4, 2])
    first = torch.zeros(4, 4)
    last = torch.full((4, 4), 1 - 2.0**-24)

    out, parts = patched(images, sources, point, first, last)

    assert out[0, 0].tolist() == [[3, 17, 18, 19], [7, 21, 22, 23], [11, 25, 26, 27], [35, 49, 50, 51]]
    assert torch.equal(out[1], images[3])
    assert torch.equal(out[2], images[0])
    assert out[3, 0].tolist() == [[2, 3, 18, 19], [6, 7, 22, 23], [34, 35, 50, 51], [38, 39, 54, 55]]
    assert (parts * 16).tolist() == [[3, 9, 1, 3], [0, 0, 0, 16], [16, 0, 0, 0], [4, 4, 4, 4]]


def test_ricap_starts_with_the_images_own_crop():
    row = MIXING["ricap"]
    draws = draws_of(row, 5)
    draws[:, 3:5] = 0.5  # the point is the middle

    out = row.apply(Batch(squares(5, 16) / 8, torch.arange(5)), draws, task())

    assert torch.equal(out.images[:, 0, 0, 0] * 8, torch.arange(5.0))
    assert (out.mixed.diagonal() >= 0.25).all()


def test_samplepairing_averages_or_leaves_alone_and_keeps_the_label_whole():
    draws = torch.tensor([[0.1, 0.79], [0.2, 0.81]])

    out = MIXING["samplepairing"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    assert out.images[:, 0, 0, 0].tolist() == [0.5, 1.0]
    assert out.mixed is None


def test_smoothmix_is_a_spot_around_its_middle_by_hand():
    draws = torch.tensor([[0.1, 0.0, 0.5, 0.5], [0.2, 1.0, 0.5, 0.5]])

    out = MIXING["smoothmix"].apply(Batch(squares(2), torch.tensor([0, 1])), draws, task())

    away = torch.tensor([-1.5, -0.5, 0.5, 1.5])
    spots = [torch.exp(-(away[:, None] ** 2 + away**2) / (2 * deviation**2)) for deviation in (1.0, 2.0)]
    torch.testing.assert_close(out.images[0, 0], spots[0])
    torch.testing.assert_close(out.images[1, 0], 1 - spots[1])
    torch.testing.assert_close(out.mixed[:, 1], torch.stack((spots[0].mean(), 1 - spots[1].mean())))


def test_a_cow_mask_is_smoothed_noise_below_a_level_by_hand():
    noise = torch.tensor([[[4.0, -1, 0, 0], [0, 0, 0, 2], [1, 0, 0, 0], [0, -3, 0, 0]]])

    mask = cow_mask(noise, torch.tensor([0.7]), torch.tensor([0.3]))

    kernel = torch.exp(-0.5 * ((torch.arange(4)[:, None] - torch.arange(4)) / 0.7) ** 2)
    smooth = torch.einsum("yr,xc,rc->yx", kernel, kernel, noise[0])
    level = smooth.mean() + smooth.std(correction=0) * scipy.stats.norm.ppf(0.3)
    assert torch.equal(mask[0], (smooth <= level).float())
    assert 0 < mask.mean() < 1


def test_cow_masks_have_the_area_they_were_given_on_average_and_are_smooth():
    noise = torch.randn(400, 32, 32, generator=torch.Generator().manual_seed(0))

    fine = cow_mask(noise, torch.full((400,), 2.0), torch.full((400,), 0.3))
    coarse = cow_mask(noise, torch.full((400,), 8.0), torch.full((400,), 0.3))

    assert abs(fine.mean() - 0.3) < 0.01
    edges = [(mask[:, 1:] != mask[:, :-1]).float().mean() for mask in (fine, coarse)]
    assert edges[1] < edges[0] / 2 < 0.1


def test_remix_gives_the_rare_class_the_whole_label_in_each_of_the_three_cases():
    part = torch.tensor([0.4, 0.6, 0.4, 0.6, 0.4, 0.5])
    count = torch.tensor([30, 30, 10, 10, 29, 30])
    other = torch.tensor([10, 10, 30, 30, 10, 10])

    found = mixing.rebalanced(part, count, other)

    torch.testing.assert_close(found, torch.tensor([0.0, 0.6, 0.4, 1.0, 0.4, 0.5]))


def test_remix_blends_as_mixup_and_labels_by_the_counts_of_the_classes():
    draws = torch.tensor([[0.1, 0.25], [0.2, 0.875]])
    given = Batch(squares(2), torch.tensor([0, 1]))

    out = MIXING["remix"].apply(given, draws, task((90, 30, 1, 1, 1)))

    assert torch.equal(out.images, MIXING["mixup"].apply(given, draws, task()).images)
    assert out.mixed[:, :2].tolist() == [[0, 1], [0, 1]]
    assert torch.equal(
        MIXING["remix"].apply(given, draws, task()).mixed, MIXING["mixup"].apply(given, draws, task()).mixed
    )


@pytest.mark.parametrize("alpha", [mixing.MIXUP_ALPHA, mixing.CUTMIX_ALPHA, mixing.RICAP_BETA])
def test_parts_have_the_distribution_of_the_paper(alpha):
    draws = torch.rand(4000, generator=torch.Generator().manual_seed(0))

    assert scipy.stats.kstest(beta(draws, alpha).numpy(), scipy.stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("name", "own"), [("mixup", 0.5), ("resizemix", 1 - (0.8**3 - 0.1**3) / 3 / 0.7), ("ricap", 0.25)]
)
def test_over_many_images_the_own_part_of_a_label_is_that_of_the_paper(name, own):
    row, count = MIXING[name], 1000
    given = Batch(torch.zeros(1, 3, 64, 64).expand(count, -1, -1, -1), torch.arange(count))

    out = row.apply(given, draws_of(row, count), task((1,) * count))

    assert abs(out.mixed.diagonal().mean() - own) < 0.02
