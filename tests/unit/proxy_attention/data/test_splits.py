import contextlib
import dataclasses

import numpy as np
import pytest

from proxy_attention.config import LEAKING
from proxy_attention.data.groups import Groups
from proxy_attention.data.splits import SPLITS, Split, draw_split, emptied_groups, redraw
from proxy_attention.errors import ConfigError, DataError

LABELS = np.repeat(np.arange(4), 50)[np.random.default_rng(0).permutation(200)]
NO_TEST = np.zeros(200, dtype=bool)
OWN_TEST = np.arange(200) >= 150
PARTS = ("train", "val", "test")


def parts(split):
    return [getattr(split, part) for part in PARTS]


def counts(ids):
    return np.bincount(LABELS[ids], minlength=4).tolist()


@pytest.mark.parametrize("own_test", [NO_TEST, OWN_TEST], ids=["drawn test", "own test"])
@pytest.mark.parametrize("fields", [{}, {"folds": 4, "fold": 2}, {"train_fraction": 0.5}], ids=str)
def test_a_fixed_split_is_disjoint_and_sorted(config, own_test, fields):
    split = draw_split(LABELS, own_test, config(**fields))

    together = np.concatenate(parts(split))
    assert len(np.unique(together)) == len(together)
    assert all((np.diff(part) > 0).all() for part in parts(split))
    assert all(part.dtype == np.int64 for part in parts(split))


def test_a_fixed_split_uses_every_image_in_the_sizes_that_were_asked_for(config):
    split = draw_split(LABELS, NO_TEST, config(val_fraction=0.1, test_fraction=0.3))

    assert [len(part) for part in parts(split)] == [120, 20, 60]
    assert np.sort(np.concatenate(parts(split))).tolist() == list(range(200))


def test_every_part_of_a_fixed_split_is_stratified(config):
    split = draw_split(LABELS, NO_TEST, config())

    assert [counts(part) for part in parts(split)] == [[30] * 4, [10] * 4, [10] * 4]


def test_an_own_test_split_is_kept_and_val_is_a_part_of_the_rest(config):
    split = draw_split(LABELS, OWN_TEST, config(val_fraction=0.2, test_fraction=0.4))

    assert split.test.tolist() == list(range(150, 200))
    assert len(split.val) == 30
    assert len(split.train) == 120


@pytest.mark.parametrize("name", SPLITS)
def test_a_split_is_the_same_whenever_it_is_drawn(config, name):
    first = draw_split(LABELS, NO_TEST, config(split=name))
    np.random.default_rng().random(10)

    assert draw_split(LABELS, NO_TEST, config(split=name)).digest == first.digest


def test_the_split_follows_the_seed_unless_it_has_its_own(config):
    drawn = draw_split(LABELS, NO_TEST, config(seed=0))

    assert draw_split(LABELS, NO_TEST, config(seed=1)).digest != drawn.digest
    assert draw_split(LABELS, NO_TEST, config(seed=1, split_seed=0)).digest == drawn.digest


def test_the_split_does_not_depend_on_how_a_trial_trains(config):
    drawn = draw_split(LABELS, NO_TEST, config())

    other = config(schedule="3,p,2", batch_size=7, lr=1.0, model="test_vit", weight=0.0)
    assert draw_split(LABELS, NO_TEST, other).digest == drawn.digest


@pytest.mark.parametrize("own_test", [NO_TEST, OWN_TEST], ids=["drawn test", "own test"])
def test_the_val_parts_of_all_folds_partition_what_is_not_test(config, own_test):
    folds = [draw_split(LABELS, own_test, config(folds=5, fold=fold)) for fold in range(5)]

    assert len({split.test.tobytes() for split in folds}) == 1
    pool = np.setdiff1d(np.arange(200), folds[0].test)
    assert np.sort(np.concatenate([split.val for split in folds])).tolist() == pool.tolist()
    for split in folds:
        assert np.sort(np.concatenate([split.train, split.val])).tolist() == pool.tolist()


def test_folds_are_stratified(config):
    split = draw_split(LABELS, NO_TEST, config(folds=4, fold=3))

    assert counts(split.val) == [10] * 4


def test_less_training_data_keeps_val_and_test(config):
    whole = draw_split(LABELS, NO_TEST, config())
    part = draw_split(LABELS, NO_TEST, config(train_fraction=0.5))

    assert part.val.tolist() == whole.val.tolist()
    assert part.test.tolist() == whole.test.tolist()
    assert len(part.train) == 60
    assert set(part.train) < set(whole.train)
    assert counts(part.train) == [15] * 4


def test_a_part_that_rounds_to_all_training_data_is_all_of_it(config):
    whole = draw_split(LABELS, NO_TEST, config())

    assert draw_split(LABELS, NO_TEST, config(train_fraction=0.999)).digest == whole.digest


def test_merged_trains_on_train_and_val_together(config):
    fixed = draw_split(LABELS, NO_TEST, config())
    merged = draw_split(LABELS, NO_TEST, config(split="merged"))

    assert merged.train.tolist() == sorted([*fixed.train, *fixed.val])
    assert merged.val.tolist() == fixed.val.tolist()
    assert merged.test.tolist() == fixed.test.tolist()


def test_redrawn_begins_with_the_fixed_split(config):
    split = draw_split(LABELS, NO_TEST, config(split="redrawn"))

    assert split.digest == draw_split(LABELS, NO_TEST, config()).digest
    assert redraw(split, LABELS, config(split="redrawn"), 0).digest == split.digest


def test_redrawn_moves_images_between_train_and_val_at_every_item_and_keeps_union_sizes_and_test(config):
    split = draw_split(LABELS, NO_TEST, config(split="redrawn"))
    drawn = [redraw(split, LABELS, config(split="redrawn"), item) for item in range(4)]

    assert len({again.train.tobytes() for again in drawn}) == 4
    for again in drawn:
        assert (len(again.train), len(again.val)) == (len(split.train), len(split.val))
        assert sorted([*again.train, *again.val]) == sorted([*split.train, *split.val])
        assert again.test.tolist() == split.test.tolist()
        assert counts(again.val) == [10] * 4


def test_every_split_but_fixed_is_marked_as_leaking():
    assert set(SPLITS) - {"fixed"} == LEAKING


@pytest.mark.parametrize("name", sorted(LEAKING))
def test_an_audit_protocol_has_no_folds(config, name):
    with pytest.raises(ConfigError, match=f"folds must be 0 with split = {name}; got 5"):
        draw_split(LABELS, NO_TEST, config(split=name, folds=5))


def of(*counts):
    """The labels of so many images of each class, and that none is of an own test."""
    return np.repeat(np.arange(len(counts)), counts), np.zeros(sum(counts), dtype=bool)


@pytest.mark.parametrize(
    ("counts", "fields", "field", "told"),
    [
        ((4, 4), {"test_fraction": 0.1}, "test_fraction", "class 'cat' has 4 images, and 1 more lack one: it takes"),
        ((4, 6), {"val_fraction": 0.05}, "val_fraction", "class 'cat' has 4 images: it takes"),
        ((20, 1), {}, "test_fraction", "class 'dog' has 1 image: it takes 5"),
        ((60, 60, 2), {}, "test_fraction", "class 'owl' has 2 images: it takes 5"),
        (
            (60, 60, 3),
            {"test_fraction": 0.4, "val_fraction": 0.1},
            "val_fraction",
            "class 'owl' has 3 images: it takes",
        ),
        ((60, 60, 10), {"train_fraction": 0.1}, "train_fraction", "class 'owl' has 10 images: it takes 19"),
        ((10, 10), {"train_fraction": 0.01}, "train_fraction", "class 'cat' has 10 images, and 1 more lack one: it"),
        ((9, 9), {"val_fraction": 1e-6}, "val_fraction", ".* and 1 more lack one: it takes more than 10,000 of each"),
    ],
)
def test_a_draw_that_leaves_a_class_without_an_image_is_refused_with_field_class_count_and_what_it_takes(
    config, counts, fields, field, told
):
    with pytest.raises(DataError, match=f"^{field} must leave every class .*, where {told}") as refused:
        draw_split(*of(*counts), config(**fields), ("cat", "dog", "owl"))

    assert str(refused.value).endswith(f" of each class, or another {field}")


def test_more_folds_than_images_of_a_class_are_refused_by_its_name(config):
    with pytest.raises(DataError, match=r"smallest class \(40\); got 41, where class 0 has 50 images, and 3 more"):
        draw_split(LABELS, NO_TEST, config(folds=41))


def test_an_own_val_is_kept_whole_and_the_rest_is_train_or_test(config):
    own_val = np.arange(200) < 50
    with_test, drawn = (draw_split(LABELS, own, config(), own_val=own_val) for own in (OWN_TEST, NO_TEST))

    assert with_test.val.tolist() == drawn.val.tolist() == list(range(50))
    assert (with_test.train.tolist(), with_test.test.tolist()) == (list(range(50, 150)), list(range(150, 200)))
    assert (len(drawn.train), len(drawn.test)) == (120, 30)
    assert sorted([*drawn.train, *drawn.test]) == list(range(50, 200))


def test_a_part_of_train_leaves_an_own_val_as_it_is(config):
    split = draw_split(LABELS, OWN_TEST, config(train_fraction=0.5), own_val=np.arange(200) < 50)

    assert (len(split.train), split.val.tolist()) == (50, list(range(50)))


@pytest.mark.parametrize(
    ("own_val", "own_test", "told"),
    [
        (range(3), range(8, 12), "val must have an image of every class; class 'dog' has 10 images, and none in val"),
        ((0, *range(10, 20)), range(1, 2), "train must have an image of every class; class 'dog' has 10 images, and"),
    ],
)
def test_an_own_val_and_what_it_leaves_must_have_every_class(own_val, own_test, told, config):
    numbers = np.arange(20)
    masks = (np.isin(numbers, list(ids)) for ids in (own_test, own_val))

    with pytest.raises(DataError, match=told):
        draw_split(np.repeat([0, 1], 10), next(masks), config(), ("cat", "dog"), own_val=next(masks))


def test_groups_without_an_image_are_named_by_part(config):
    split = draw_split(LABELS, OWN_TEST, config())
    names = ["late" if number >= 150 else "early" for number in range(200)]

    told = emptied_groups(Groups.of(names), split)

    assert told == "no train image of late; no val image of late; no test image of early"
    assert emptied_groups(Groups.of(["all"] * 200), split) == ""


def test_an_own_test_must_have_every_class(config):
    labels = np.repeat([0, 1], 10)

    with pytest.raises(DataError, match="test must have an image of every class; class 'dog' has 10 images, and none"):
        draw_split(labels, np.arange(20) < 3, config(), ("cat", "dog"))


def test_a_class_that_drawing_again_would_leave_without_an_image_is_found_when_the_split_is_drawn(config):
    labels, own_test = np.array([0] * 6 + [1] * 2 + [0, 1]), np.arange(10) >= 8
    lucky = config(val_fraction=0.25, split_seed=0)  # either class may have the second of two val images

    for seed in range(50):
        lucky = dataclasses.replace(lucky, split_seed=seed)
        with contextlib.suppress(DataError):
            draw_split(labels, own_test, lucky)
            break

    redrawn = dataclasses.replace(lucky, split="redrawn", schedule=",".join(["1"] * 30))
    with pytest.raises(DataError, match=r"^val_fraction must leave .*, where class 1 has 2 images: it takes 5 of"):
        draw_split(labels, own_test, redrawn)


def test_the_digest_changes_with_the_roles():
    base = Split(train=np.array([0, 1]), val=np.array([2]), test=np.array([3]))
    others = [
        Split(train=base.val, val=base.train, test=base.test),
        Split(train=base.train, val=base.test, test=base.val),
        Split(train=np.array([0]), val=np.array([1, 2]), test=base.test),
        Split(train=base.train, val=np.array([2, 3]), test=np.array([], dtype=np.int64)),
    ]

    assert len({split.digest for split in [base, *others]}) == 5
