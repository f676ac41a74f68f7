"""Augmentation policies as torchvision computes them, each image under its own seed."""

import pytest
import torch
from torchvision.transforms import v2

from proxy_attention.augment.batch import Batch
from proxy_attention.augment.policies import POLICIES, aug_mix, each_alone, rand_augment, trivial_augment

TRANSFORMS = {"randaugment": rand_augment, "trivialaugment": trivial_augment, "augmix": aug_mix}


@pytest.fixture(scope="module")
def images(sample):
    return sample.images[:12].float() / 255


def draws(count, seed=7):
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))


def apply(name, images, draws):
    return POLICIES[name].apply(Batch(images, torch.zeros(len(images), dtype=torch.int64)), draws, None).images


def test_every_row_has_a_transform_of_torchvision():
    assert sorted(TRANSFORMS) == sorted(POLICIES)


@pytest.mark.parametrize("name", POLICIES)
def test_an_image_becomes_what_torchvision_makes_of_it_under_its_seed(name, images):
    out = apply(name, images[:1], torch.tensor([[0.5, 0.25]]))

    torch.manual_seed(2**23 * 2**24 + 2**22)  # of the two draws, 24 bits each
    expected = TRANSFORMS[name]()((images[0] * 255).round().to(torch.uint8))
    assert torch.equal(out[0], expected.float() / 255)


@pytest.mark.parametrize("name", POLICIES)
def test_an_image_does_not_change_with_its_batch(name, images):
    seeds = draws(len(images))

    together = apply(name, images, seeds)

    assert torch.equal(together, torch.cat([apply(name, images[i : i + 1], seeds[i : i + 1]) for i in range(12)]))
    assert torch.equal(together.flip(0), apply(name, images.flip(0), seeds.flip(0)))


@pytest.mark.parametrize("name", POLICIES)
def test_the_global_generator_neither_decides_nor_moves(name, images):
    torch.manual_seed(0)
    one = apply(name, images, draws(12))
    after = torch.rand(3)
    torch.manual_seed(0)
    expected = torch.rand(3)
    other = apply(name, images, draws(12))

    assert torch.equal(after, expected)
    assert torch.equal(one, other)


@pytest.mark.parametrize("column", [0, 1])
def test_both_draws_make_the_seed(column, images):
    few = torch.full((12, 2), 0.5)
    many = few.clone()
    many[:, column] = torch.arange(12) * 2.0**-24

    one = each_alone(trivial_augment(), images[:1].expand(12, -1, -1, -1), few)
    other = each_alone(trivial_augment(), images[:1].expand(12, -1, -1, -1), many)

    assert (one == one[0]).all()
    assert len({image.numpy().tobytes() for image in other}) > 6


def test_pixels_keep_their_255_steps_and_others_are_rounded_to_them():
    steps = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, -1, -1).float() / 255
    between = (steps + 0.4 / 255).clamp(max=1)

    assert torch.equal(each_alone(v2.Identity(), steps, draws(1)), steps)
    assert torch.equal(each_alone(v2.Identity(), between, draws(1)), steps)


def test_a_failing_transform_leaves_the_global_generator_as_it_was(images):
    before = torch.random.get_rng_state()

    with pytest.raises(RuntimeError):
        each_alone(lambda image: image.view(-1), images, draws(12))

    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 40)])
@pytest.mark.parametrize("name", POLICIES)
def test_images_of_any_shape_are_changed(name, height, width):
    images = torch.rand(8, 3, height, width, generator=torch.Generator().manual_seed(0))

    out = apply(name, images, draws(8))

    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert ((out - images).abs().amax((1, 2, 3)) > 0.05).any()


def test_the_operations_are_those_of_the_papers():
    mix, two, one = aug_mix(), rand_augment(), trivial_augment()

    assert (mix.severity, mix.mixture_width, mix.chain_depth, mix.alpha, mix.all_ops) == (3, 3, -1, 1.0, False)
    assert len(mix._PARTIAL_AUGMENTATION_SPACE) == 9
    assert (two.num_ops, two.magnitude, two.num_magnitude_bins, len(two._AUGMENTATION_SPACE)) == (2, 9, 31, 14)
    assert (one.num_magnitude_bins, len(one._AUGMENTATION_SPACE)) == (31, 14)
