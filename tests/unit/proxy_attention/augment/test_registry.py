"""Augmentations by name, alone and joined by ``+``."""

import pytest
import torch
from mixing_batches import batch_of, draws_of, task

from proxy_attention.augment.registry import AUGMENTATIONS, augmentation_of
from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.validation import check


def test_joined_augmentations_follow_one_another_with_draws_of_their_own(monkeypatch):
    first, second = AUGMENTATIONS["flip-rotate"], AUGMENTATIONS["none"]
    monkeypatch.setitem(AUGMENTATIONS, "again", first)
    joined = augmentation_of("flip-rotate+again")
    batch = batch_of(4)
    draws = draws_of(joined, len(batch))

    out = joined.apply(batch, draws, task())

    assert joined.columns == 4
    assert second.columns == 0
    between = first.apply(batch, draws[:, :2], task())
    assert torch.equal(out.images, first.apply(between, draws[:, 2:], task()).images)


def test_one_augmentation_is_its_row():
    assert augmentation_of("flip-rotate") is AUGMENTATIONS["flip-rotate"]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("mixupp", "augment must be one of .*; got 'mixupp'"),
        ("flip-rotate+", "augment must be one of .*; got ''"),
        ("flip-rotate+nothing", "augment must be one of .*; got 'nothing'"),
        ("flip-rotate+flip-rotate", r"each once.*; got 'flip-rotate\+flip-rotate'"),
        ("none+flip-rotate", r"none on its own.*; got 'none\+flip-rotate'"),
    ],
)
def test_a_name_that_cannot_be_is_answered_with_the_law(augment, message):
    with pytest.raises(ConfigError, match=message):
        augmentation_of(augment)
    with pytest.raises(ConfigError, match=message):
        check(TrialConfig(augment=augment))


def test_joined_augmentations_say_what_all_of_them_do_and_cost():
    joined = augmentation_of("flip-rotate+snapmix")
    parts = [AUGMENTATIONS["flip-rotate"], AUGMENTATIONS["snapmix"]]

    assert joined.what == f"{parts[0].what}, then {parts[1].what}"
    assert joined.source == f"{parts[0].source}; {parts[1].source}"
    assert joined.mixes
    assert joined.passes == parts[1].passes > 0
    assert joined.saliency_methods == parts[1].saliency_methods
