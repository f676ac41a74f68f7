import dataclasses
import itertools

import pytest
import torch
from safetensors.torch import load, save

from proxy_attention.config import PROXY_FIELDS
from proxy_attention.data.training_set import SUBSTITUTES
from proxy_attention.proxies.masks import MASKS, changed_pixels
from proxy_attention.proxies.replacement import REPLACEMENTS, SCOPES
from proxy_attention.proxies.scoring import COLLECT, ORDERS, Scores, choose, clean_scores, online_scores
from proxy_attention.proxies.step import EXAMPLES, Recipe, apply_recipe, proxy_step
from proxy_attention.saliency.maps import EXPLAIN, low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import METHODS


def scores(wrong, losses=None, ids=None):
    count = len(wrong)
    return Scores(
        ids=torch.arange(count) * 2 if ids is None else ids,
        predicted=torch.zeros(count, dtype=torch.int64),
        losses=torch.zeros(count) if losses is None else torch.tensor(losses),
        wrong=torch.tensor(wrong, dtype=torch.bool),
    )


def only(found, *positions):
    """The same scores, with no other image wrong than these."""
    wrong = torch.zeros_like(found.wrong)
    wrong[list(positions)] = True
    return dataclasses.replace(found, wrong=wrong)


@pytest.mark.parametrize(
    ("subset", "wrong", "chosen"),
    [
        (1.0, 30, 30), (0.1, 30, 3), (0.1, 31, 4), (0.7, 10, 7), (0.29, 100, 29), (0.01, 1, 1), (0.5, 1, 1),
        (1 / 3, 9, 3), (1e-9, 30, 1), (0.07, 100, 7), (0.55, 100, 55), (0.5, 0, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("order", ORDERS)
def test_the_subset_is_rounded_up_and_exact(config, order, subset, wrong, chosen):
    found = choose(scores([True] * wrong + [False] * 40), config(subset=subset, order=order), step=0)

    assert len(found) == chosen
    assert (found < wrong).all()


@pytest.mark.parametrize(
    ("subset", "decay", "chosen"),
    [
        (1.0, 1.0, [100, 100, 100, 100]),
        (1.0, 0.5, [100, 50, 25, 13]),
        (0.7, 0.1, [70, 7, 1, 1]),  # in floats, 0.7 * 0.1 * 100 is above 7
        (0.5, 0.9, [50, 45, 41, 37]),  # 40.5 and 36.45
        (1e-9, 1e-9, [1, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("order", ORDERS)
def test_each_planned_step_chooses_fewer_exactly_and_one_at_least(config, order, subset, decay, chosen):
    trial = config(schedule="p,p,p,p", subset=subset, subset_decay=decay, order=order)
    given = scores([True] * 100 + [False] * 40)

    found = [choose(given, trial, step=step) for step in range(4)]

    assert [len(part) for part in found] == chosen
    assert all(len(choose(scores([False] * 9), trial, step=step)) == 0 for step in range(4))


@pytest.mark.parametrize(("order", "expected"), [("hardest", [1, 4]), ("first", [1, 3])])
def test_an_order_chooses_among_the_wrong_images_only(config, order, expected):
    given = scores([False, True, False, True, True], losses=[9.0, 3.0, 8.0, 1.0, 2.0])

    assert choose(given, config(order=order, subset=0.6), step=0).tolist() == expected


@pytest.mark.parametrize("order", ORDERS)
def test_a_smaller_subset_is_a_part_of_a_larger_one(config, order):
    given = scores([True, False] * 40, losses=torch.rand(80, generator=torch.Generator().manual_seed(0)).tolist())

    chosen = [set(choose(given, config(order=order, subset=s), step=0).tolist()) for s in (0.1, 0.3, 0.8, 1.0)]

    assert [len(part) for part in chosen] == [4, 12, 32, 40]
    assert chosen[0] < chosen[1] < chosen[2] < chosen[3]


@pytest.mark.parametrize("order", ORDERS)
def test_choosing_is_ascending_and_repeatable(config, order):
    given = scores([True] * 60)

    found = choose(given, config(order=order, subset=0.5), step=1)

    assert found.tolist() == sorted(found.tolist())
    assert torch.equal(found, choose(given, config(order=order, subset=0.5), step=1))


def test_a_random_choice_follows_seed_and_step(config):
    given = scores([True] * 60)

    found = {
        tuple(choose(given, config(subset=0.5, seed=seed), step=step).tolist()) for seed in (0, 1) for step in (0, 1)
    }

    assert len(found) == 4


def test_a_random_choice_is_no_run_of_the_first_or_the_last(config):
    found = choose(scores([True] * 100), config(subset=0.5), step=0)

    assert 15 < (found < 50).sum() < 35


def test_clean_scores_are_those_of_the_originals_in_eval_mode(config, small, trained, training_set_of):
    trial = config()
    training_set = training_set_of(trial, small)
    trained.module.train()

    found = clean_scores(trained, training_set, trial)

    with torch.no_grad():
        logits = trained(small.images[training_set.train].float() / 255)
    labels = small.labels[training_set.train]
    assert torch.equal(found.ids, training_set.train)
    assert torch.equal(found.predicted, logits.argmax(1))
    assert torch.equal(found.wrong, logits.argmax(1) != labels)
    torch.testing.assert_close(found.losses, torch.nn.functional.cross_entropy(logits, labels, reduction="none"))
    assert 0 < found.wrong.sum() < len(labels)


def test_clean_scores_look_at_originals_even_where_proxies_stand(config, small, trained, training_set_of):
    trial = config(replacement="black", threshold=0.0, weight=1.0)
    before = training_set_of(trial, small)
    first = clean_scores(trained, before, trial)
    after = proxy_step(trained, before, first, trial, step=0).training_set

    again = clean_scores(trained, after, trial)

    assert len(after.active_ids)
    assert torch.equal(again.losses, first.losses)


def test_online_scores_are_what_the_epoch_saw(config, tiny, training_set_of):
    training_set = training_set_of(config(), tiny)
    count = len(training_set)
    predicted, losses, correct = torch.arange(count) % 10, torch.arange(count) / 10, torch.arange(count) % 3 == 0

    found = online_scores(training_set, predicted=predicted, losses=losses, correct=correct)

    assert torch.equal(found.ids, training_set.train)
    assert torch.equal(found.predicted, predicted)
    assert torch.equal(found.losses, losses)
    assert torch.equal(found.wrong, ~correct)


def test_online_an_image_with_two_slots_is_wrong_if_either_was_and_speaks_with_the_wrong_voice(
    config, tiny, training_set_of
):
    plain = training_set_of(config(substitute="add"), tiny)
    ids = plain.train[[1, 2, 3, 4]]
    both = plain.with_proxies(dataclasses.replace(plain.proxies, ids=ids, pixels=tiny.images[ids]))
    count = len(plain)
    correct = torch.ones(len(both), dtype=torch.bool)
    correct[[1, 2]] = False  # originals of the first and second proxy
    correct[[count, count + 2]] = False  # proxies of the first and third
    predicted = torch.arange(len(both))
    losses = torch.arange(len(both)) / 1.0

    found = online_scores(both, predicted=predicted, losses=losses, correct=correct)

    assert found.wrong.nonzero().flatten().tolist() == [1, 2, 3]
    assert found.predicted[[0, 1, 2, 3, 4]].tolist() == [0, 1, 2, count + 2, 4]
    assert found.losses[3] == count + 2
    assert predicted[3] == 3  # what was handed in is not written to


OPTIONS = {
    "saliency": tuple(name for name, method in METHODS.items() if method.one_pass or name in ("scorecam", "saliency")),
    "explain": tuple(EXPLAIN),
    "mask": tuple(MASKS),
    "replacement": tuple(REPLACEMENTS),
    "scope": SCOPES,
    "collect": COLLECT,
    "order": tuple(ORDERS),
    "substitute": SUBSTITUTES,
    "clear_every_step": (True, False),
    "compound": (True, False),
    "smoothing": (0.0, 1.5),
    "max_area": (0.0, 0.25, 1.0),
}
SETTINGS = [(field, value) for field, values in OPTIONS.items() for value in values]


@pytest.mark.parametrize(("field", "value"), SETTINGS)
@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_step_makes_as_many_proxies_as_images_are_wrong_under_every_setting(
    config, tiny, trained, training_set_of, field, value, wrong
):
    trial = config(**{field: value})
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), *range(3, 3 + wrong))

    step = proxy_step(trained, training_set, given, trial, step=0)

    assert (step.wrong, step.made) == (wrong, wrong)
    assert step.training_set.proxies.ids.tolist() == given.ids[3 : 3 + wrong].tolist()
    assert step.training_set.proxies.pixels.shape == (wrong, 3, 32, 32)
    assert step.training_set.proxies.pixels.dtype == torch.uint8
    assert step.examples.maps.shape == (wrong, 32, 32)
    assert step.examples.originals.shape == step.examples.proxies.shape == (wrong, 3, 32, 32)
    assert step.seconds > 0


def test_the_images_that_are_shown_are_named_with_their_class_and_with_what_misled(
    config, small, trained, training_set_of
):
    trial = config()
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    shown = proxy_step(trained, training_set, given, trial, step=0).examples

    first = given.wrong.nonzero().flatten()[:EXAMPLES]
    assert torch.equal(shown.ids, given.ids[first])
    assert torch.equal(shown.true, small.labels[shown.ids])
    assert torch.equal(shown.predicted, given.predicted[first])
    assert (shown.true != shown.predicted).all()


@pytest.mark.parametrize(("name", "scope"), list(itertools.product(REPLACEMENTS, SCOPES)))
def test_no_proxy_differs_from_its_original_at_weight_zero(config, tiny, trained, training_set_of, name, scope):
    trial = config(replacement=name, scope=scope, weight=0.0, threshold=0.0)
    training_set = training_set_of(trial, tiny)

    made = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    proxies = made.training_set.proxies
    assert len(proxies) > 0
    assert torch.equal(proxies.pixels, tiny.images[proxies.ids])


def test_a_proxy_is_its_original_turned_down_by_its_map(config, small, trained, training_set_of):
    trial = config(threshold=0.4, weight=0.8, batch_size=7)
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    proxies = proxy_step(trained, training_set, given, trial, step=0).training_set.proxies

    wrong = given.wrong
    originals = small.images[given.ids[wrong]].float() / 255
    low = low_resolution_maps(
        trained,
        originals,
        predicted=given.predicted[wrong],
        true=small.labels[given.ids[wrong]],
        saliency="gradcam",
        explain="predicted",
    )
    maps = scale(upsample(low, 32))[0]
    expected = torch.where((maps >= 0.4)[:, None], (1 - 0.8 * maps[:, None]) * originals, originals) * 255
    assert torch.equal(proxies.ids, given.ids[wrong])
    assert (proxies.pixels.float() - expected).abs().max() < 0.51
    assert (proxies.pixels != small.images[proxies.ids]).any(3).any(2).any(1).all()


@pytest.mark.parametrize("max_area", [0.0, 0.1, 0.5])
def test_no_more_of_an_image_is_changed_than_allowed(config, small, trained, training_set_of, max_area):
    trial = config(threshold=0.0, max_area=max_area, replacement="white", weight=1.0)
    training_set = training_set_of(trial, small)

    made = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    proxies = made.training_set.proxies
    changed = (proxies.pixels != small.images[proxies.ids]).any(1).sum((1, 2))
    assert made.made > 10
    assert changed.max() <= int(max_area * 1024)
    assert (changed.max() > 0) == (max_area > 0)


def test_a_control_changes_as_many_pixels_as_the_map_itself(config, small, trained, training_set_of):
    areas = {}
    for mask in ("saliency", "random", "inverse"):
        trial = config(mask=mask, threshold=0.4)
        training_set = training_set_of(trial, small)
        shown = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0).examples
        areas[mask] = changed_pixels(shown.maps, threshold=0.4, max_area=1.0).sum((1, 2)).tolist()

    assert areas["random"] == areas["saliency"] == areas["inverse"]
    assert min(areas["saliency"]) > 0


def test_controls_differ_from_the_map_and_from_each_other(config, small, trained, training_set_of):
    shown = {}
    for mask in MASKS:
        trial = config(mask=mask)
        training_set = training_set_of(trial, small)
        given = clean_scores(trained, training_set, trial)
        shown[mask] = proxy_step(trained, training_set, given, trial, step=0).examples.maps

    for one, other in itertools.combinations(MASKS, 2):
        assert (shown[one] != shown[other]).flatten(1).any(1).all()


def test_a_random_shift_follows_the_step(config, small, trained, training_set_of):
    trial = config(mask="random")
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    first, second = (proxy_step(trained, training_set, given, trial, step=step).examples.maps for step in (0, 1))

    assert not torch.equal(first, second)


def test_a_random_shift_of_an_image_does_not_depend_on_the_others(config, small, trained, training_set_of):
    trial = config(mask="random")
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    many = proxy_step(trained, training_set, only(given, *range(20)), trial, step=0).examples.maps
    few = proxy_step(trained, training_set, only(given, 2, 5), trial, step=0).examples.maps

    torch.testing.assert_close(few, many[[2, 5]], atol=1e-5, rtol=0)


def test_the_map_of_another_image_cannot_be_had_of_a_lone_one(config, tiny, trained, training_set_of):
    trial = config(mask="other", weight=1.0)
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), 4)

    step = proxy_step(trained, training_set, given, trial, step=0)

    assert (step.made, step.flat) == (1, 1)
    assert torch.equal(step.training_set.proxies.pixels, tiny.images[given.ids[[4]]])


def test_flat_maps_are_counted_and_change_nothing(config, tiny, trained, training_set_of):
    """The contrast of a class with itself is nothing: of three images, two that are right after all."""
    trial = config(explain="contrast", weight=1.0)
    training_set = training_set_of(trial, tiny)
    found = clean_scores(trained, training_set, trial)
    right, wrong = (~found.wrong).nonzero().flatten().tolist()[:2], found.wrong.nonzero().flatten().tolist()[:1]
    given = only(found, *right, *wrong)

    step = proxy_step(trained, training_set, given, trial, step=0)

    unchanged = (step.training_set.proxies.pixels == tiny.images[step.training_set.proxies.ids]).flatten(1).all(1)
    assert (step.made, step.flat) == (3, 2)
    assert torch.equal(step.training_set.proxies.ids[unchanged], found.ids[right])


@pytest.mark.parametrize(("compound", "generations"), [(False, 1), (True, 2)])
def test_compound_proxies_start_from_the_proxies_before(config, tiny, trained, training_set_of, compound, generations):
    trial = config(compound=compound, replacement="black", weight=0.5, threshold=0.0)
    training_set = training_set_of(trial, tiny)
    given = only(clean_scores(trained, training_set, trial), 0, 1, 2)
    for step in range(2):
        training_set = proxy_step(trained, training_set, given, trial, step=step).training_set

    expected = tiny.images[given.ids[:3]].float()
    for _ in range(generations):
        expected = (expected / 2).round()
    assert (training_set.proxies.pixels.float() - expected).abs().max() <= 1


@pytest.mark.parametrize(("clear", "kept"), [(True, [5, 6]), (False, [1, 2, 5, 6])])
def test_earlier_proxies_are_cleared_or_kept(config, tiny, trained, training_set_of, clear, kept):
    trial = config(clear_every_step=clear)
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)

    training_set = proxy_step(trained, training_set, only(given, 1, 2, 5), trial, step=0).training_set
    first = training_set.proxies
    trial = dataclasses.replace(trial, weight=0.9)
    training_set = proxy_step(trained, training_set, only(given, 5, 6), trial, step=1).training_set

    assert training_set.proxies.ids.tolist() == given.ids[kept].tolist()
    if not clear:
        assert torch.equal(training_set.proxies.pixels[:2], first.pixels[:2])  # not chosen again: as they were
    assert not torch.equal(training_set.proxies.pixels[-2], first.pixels[2])  # chosen again: the newer


def test_a_step_that_finds_nothing_wrong_clears_earlier_proxies_too(config, tiny, trained, training_set_of):
    trial = config()
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)
    training_set = proxy_step(trained, training_set, only(given, 1, 2), trial, step=0).training_set

    assert len(proxy_step(trained, training_set, only(given), trial, step=1).training_set.proxies) == 0


def test_examples_are_the_first_eight_proxies_of_the_step(config, small, trained, training_set_of):
    trial = config(batch_size=3)
    training_set = training_set_of(trial, small)

    step = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    proxies = step.training_set.proxies
    assert torch.equal(step.examples.ids, proxies.ids[:8])
    assert torch.equal(step.examples.originals, small.images[proxies.ids[:8]])
    assert torch.equal(step.examples.proxies, proxies.pixels[:8])
    assert step.examples.maps.shape == (8, 32, 32)


@pytest.mark.parametrize("scope", ["image", "dataset"])
def test_the_batch_size_does_not_change_a_proxy_unless_its_scope_is_the_batch(
    config, small, trained, training_set_of, scope
):
    made = []
    for batch_size in (3, 64):
        trial = config(batch_size=batch_size, replacement="mean", scope=scope)
        training_set = training_set_of(trial, small)
        given = clean_scores(trained, training_set, trial)
        made.append(proxy_step(trained, training_set, given, trial, step=0).training_set.proxies.pixels)

    assert torch.equal(*made)


def test_the_scope_of_a_data_set_is_its_training_images_only(config, small, trained, training_set_of):
    trial = config(replacement="mean", scope="dataset", weight=1.0, threshold=0.0)
    training_set = training_set_of(trial, small)

    step = proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    mean = small.images[training_set.train].float().mean((0, 2, 3)).round()
    assert step.training_set.proxies.pixels[0, :, 0, 0].tolist() == mean.tolist()


def test_a_step_changes_no_weight_and_leaves_no_gradient(config, tiny, trained, training_set_of):
    trial = config()
    training_set = training_set_of(trial, tiny)
    before = {name: value.clone() for name, value in trained.module.state_dict().items()}

    proxy_step(trained, training_set, clean_scores(trained, training_set, trial), trial, step=0)

    assert all(torch.equal(value, before[name]) for name, value in trained.module.state_dict().items())
    assert not trained.module.training


# ---- the recipe of a step

FOLLOWED = [
    {},
    {"compound": True},
    {"clear_every_step": False},
    {"compound": True, "clear_every_step": False},
    {"mask": "other"},
    {"mask": "random", "substitute": "add"},
    {"scope": "dataset", "replacement": "mean"},
    {"scope": "batch", "replacement": "max"},
    {"replacement": "noise"},
    {"replacement": "noise", "compound": True, "clear_every_step": False, "subset": 0.4},
    {"smoothing": 1.5, "max_area": 0.25, "replacement": "blur"},
    {"explain": "contrast", "saliency": "gradcam++", "order": "hardest", "subset": 0.4},
]


def copied(recipe):
    """The recipe as it comes back from a file."""
    parts = load(save({name: getattr(recipe, name) for name in ("ids", "predicted", "maps")}))
    return Recipe(step=recipe.step, **parts)


def two_steps(trained, training_set, trial):
    """The steps of a trial in which the model is wrong about other images each time."""
    given = clean_scores(trained, training_set, trial)
    steps = []
    for number, wrong in enumerate((range(20), range(10, 40))):
        steps.append(proxy_step(trained, training_set, only(given, *wrong), trial, step=number))
        training_set = steps[-1].training_set
    return steps


@pytest.mark.parametrize("fields", FOLLOWED, ids=lambda fields: "-".join(map(str, fields.values())) or "defaults")
def test_following_the_recipes_makes_the_same_proxies_bit_for_bit(config, small, trained, training_set_of, fields):
    trial = config(batch_size=7, threshold=0.3, weight=0.7, **fields)
    first = training_set_of(trial, small)
    made = two_steps(trained, first, trial)
    before = small.images.clone()

    training_set = first
    for step in made:
        again = apply_recipe(copied(step.recipe), training_set, trial)
        training_set = again.training_set
        assert (again.made, again.flat, again.wrong) == (step.made, step.flat, 0)
        for name in ("ids", "true", "predicted", "originals", "maps", "proxies"):
            assert torch.equal(getattr(again.examples, name), getattr(step.examples, name))

    proxies = made[-1].training_set.proxies
    assert torch.equal(training_set.proxies.ids, proxies.ids)
    assert torch.equal(training_set.proxies.pixels, proxies.pixels)
    assert (proxies.pixels != small.images[proxies.ids]).any(3).any(2).any(1).sum() > 10
    assert len(first.proxies) == 0  # what was handed in is not written to
    assert torch.equal(small.images, before)


@pytest.mark.parametrize(("compound", "same"), [(False, True), (True, False)])
def test_the_last_recipe_alone_is_enough_unless_proxies_are_built_on(
    config, small, trained, training_set_of, compound, same
):
    trial = config(compound=compound, threshold=0.3, weight=0.7)
    first = training_set_of(trial, small)
    made = two_steps(trained, first, trial)[-1]

    alone = apply_recipe(made.recipe, first, trial).training_set.proxies

    assert torch.equal(alone.ids, made.training_set.proxies.ids)
    assert torch.equal(alone.pixels, made.training_set.proxies.pixels) is same


def test_the_recipe_of_a_step_without_a_wrong_image_makes_none(config, tiny, trained, training_set_of):
    trial = config(scope="dataset", replacement="mean", mask="other")
    training_set = training_set_of(trial, tiny)
    given = clean_scores(trained, training_set, trial)
    some = proxy_step(trained, training_set, only(given, 1, 2), trial, step=0).training_set
    none = proxy_step(trained, some, only(given), trial, step=1).recipe

    again = apply_recipe(copied(none), some, trial)

    assert none.maps.shape == (0, *trained.grid)
    assert (again.made, again.flat, len(again.training_set.proxies)) == (0, 0, 0)
    assert again.training_set.proxies.pixels.shape == (0, 3, 32, 32)


def test_a_step_shows_the_maps_that_its_scores_came_with(config, small, trained, training_set_of):
    trial = config(subset=0.5)
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)

    recipe = proxy_step(trained, training_set, given, trial, step=0).recipe
    anew = proxy_step(trained, training_set, dataclasses.replace(given, maps=None), trial, step=0).recipe

    place = torch.searchsorted(given.ids, recipe.ids)
    assert torch.equal(recipe.maps, given.maps[place])
    assert torch.equal(recipe.predicted, given.predicted[place])
    assert torch.equal(anew.ids, recipe.ids)
    torch.testing.assert_close(anew.maps, recipe.maps, atol=1e-6, rtol=1e-4)


def test_a_proxy_of_a_proxy_is_explained_as_it_now_looks(config, small, trained, training_set_of):
    trial = config(compound=True, threshold=0.0, weight=0.9)
    training_set = training_set_of(trial, small)
    given = clean_scores(trained, training_set, trial)
    first, second = (step.recipe for step in two_steps(trained, training_set, trial))

    both = torch.isin(second.ids, first.ids)
    of_originals = given.maps[torch.searchsorted(given.ids, second.ids)]
    assert both.sum() == 10
    assert (second.maps[both] - of_originals[both]).abs().amax((1, 2)).min() > 1e-3
    torch.testing.assert_close(second.maps[~both], of_originals[~both], atol=1e-6, rtol=1e-4)


CHANGED = {
    "threshold": 0.9, "weight": 0.1, "subset": 0.1, "saliency": "gradcam++", "explain": "contrast", "mask": "other",
    "subset_decay": 0.5, "patience": 5, "feature_layer": "layer3", "eigen_smooth": True,
    "replacement": "noise", "scope": "dataset", "smoothing": 2.0, "max_area": 0.1, "collect": "online",
    "order": "hardest", "substitute": "add", "clear_every_step": False, "compound": True,
}  # fmt: skip
"""Another value of every proxy field."""


@pytest.mark.parametrize("field", PROXY_FIELDS)
def test_scores_and_maps_depend_on_the_method_and_the_class_explained_and_on_no_other_field_of_a_proxy(
    config, tiny, trained, training_set_of, field
):
    """Trials that share a state share its scores by these fields, and by the layer at which the model is explained."""
    one, other = (
        clean_scores(trained, training_set_of(trial, tiny), trial)
        for trial in (config(), config(**{field: CHANGED[field]}))
    )

    for name in ("ids", "predicted", "losses", "wrong"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert torch.equal(one.maps, other.maps) is (field not in ("saliency", "explain", "eigen_smooth"))
