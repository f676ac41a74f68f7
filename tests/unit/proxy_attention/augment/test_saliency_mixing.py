"""Augmentations that mix images by their saliency: by hand."""

import pytest
import torch

from proxy_attention.augment.batch import Batch, Task
from proxy_attention.augment.saliency_mixing import GREY, PUZZLE_BLOCKS, SALIENCY_MIXING, SURROUNDS, fine_grained

CLASSES = 5


class Planted:
    """A model whose gradients are known beforehand."""

    def __init__(self, gradients=None):
        self.planted = gradients
        self.asked = []

    def gradients(self, images, labels):
        self.asked.append((images, labels))
        return torch.ones_like(images[:, 0]) if self.planted is None else self.planted


def task(gradients=None):
    return Task(torch.full((CLASSES,), 10), Planted(gradients))


def draws_of(row, count, seed=1):
    return torch.rand(count, row.columns, generator=torch.Generator().manual_seed(seed))


def squares(count, size):
    """Images whose pixels are all their own number, in eighths."""
    return (torch.arange(count) / 8)[:, None, None, None].expand(count, 3, size, size)


def test_a_pixel_is_salient_as_far_as_it_differs_from_its_surrounds():
    image = torch.rand(1, 3, 20, 17, generator=torch.Generator().manual_seed(0))
    grey = sum(image[0, channel] * weight for channel, weight in enumerate(GREY))
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    for _ in range(2):
        around = torch.nn.functional.pad(grey[None, None], (1, 1, 1, 1), mode="reflect")[0, 0]
        grey = torch.einsum("yxij,i,j->yx", around.unfold(0, 3, 1).unfold(1, 3, 1), kernel, kernel)
    brighter, darker = torch.zeros(20, 17), torch.zeros(20, 17)
    for y, x, reach in ((y, x, reach) for y in range(20) for x in range(17) for reach in SURROUNDS):
        square = grey[max(y - reach + 1, 0) : y + reach + 1, max(x - reach + 1, 0) : x + reach + 1]
        difference = grey[y, x] - (square.sum() - grey[y, x]) / (square.numel() - 1)
        brighter[y, x] += difference.clamp(min=0)
        darker[y, x] += (-difference).clamp(min=0)

    expected = brighter / brighter.max() + darker / darker.max()

    torch.testing.assert_close(fine_grained(image)[0], expected, atol=1e-4, rtol=0)


def spotted(size=40):
    """Two grey images, each with a bright square beside a dark one: at row 4 and at the lower right corner."""
    images = torch.full((2, 3, size, size), 0.5)
    images[0, :, 4:7, 6:9], images[0, :, 4:7, 9:12] = 1.0, 0.0
    images[1, :, -4:, -4:], images[1, :, -4:, -8:-4] = 0.0, 1.0
    return images


def test_the_most_salient_pixel_is_in_a_spot_brighter_or_darker_than_the_rest():
    images = spotted()

    peak = fine_grained(images).flatten(1).argmax(1)

    assert (images[:, 0].flatten(1).gather(1, peak[:, None]) != 0.5).all()


def test_a_black_image_has_no_saliency():
    assert torch.equal(fine_grained(torch.zeros(1, 3, 16, 16)), torch.zeros(1, 16, 16))


def test_saliencymix_pastes_the_box_around_the_others_peak_cut_at_the_border():
    images = spotted()
    peaks = [divmod(place, 40) for place in fine_grained(images).flatten(1).argmax(1).tolist()]
    draws = torch.tensor([[0.1, 0.75], [0.2, 0.75]])  # a quarter of each image: 20 by 20 pixels

    out = SALIENCY_MIXING["saliencymix"].apply(Batch(images, torch.tensor([0, 1])), draws, task())

    expected, shares = images.clone(), []
    for image, (row, column) in enumerate(reversed(peaks)):
        rows, columns = (slice(max(middle - 10, 0), min(middle + 10, 40)) for middle in (row, column))
        expected[image, :, rows, columns] = images[1 - image, :, rows, columns]
        shares.append((rows.stop - rows.start) * (columns.stop - columns.start) / 1600)
    assert torch.equal(out.images, expected)
    assert max(shares) < 0.25  # both are cut
    assert out.mixed[0, :2].tolist() == pytest.approx([1 - shares[0], shares[0]])
    assert out.mixed[1, :2].tolist() == pytest.approx([shares[1], 1 - shares[1]])


@pytest.mark.parametrize("name", SALIENCY_MIXING)
@pytest.mark.parametrize(("count", "shape"), [(9, (16, 16)), (2, (17, 30)), (3, (48, 16))])
def test_any_number_and_size_of_images_is_mixed_and_a_label_is_one_image_worth(name, count, shape):
    row = SALIENCY_MIXING[name]
    images = torch.rand(count, 3, *shape, generator=torch.Generator().manual_seed(0))
    given = Batch(images, torch.arange(count) % CLASSES)

    for extreme in (
        draws_of(row, count),
        torch.zeros(count, row.columns),
        torch.full((count, row.columns), 1 - 2**-24),
    ):
        out = row.apply(given, extreme, task())

        assert out.images.shape == given.images.shape
        assert out.images.isfinite().all()
        assert 0 <= out.images.min() <= out.images.max() <= 1 + 1e-6
        assert torch.allclose(out.mixed.sum(1), torch.ones(count))


@pytest.mark.parametrize("name", SALIENCY_MIXING)
def test_a_lone_image_stays_itself_and_no_model_is_asked(name):
    given, asked = Batch(torch.rand(1, 3, 16, 16), torch.tensor([2])), task()

    out = SALIENCY_MIXING[name].apply(given, draws_of(SALIENCY_MIXING[name], 1), asked)

    assert torch.equal(out.images, given.images)
    assert out.mixed is None
    assert not asked.saliency.asked


def test_puzzlemix_shows_the_salient_half_of_each_image():
    gradients = torch.zeros(8, 32, 32)
    gradients[::2, :, :16] = gradients[1::2, :, 16:] = 1.0  # left in even images, right in odd ones
    draws = torch.full((8, 3), 0.5)
    draws[:, 0] = torch.arange(8) / 8  # a ring in order: even and odd are partners
    draws[:, 2] = torch.arange(8) / 8

    out = SALIENCY_MIXING["puzzlemix"].apply(Batch(squares(8, 32), torch.arange(8) % CLASSES), draws, task(gradients))

    own = (torch.arange(8) / 8)[:, None, None]
    left = out.images[:, 0, :, :16]
    right = out.images[:, 0, :, 16:]
    assert torch.equal(torch.where(own * 8 % 2 == 0, left, right), own.expand(-1, 32, 16))
    assert torch.equal(torch.where(own * 8 % 2 == 0, right, left), own.roll(1, 0).expand(-1, 32, 16))
    assert out.mixed[0, :4].tolist() == [0.5, 0, 0.5, 0]  # image 0 and its partner 7, of class 2


def test_puzzlemix_moves_a_hidden_salient_block_into_sight():
    images, gradients = squares(2, 32).clone(), torch.zeros(2, 32, 32)
    images[:, 0, :8, :8] = torch.tensor([0.5, 0.75])[:, None, None]
    gradients[1] = 0.4 / 15
    gradients[:, :8, :8] = torch.tensor([1.0, 0.6])[:, None, None]  # of the first image more in the very same block
    draws = torch.tensor([[0.1, 0.5, 0.2], [0.2, 0.5, 0.1]])  # the first image has the grid of 4 by 4

    out = SALIENCY_MIXING["puzzlemix"].apply(Batch(images, torch.tensor([0, 1])), draws, task(gradients))

    assert (out.images[0, 0, :8, :8] == 0.5).all()
    assert (out.images[0, 0] == 0.75).sum() == 64
    assert out.mixed[0, :2].tolist() == [1 / 16, 15 / 16]


def test_puzzlemix_asks_once_for_the_images_own_classes_and_uses_every_grid():
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels, asked = torch.arange(16) % CLASSES, task(torch.rand(16, 32, 32, generator=torch.Generator().manual_seed(1)))
    row = SALIENCY_MIXING["puzzlemix"]

    out = row.apply(Batch(images, labels), draws_of(row, 16), asked)

    assert len(asked.saliency.asked) == 1
    assert torch.equal(asked.saliency.asked[0][0], images)
    assert torch.equal(asked.saliency.asked[0][1], labels)
    assert row.passes > 0
    assert len(PUZZLE_BLOCKS) == 4
    assert not torch.equal(out.images, images)
