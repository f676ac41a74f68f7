"""Any class counts and fractions give a split with every class on every side, or one line that says what it takes."""

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy_attention.config import LEAKING, TrialConfig
from proxy_attention.data.splits import SPLITS, Split, draw_split, redraw
from proxy_attention.errors import DataError

FRACTIONS = st.floats(0.02, 0.45)
TOLD = re.compile(r"class 'c(\d+)' has (\d+) images?(, and \d+ more lack one)?: it takes (\d+) of each class, or ")


@st.composite
def configs(draw):
    """A config with any fractions, folds and protocol."""
    split, folds = draw(st.sampled_from(SPLITS)), draw(st.sampled_from([0, 0, 2, 5]))
    return TrialConfig(
        val_fraction=draw(FRACTIONS),
        test_fraction=draw(FRACTIONS),
        train_fraction=draw(st.sampled_from([1.0, 1.0, 0.5, 0.1, 0.03])),
        split=split,
        folds=0 if split in LEAKING else folds,
        schedule="1,p,1",
        split_seed=draw(st.integers(0, 99)),
    )


def drawn(counts, tested, config):
    """Draw from so many images of each class, and so many of an own test.

    Returns: the labels, the split with every redraw of it, and why it was refused.
    """
    labels = np.concatenate([np.repeat(np.arange(len(part)), part) for part in (counts, tested)])
    own_test = np.arange(len(labels)) >= sum(counts)
    names = tuple(f"c{number}" for number in range(len(counts)))
    try:
        split = draw_split(labels, own_test, config, names)
    except DataError as error:
        return labels, [], str(error)
    items = range(len(config.planned.items) if config.split == "redrawn" else 1)
    return labels, [redraw(split, labels, config, item) for item in items], ""


def every_class_on_every_side(labels, split: Split):
    return all(set(labels[part]) == set(labels) for part in (split.train, split.val, split.test))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(1, 70), min_size=2, max_size=5), own_test=st.booleans(), config=configs())
def test_every_class_is_on_every_side_or_one_line_says_how_many_images_it_takes(counts, own_test, config):
    tested = [2] * len(counts) * own_test
    labels, splits, refused = drawn(counts, tested, config)
    if refused:
        assert "\n" not in refused
        told = TOLD.search(refused)
        if told is None:
            assert "it takes more than 10,000 of each class" in refused
            return
        assert int(told[2]) <= counts[int(told[1])]
        labels, splits, refused = drawn([max(count, int(told[4])) for count in counts], tested, config)
    assert not refused
    assert all(every_class_on_every_side(labels, split) for split in splits)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 2), min_size=2, max_size=5).filter(any))
def test_an_own_test_that_lacks_a_class_is_one_line(tested):
    labels, splits, refused = drawn([20] * len(tested), tested, TrialConfig())

    assert bool(refused) == (0 in tested)
    if refused:
        assert f"class 'c{tested.index(0)}' has 20 images" in refused
    assert all(every_class_on_every_side(labels, split) for split in splits)
