import copy
import itertools

import numpy as np
import pytest
import torch

from proxy_attention.augment import transforms
from proxy_attention.augment.batch import of_images
from proxy_attention.augment.registry import AUGMENTATIONS
from proxy_attention.data.pixels import stream_from_host
from proxy_attention.data.training_set import SUBSTITUTES, Proxies, TrainingSet, batch_sizes
from proxy_attention.errors import CheckpointError
from proxy_attention.proxies.scoring import COLLECT, ORDERS, choose, clean_scores, online_scores
from proxy_attention.proxies.step import proxy_step
from proxy_attention.training import new_state, train_epoch

IMAGES = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 3, 2, 2).contiguous()
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
TRAIN = np.array([0, 2, 3, 5])


def proxies(*ids):
    """A proxy of image i is filled with 100 + i."""
    numbers = torch.tensor(ids, dtype=torch.int64)
    pixels = (100 + numbers).to(torch.uint8)[:, None, None, None].expand(len(ids), 3, 2, 2).contiguous()
    return Proxies(ids=numbers, pixels=pixels)


def training_set(*ids, substitute="replace", train=TRAIN):
    return TrainingSet(IMAGES, LABELS, train=train, proxies=proxies(*ids), substitute=substitute)


def shown(given, slots=None):
    """The fill of what stands in each slot."""
    return given.slots(torch.arange(len(given)) if slots is None else torch.tensor(slots))[0][:, 0, 0, 0].tolist()


def test_without_proxies_every_slot_holds_its_original():
    assert shown(training_set()) == [0, 2, 3, 5]


def test_a_proxy_stands_in_for_its_original_and_for_no_other():
    given = training_set(2, 5)

    assert shown(given) == [0, 102, 3, 105]
    assert given.slot_ids.tolist() == [0, 2, 3, 5]
    assert given.slots(torch.arange(4))[1].tolist() == [0, 0, 1, 1]


def test_an_added_proxy_joins_its_original_with_its_label():
    given = training_set(2, 5, substitute="add")

    assert len(given) == 6
    assert shown(given) == [0, 2, 3, 5, 102, 105]
    assert given.slots(torch.arange(6))[1].tolist() == [0, 0, 1, 1, 0, 1]


def repeating(*ids, repeats):
    return TrainingSet(IMAGES, LABELS, train=TRAIN, proxies=proxies(*ids), substitute="add", repeats=repeats)


def test_added_proxies_are_repeated_all_of_them_one_time_after_the_other():
    given = repeating(2, 5, repeats=3)

    assert given.slot_ids.tolist() == [0, 2, 3, 5] + [2, 5] * 3
    assert shown(given) == [0, 2, 3, 5] + [102, 105] * 3
    assert given.active_ids.tolist() == [2, 5]
    assert given.with_train(TRAIN[:3]).slot_ids.tolist() == [0, 2, 3, 2, 2, 2]
    assert len(repeating(repeats=3)) == 4


def test_a_proxy_that_stands_in_for_its_original_is_not_repeated():
    given = TrainingSet(IMAGES, LABELS, train=TRAIN, proxies=proxies(2, 5), substitute="replace", repeats=3)

    assert shown(given) == [0, 102, 3, 105]
    assert given.epoch_order(0, 0).sort().values.tolist() == [0, 1, 2, 3]


def test_each_repeat_has_draws_of_its_own_and_shifts_none_before_it():
    once, thrice = (repeating(2, 5, repeats=repeats) for repeats in (1, 3))
    tables = [given.augmentation_table(3, 7, 1) for given in (once, thrice)]

    assert torch.equal(tables[1][:6], tables[0])
    assert len(tables[1].unique(dim=0)) == 10
    assert torch.equal(repeating(5, repeats=3).augmentation_table(3, 7, 1)[4:], tables[1][[5, 7, 9]])
    kept = [slot for slot in thrice.epoch_order(7, 1).tolist() if slot < 6]
    assert kept == once.epoch_order(7, 1).tolist()


def test_slots_may_be_asked_for_in_any_order_and_twice():
    assert shown(training_set(2, 5), [3, 0, 3, 1]) == [105, 0, 105, 102]


@pytest.mark.parametrize("substitute", SUBSTITUTES)
def test_proxies_of_images_outside_train_wait_unused(substitute):
    given = training_set(1, 2, 4, substitute=substitute)

    assert given.active_ids.tolist() == [2]
    assert shown(given)[:4] == ([0, 102, 3, 5] if substitute == "replace" else [0, 2, 3, 5])
    assert len(given.proxies) == 3
    assert given.with_train(np.array([1, 4])).active_ids.tolist() == [1, 4]


def test_current_pixels_are_the_proxy_where_there_is_one():
    given = training_set(2, substitute="add")

    assert given.current(torch.tensor([0, 2]))[:, 0, 0, 0].tolist() == [0, 102]
    assert given.originals(torch.tensor([0, 2]))[:, 0, 0, 0].tolist() == [0, 2]


@pytest.mark.parametrize("read", ["slots", "originals", "current"])
def test_what_is_handed_out_is_a_copy(read):
    given = training_set(2)
    before = IMAGES.clone(), given.proxies.pixels.clone()
    out = getattr(given, read)(torch.tensor([0, 1, 2]))

    (out[0] if read == "slots" else out).fill_(77)

    assert torch.equal(IMAGES, before[0])
    assert torch.equal(given.proxies.pixels, before[1])


def test_of_one_image_the_newer_proxy_is_kept_and_ids_stay_ascending():
    newer = Proxies(ids=torch.tensor([0, 3]), pixels=torch.full((2, 3, 2, 2), 200, dtype=torch.uint8))

    joined = proxies(2, 3, 5).joined(newer)

    assert joined.ids.tolist() == [0, 2, 3, 5]
    assert joined.pixels[:, 0, 0, 0].tolist() == [200, 102, 200, 105]


def test_a_proxy_of_an_image_that_is_not_there_is_refused():
    with pytest.raises(CheckpointError, match="a proxy names an image that the data set does not hold"):
        training_set(6)


def test_an_epoch_visits_every_slot_once():
    for given in (training_set(2), training_set(2, 5, substitute="add")):
        assert sorted(given.epoch_order(0, 0).tolist()) == list(range(len(given)))


def test_every_epoch_and_every_seed_has_its_own_order(training_set_of, config, small):
    given = training_set_of(config(), small)

    orders = [tuple(given.epoch_order(seed, epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)]

    assert len(set(orders)) == 4


def test_substitution_shifts_neither_the_order_nor_the_augmentation_of_any_image():
    plain, replaced = training_set(), training_set(0, 2, 3)

    assert torch.equal(plain.epoch_order(0, 4), replaced.epoch_order(0, 4))
    assert torch.equal(plain.augmentation_table(2, 0, 4), replaced.augmentation_table(2, 0, 4))


def test_added_proxies_shift_neither_the_order_nor_the_augmentation_of_the_originals(training_set_of, config, small):
    plain = training_set_of(config(substitute="add"), small)
    ids = plain.train[::3]
    added = plain.with_proxies(Proxies(ids=ids, pixels=small.images[ids]))

    order = added.epoch_order(0, 4)

    assert len(added) == len(plain) + len(ids)
    assert torch.equal(order[order < len(plain)], plain.epoch_order(0, 4))
    assert torch.equal(added.augmentation_table(2, 0, 4)[: len(plain)], plain.augmentation_table(2, 0, 4))
    assert not torch.equal(added.augmentation_table(2, 0, 4)[len(plain) :], plain.augmentation_table(2, 0, 4)[::3])


def test_another_image_in_train_shifts_no_draw_of_the_others():
    one, other = training_set(train=np.array([0, 2, 5])), training_set(train=np.array([2, 3, 4, 5]))

    assert torch.equal(one.augmentation_table(2, 0, 1)[[1, 2]], other.augmentation_table(2, 0, 1)[[0, 3]])


def test_another_image_in_train_shifts_no_place_of_the_others(training_set_of, config, small):
    whole = training_set_of(config(), small)
    part = whole.with_train(whole.train[10:].numpy())

    order, fewer = (given.slot_ids[given.epoch_order(0, 1)] for given in (whole, part))

    assert len(fewer) == len(order) - 10
    assert torch.equal(order[torch.isin(order, part.train)], fewer)


@pytest.mark.parametrize("where", ["in memory", "streamed"])
@pytest.mark.parametrize("substitute", SUBSTITUTES)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_a_stream_shows_the_slots_in_its_order_whatever_the_batch_size(size, substitute, where):
    images = IMAGES if where == "in memory" else stream_from_host(IMAGES, torch.device("cpu"))
    given = TrainingSet(images, LABELS, train=TRAIN, proxies=proxies(0, 1, 2, 5), substitute=substitute)
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(1))

    batches = list(given.stream(order, size))

    pixels, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(pixels, given.slots(order)[0])
    assert torch.equal(labels, given.slots(order)[1])
    assert [len(images) for images, _ in batches] == batch_sizes(len(order), size)


@pytest.mark.parametrize(
    ("images", "size", "sizes"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [4]), (5, 4, [5]), (6, 4, [4, 2]), (9, 4, [4, 5]), (3, 2, [3]), (3, 1, [1, 1, 1])],
)
def test_a_lone_last_image_joins_the_batch_before_it_and_no_other_batch_changes(images, size, sizes):
    assert batch_sizes(images, size) == sizes
    usual = [len(part) for part in torch.arange(images).split(size)] if images else []
    assert sizes == usual or (usual[-1] == 1 and size > 1)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_stream_of_originals_shows_no_proxy(size):
    parts = list(training_set(2, 5).stream_originals(torch.tensor([5, 0, 2]), size))

    assert torch.cat([ids for ids, _ in parts]).tolist() == [5, 0, 2]
    assert torch.cat([images for _, images in parts])[:, 0, 0, 0].tolist() == [5, 0, 2]


def test_of_no_images_nothing_is_handed_out():
    given, none = training_set(2), torch.empty(0, dtype=torch.int64)

    assert list(given.stream_originals(none, 4)) == []
    assert len(given.originals(none)) == len(given.current(none)) == 0


def test_no_proxies_have_the_shape_of_the_images_wherever_these_lie():
    for images in (IMAGES, stream_from_host(IMAGES, torch.device("cpu"))):
        assert Proxies.none(images).pixels.shape == (0, 3, 2, 2)
    assert proxies(2, 3).emptied().pixels.shape == (0, 3, 2, 2)


@pytest.mark.parametrize("batch_size", [5, 64])
def test_training_hands_every_image_its_own_draws_whatever_the_batch_size(
    monkeypatch, config, tiny, training_set_of, trained, batch_size
):
    """The augmentation of one epoch, seen from inside, is a function of the image."""
    seen = []

    def watch(images, draws):
        seen.extend((image.sum().item(), tuple(draw)) for image, draw in zip(images, draws.tolist(), strict=True))
        return transforms.flip_rotate(images, draws)

    monkeypatch.setitem(AUGMENTATIONS, "flip-rotate", of_images(watch, columns=2, what="seen", source="here"))
    trial = config(batch_size=batch_size, schedule="2", lr=1e-6)
    given = training_set_of(trial, tiny)
    model = copy.deepcopy(trained)

    train_epoch(new_state(model, trial, images=len(given), device=torch.device("cpu")), given, trial, epoch=1)

    table = given.augmentation_table(2, trial.seed, 1)
    pixels = given.originals(given.train).float() / 255
    expected = [(image.sum().item(), tuple(draw)) for image, draw in zip(pixels, table.tolist(), strict=True)]
    assert sorted(draw for _, draw in seen) == sorted(draw for _, draw in expected)
    by_draw = {draw: total for total, draw in expected}
    assert all(total == pytest.approx(by_draw[draw], rel=1e-5) for total, draw in seen)


OPTIONS = list(itertools.product(SUBSTITUTES, (True, False), (True, False), ORDERS, COLLECT))


@pytest.mark.parametrize(("substitute", "clear_every_step", "compound", "order", "collect"), OPTIONS)
def test_substitution_is_one_for_one_under_every_option(
    config, tiny, trained, training_set_of, substitute, clear_every_step, compound, order, collect
):
    trial = config(
        substitute=substitute,
        clear_every_step=clear_every_step,
        compound=compound,
        order=order,
        collect=collect,
        subset=0.6,
        threshold=0.0,
        replacement="black",
        weight=1.0,
    )
    start = given = training_set_of(trial, tiny)
    expected: set[int] = set()
    for step in range(2):
        slots = torch.arange(len(given))
        if collect == "clean":
            scores = clean_scores(trained, given, trial)
        else:  # an epoch that got every second slot wrong
            correct = (slots + step) % 2 == 0
            scores = online_scores(given, predicted=slots % 10, losses=slots / 1.0, correct=correct)
        chosen = set(scores.ids[choose(scores, trial, step=step)].tolist())
        given = proxy_step(trained, given, scores, trial, step=step).training_set
        expected = chosen if clear_every_step else expected | chosen

        count = len(start.train)
        pixels, labels = given.slots(torch.arange(len(given)))
        assert chosen
        assert set(given.proxies.ids.tolist()) == expected
        assert len(given.proxies) == len(expected)
        assert given.train.tolist() == start.train.tolist()
        assert given.slot_ids[:count].tolist() == start.train.tolist()
        assert torch.equal(labels, tiny.labels[given.slot_ids])
        assert len(given) == count + (len(expected) if substitute == "add" else 0)
        black = (pixels == 0).flatten(1).all(1)
        is_proxy = torch.isin(given.slot_ids, given.proxies.ids)
        if substitute == "add":
            is_proxy[:count] = False
        assert torch.equal(black, is_proxy)
        assert torch.equal(pixels[~is_proxy], tiny.images[given.slot_ids[~is_proxy]])
