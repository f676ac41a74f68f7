"""Replacements, scopes and masks, every pair of them, through the whole path from a recipe to the pixels of a proxy."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from proxy_attention import seeds
from proxy_attention.proxies.masks import MASKS, UNTRAINED
from proxy_attention.proxies.replacement import NEED_STATISTICS, REPLACEMENTS, SCOPES
from proxy_attention.proxies.scoring import clean_scores
from proxy_attention.proxies.step import Recipe, apply_recipe, proxy_step
from proxy_attention.saliency.maps import scale, upsample

COUNT = 8


def pairs_of(combination):
    """The pairs of values, by position, that a combination holds."""
    return set(itertools.combinations(enumerate(combination), 2))


def pairwise(*tables, seed=0):
    """A few combinations that hold every pair of values of two tables, each chosen for the most missing pairs."""
    every = list(itertools.product(*tables))
    random.Random(seed).shuffle(every)
    missing, chosen = set().union(*map(pairs_of, every)), []
    while missing:
        best = max(every, key=lambda combination: len(pairs_of(combination) & missing))
        chosen.append(best)
        missing -= pairs_of(best)
    return chosen


COMBINATIONS = pairwise(REPLACEMENTS, SCOPES, MASKS)


def place(number):
    """A known place of each image: a box that moves with its number, in a picture of twice the height."""
    region = np.zeros((64, 32), dtype=bool)
    region[2 * (number % 20) : 2 * (number % 20) + 14, number % 17 : number % 17 + 9] = True
    return region


@pytest.fixture(scope="module")
def real(config, small, trained, training_set_of):
    """Eight wrong images, their training set, and by mask the recipe of a step that replaces them. Read only.

    The sample is grey and its darkest pixel is always black: each channel is scaled and each image lifted on its own.
    """
    trial = config()
    lift = (torch.arange(len(small)) * 37 % 50).view(-1, 1, 1, 1)
    tinted = (small.images * torch.tensor([0.8, 0.6, 0.4]).view(3, 1, 1) + lift).to(torch.uint8)
    training_set = training_set_of(trial, dataclasses.replace(small, images=tinted))
    given = clean_scores(trained, training_set, trial)
    wrong = torch.zeros_like(given.wrong)
    wrong[given.wrong.nonzero().flatten()[:COUNT]] = True
    given = dataclasses.replace(given, wrong=wrong)
    recipes = {}
    for mask in MASKS:
        scores = dataclasses.replace(given, maps=None) if mask == UNTRAINED else given
        recipes[mask] = proxy_step(trained, training_set, scores, config(mask=mask), step=1, region=place).recipe
    return training_set, recipes


@pytest.fixture
def made(config, real):
    """Follow the recipe of a mask under these fields; the step that it makes."""
    training_set, recipes = real

    def make(name, scope, mask, *, recipe=None, images=training_set, **fields):
        trial = config(
            replacement=name, scope=scope, mask=mask, **{"threshold": 0.4, "weight": 0.7, "batch_size": COUNT, **fields}
        )
        return apply_recipe(recipe or recipes[mask], images, trial)

    return make


def pixels(step):
    return step.training_set.proxies.pixels


def part(recipe, rows):
    """The recipe of some of its images."""
    return Recipe(recipe.step, recipe.ids[rows], recipe.predicted[rows], recipe.maps[rows])


def looks(scope, images, everything):
    """What a scope's statistics are taken over: for each image (values, 3)."""
    if scope == "image":
        return [image.reshape(3, -1).T for image in images]
    joined = images if scope == "batch" else everything
    return [joined.transpose(0, 2, 3, 1).reshape(-1, 3)] * len(images)


def laid_over(name, image, values, number):
    """What a replacement other than multiply puts in the place of an image, in numpy and from its words."""
    flat = np.ones_like(image)
    of = {
        "mean": lambda: values.mean(0)[:, None, None] * flat,
        "max": lambda: values.max(0)[:, None, None] * flat,
        "min": lambda: values.min(0)[:, None, None] * flat,
        "halfmax": lambda: values.max(0)[:, None, None] * flat / 2,
        "black": lambda: 0 * flat,
        "white": lambda: flat,
        "blur": lambda: np.stack([gaussian_filter(channel, sigma=2, mode="mirror", radius=6) for channel in image]),
        "noise": lambda: np.clip(
            values.mean(0)[:, None, None]
            + values.std(0)[:, None, None]
            * torch.randn(image.shape, generator=seeds.stream(3, "proxy-noise", 1, number)).numpy(),
            0,
            1,
        ),
    }
    return of[name]()


def expected(name, scope, step, training_set, *, threshold, weight):
    """Proxies from their originals and maps, one image after the other, in grey levels."""
    everything = training_set.originals(training_set.train).numpy() / 255
    images = step.examples.originals.numpy() / 255
    found = []
    for image, shown, number, values in zip(
        images,
        step.examples.maps.numpy(),
        step.examples.ids.tolist(),
        looks(scope, images, everything),
        strict=True,
    ):
        if name == "multiply":
            changed = (1 - weight * shown) * image
        else:
            changed = (1 - weight) * image + weight * laid_over(name, image, values, number)
        found.append(np.where(shown >= threshold, changed, image))
    return np.stack(found) * 255


def test_the_combinations_hold_every_pair_of_values(real):
    every = itertools.product(REPLACEMENTS, SCOPES, MASKS)
    held = set().union(*map(pairs_of, COMBINATIONS))

    assert held == set().union(*map(pairs_of, every))
    assert 9 * 6 <= len(COMBINATIONS) < 9 * 3 * 6
    assert all(len(recipe.ids) == COUNT for recipe in real[1].values())


@pytest.mark.parametrize(("name", "scope", "mask"), COMBINATIONS)
def test_a_proxy_is_what_its_replacement_its_scope_and_its_map_say(made, real, name, scope, mask):
    before = real[0].originals(real[0].train)

    step = made(name, scope, mask)

    assert pixels(step).shape == (COUNT, 3, 32, 32)
    assert pixels(step).dtype == torch.uint8
    assert torch.equal(pixels(step), step.examples.proxies)
    assert step.examples.maps.isfinite().all()
    assert step.examples.maps.min() >= 0
    assert step.examples.maps.max() <= 1
    below = (step.examples.maps < 0.4)[:, None].expand(-1, 3, -1, -1)
    assert below.any()
    assert (~below).any()
    assert torch.equal(pixels(step)[below], step.examples.originals[below])
    wanted = expected(name, scope, step, real[0], threshold=0.4, weight=0.7)
    assert np.abs(pixels(step).numpy() - wanted).max() < 0.51
    assert torch.equal(real[0].originals(real[0].train), before)
    assert len(real[0].proxies) == 0


@pytest.mark.parametrize(("name", "scope", "mask"), COMBINATIONS)
def test_nothing_changes_at_weight_zero_whatever_the_mask(made, name, scope, mask):
    step = made(name, scope, mask, weight=0.0, threshold=0.0)

    assert torch.equal(pixels(step), step.examples.originals)


@pytest.mark.parametrize(("name", "scope", "mask"), COMBINATIONS)
def test_the_same_seed_gives_the_same_proxies_and_another_seed_what_is_drawn_anew(made, name, scope, mask):
    one, again, other = (made(name, scope, mask, seed=seed) for seed in (3, 3, 4))

    assert torch.equal(pixels(one), pixels(again))
    assert torch.equal(one.examples.maps, again.examples.maps)
    # the maps of an untrained model are drawn before: its recipe holds them
    assert torch.equal(one.examples.maps, other.examples.maps) is (mask not in ("random", "other"))
    assert torch.equal(pixels(one), pixels(other)) is (name != "noise" and mask not in ("random", "other"))


@pytest.mark.parametrize(("name", "scope", "mask"), COMBINATIONS)
def test_a_proxy_depends_on_its_batch_if_its_scope_is_the_batch_and_else_never(made, name, scope, mask):
    together, alone = (made(name, scope, mask, batch_size=size) for size in (COUNT, 1))

    depends = scope == "batch" and name in NEED_STATISTICS
    assert torch.equal(together.examples.maps, alone.examples.maps)
    assert torch.equal(pixels(together), pixels(alone)) is not depends


@pytest.mark.parametrize(
    ("name", "scope", "mask"),
    [(name, scope, mask) for name, scope, mask in COMBINATIONS if scope != "batch" and mask != "other"],
)
def test_a_proxy_is_the_same_whichever_other_images_were_chosen(made, real, name, scope, mask):
    many = made(name, scope, mask)

    few = [made(name, scope, mask, recipe=part(real[1][mask], [row])) for row in range(COUNT)]

    assert torch.equal(pixels(many), torch.cat([pixels(step) for step in few]))


@pytest.mark.parametrize(("name", "scope", "mask"), COMBINATIONS)
def test_a_map_of_zeros_is_counted_and_changes_nothing(made, real, name, scope, mask):
    recipe = dataclasses.replace(real[1][mask], maps=torch.zeros_like(real[1][mask].maps))

    step = made(name, scope, mask, recipe=recipe, weight=1.0, threshold=0.01)

    assert step.flat == COUNT
    assert torch.equal(pixels(step), step.examples.originals)


@pytest.mark.parametrize(("name", "scope", "mask"), COMBINATIONS)
def test_a_plain_image_has_a_plain_proxy(config, small, training_set_of, made, name, scope, mask):
    """Statistics without a spread and a blur without an edge: no number leaves the finite ones."""
    grey = dataclasses.replace(small, images=torch.full_like(small.images, 100))

    step = made(name, scope, mask, images=training_set_of(config(), grey), weight=1.0, threshold=0.4)

    marked = (step.examples.maps >= 0.4)[:, None].expand(-1, 3, -1, -1)
    found = pixels(step)[marked]
    assert marked.any()
    assert torch.equal(pixels(step)[~marked], torch.full_like(pixels(step), 100)[~marked])
    if name == "multiply":
        wanted = (100 * (1 - step.examples.maps[:, None].expand(-1, 3, -1, -1)[marked])).round()
        assert (found - wanted).abs().max() <= 1
    else:
        assert found.unique().tolist() == [{"black": 0, "white": 255, "halfmax": 50}.get(name, 100)]


def full(recipe):
    return scale(upsample(recipe.maps, 32))[0].numpy()


def test_the_mask_saliency_is_the_map_upsampled_and_scaled(made, real):
    np.testing.assert_array_equal(made("black", "image", "saliency").examples.maps, full(real[1]["saliency"]))


def test_the_mask_region_is_the_place_that_the_data_set_tells_whatever_the_threshold_and_the_smoothing(made, real):
    step = made("black", "image", "region", threshold=0.0, smoothing=2.0, weight=1.0)

    wanted = np.stack([place(number)[1::2] for number in real[1]["region"].ids.tolist()])
    np.testing.assert_array_equal(step.examples.maps, wanted)
    inside = torch.from_numpy(wanted)[:, None].expand(-1, 3, -1, -1)
    assert (pixels(step)[inside] == 0).all()
    assert torch.equal(pixels(step)[~inside], step.examples.originals[~inside])


def test_the_mask_random_is_the_map_rolled_by_the_offset_of_its_image(made, real):
    recipe = real[1]["random"]
    draws = seeds.table(real[0].dataset_size, 1, 3, "proxy-mask", 1)[recipe.ids, 0]

    shown = made("black", "image", "random").examples.maps

    for own, moved, draw in zip(full(recipe), shown, draws.tolist(), strict=True):
        rows, columns = divmod(1 + int(draw * 1023), 32)
        np.testing.assert_array_equal(moved, np.roll(own, (rows, columns), axis=(0, 1)))


def test_the_mask_other_is_the_map_of_another_chosen_image_each_used_once(made, real):
    own = full(real[1]["other"])

    shown = made("black", "image", "other").examples.maps.numpy()

    sources = [[row for row in range(COUNT) if np.array_equal(own[row], one)] for one in shown]
    assert all(len(found) == 1 for found in sources)
    assert sorted(found[0] for found in sources) == list(range(COUNT))
    assert all(found != [row] for row, found in enumerate(sources))


def test_the_mask_inverse_hands_the_values_out_in_reverse_rank(made, real):
    own = full(real[1]["inverse"])

    shown = made("black", "image", "inverse").examples.maps.numpy()

    for one, turned in zip(own.reshape(COUNT, -1), shown.reshape(COUNT, -1), strict=True):
        np.testing.assert_array_equal(turned[np.argsort(one, kind="stable")], np.sort(one)[::-1])
