"""Scores of the training images, and the choice among them."""

import dataclasses

import pytest
import torch
from proxy_steps import scores

from proxy_attention.config import PROXY_FIELDS
from proxy_attention.proxies.masks import UNTRAINED
from proxy_attention.proxies.scoring import CHOOSE, ORDERS, choose, clean_scores, online_scores, scoring_key
from proxy_attention.proxies.step import proxy_step


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


@pytest.mark.parametrize(
    ("whom", "expected"), [("wrong", [1, 3]), ("right", [0, 2, 4, 5]), ("all", [0, 1, 2, 3, 4, 5])]
)
def test_a_step_chooses_from_the_images_that_choose_names(config, whom, expected):
    given = scores([False, True, False, True, False, False], losses=[5.0, 4.0, 3.0, 2.0, 1.0, 0.0])

    assert choose(given, config(choose=whom), step=0).tolist() == expected
    half = choose(given, config(choose=whom, subset=0.5, order="hardest"), step=0).tolist()
    assert half == expected[: len(expected) // 2]


@pytest.mark.parametrize("order", ORDERS)
def test_a_random_choice_of_whom_takes_as_many_as_are_wrong_of_all_images_in_no_order(config, order):
    given = scores([True] * 40 + [False] * 160, losses=list(map(float, range(200))))

    found = choose(given, config(choose="random", order=order, subset=0.5), step=0)

    assert len(found) == 20
    assert 0 < (found >= 40).sum() < 20
    assert torch.equal(found, choose(given, config(choose="random", subset=0.5), step=0))


@pytest.mark.parametrize(("whom", "wrong"), [("wrong", False), ("right", True), ("random", False)])
def test_a_step_that_finds_none_of_them_chooses_none(config, whom, wrong):
    assert choose(scores([wrong] * 5), config(choose=whom), step=0).tolist() == []


@pytest.mark.parametrize("whom", CHOOSE)
def test_a_choice_of_no_image_at_all_is_none(config, whom):
    assert choose(scores([]), config(choose=whom), step=0).tolist() == []


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


def test_online_an_image_of_many_slots_speaks_with_the_first_that_was_wrong(config, tiny, training_set_of):
    plain = training_set_of(config(substitute="add", repeats=3), tiny)
    ids = plain.train[[1, 2]]
    given = plain.with_proxies(dataclasses.replace(plain.proxies, ids=ids, pixels=tiny.images[ids]))
    count = len(plain)
    correct = torch.ones(len(given), dtype=torch.bool)
    correct[[count + 2, count + 4, count + 5]] = False  # the second repeat of the first; the third of both

    slots = torch.arange(len(given))
    found = online_scores(given, predicted=slots, losses=slots / 1.0, correct=correct)

    assert len(given) == count + 6
    assert found.wrong.nonzero().flatten().tolist() == [1, 2]
    assert found.predicted[[0, 1, 2, 3]].tolist() == [0, count + 2, count + 5, 3]


def test_online_scores_are_what_the_epoch_saw(config, tiny, training_set_of):
    training_set = training_set_of(config(), tiny)
    count = len(training_set)
    predicted, losses, correct = torch.arange(count) % 10, torch.arange(count) / 10, torch.arange(count) % 3 == 0

    found = online_scores(training_set, predicted=predicted, losses=losses, correct=correct)

    assert torch.equal(found.ids, training_set.train)
    assert torch.equal(found.predicted, predicted)
    assert torch.equal(found.losses, losses)
    assert torch.equal(found.wrong, ~correct)


def test_online_an_image_with_two_slots_is_wrong_if_either_copy_was_and_takes_that_copys_prediction_and_loss(
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


CHANGED = {
    "threshold": 0.9, "weight": 0.1, "subset": 0.1, "saliency": "gradcam++", "explain": "contrast", "mask": "other",
    "subset_decay": 0.5, "patience": 5, "feature_layer": "layer3", "eigen_smooth": True,
    "replacement": "noise", "scope": "dataset", "smoothing": 2.0, "max_area": 0.1, "collect": "online",
    "choose": "all", "repeats": 3, "restart": True,
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


def test_scores_of_trials_that_ask_an_untrained_model_hold_no_map_and_are_shared_by_all_of_them(
    config, small, trained, training_set_of
):
    trials = [config(mask=UNTRAINED), config(mask=UNTRAINED, saliency="gradcam++", explain="contrast")]
    scores = [clean_scores(trained, training_set_of(trial, small), trial) for trial in trials]

    assert {scoring_key(trial) for trial in trials} == {scoring_key(config(saliency="scorecam"))}
    assert scoring_key(config(mask="region")) == scoring_key(config(saliency="scorecam"))
    assert scoring_key(config()) not in {scoring_key(trial) for trial in trials}
    assert all(found.maps is None for found in scores)
    assert torch.equal(scores[0].losses, scores[1].losses)
    assert torch.equal(scores[0].predicted, scores[1].predicted)
