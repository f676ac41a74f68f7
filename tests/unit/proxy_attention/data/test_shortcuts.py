"""A shortcut in the images of any data set: who is told what, where it stands, and that nothing else changes."""

import dataclasses

import numpy as np
import pytest
import torch

from proxy_attention.data.images import ImageSet
from proxy_attention.data.pixels import in_batches
from proxy_attention.data.planted import COLOURS
from proxy_attention.data.shortcuts import area, tile, with_shortcut
from proxy_attention.data.splits import split_of
from proxy_attention.errors import ConfigError
from proxy_attention.trial_setup import TrialSetup
from proxy_attention.trial_state import replay_steps
from proxy_attention.trial_store import read_recipes

KINDS = ["patch", "watermark"]


@pytest.fixture
def planted(config, small):
    """Plant a shortcut into the small set; returns the set and its split."""

    def plant(shortcut, **changes):
        trial = config(shortcut=shortcut, **changes)
        split = split_of(small, trial)
        return with_shortcut(small, split, trial), split

    return plant


def groups_by_class(images, ids):
    """Count the images of each class by the name of their group."""
    names, labels = np.array([images.groups.name_of(image) for image in ids]), images.labels.numpy()[ids]
    return {name: np.bincount(labels[names == name], minlength=10).tolist() for name in sorted(set(names))}


def test_without_a_shortcut_a_data_set_is_itself(config, small):
    trial = config()

    assert with_shortcut(small, split_of(small, trial), trial) is small


def test_a_shortcut_tells_the_class_in_its_share_of_each_class_and_val_and_test_look_as_asked(planted):
    images, split = planted("patch:0.75:conflicting:none")

    found = groups_by_class(images, split.train)
    each = np.bincount(images.labels.numpy()[split.train]).tolist()
    assert found["conflicting"] == [round(0.25 * count) for count in each]
    assert np.add(found["aligned"], found["conflicting"]).tolist() == each
    assert list(groups_by_class(images, split.val)) == ["conflicting"]
    assert list(groups_by_class(images, split.test)) == ["without"]


@pytest.mark.parametrize(("share", "group"), [(1, "aligned"), (0, "conflicting")])
def test_a_share_of_all_or_of_none_is_one_group(planted, share, group):
    images, split = planted(f"watermark:{share}:aligned:conflicting")

    assert list(groups_by_class(images, split.train)) == [group]
    assert list(groups_by_class(images, split.val)) == ["aligned"]
    assert list(groups_by_class(images, split.test)) == ["conflicting"]


def test_a_patch_has_the_colour_of_its_class_and_nothing_beside_it_changes(planted, small):
    images, split = planted("patch:0.75:aligned:none")
    ids = torch.from_numpy(np.concatenate([split.train, split.val]))
    labels, conflicts = small.labels[ids].numpy(), images.groups.conflicts(ids).numpy()
    told = []
    for number, image in zip(ids.tolist(), images.images[ids].numpy(), strict=True):
        region = images.region(number)
        assert region.sum() == 6 * 6  # 12 of 64 pixels
        (colour,) = np.flatnonzero((image[:, region].T[0] == COLOURS).all(axis=1))
        assert (COLOURS[colour] == image[:, region].T).all()
        assert (image[:, ~region] == small.images[number].numpy()[:, ~region]).all()
        told.append(colour)

    assert ((np.array(told) != labels) == conflicts).all()
    assert conflicts.any()


def test_a_watermark_is_a_quarter_of_each_pixel_of_the_middle(planted, small):
    images, split = planted("watermark:1:aligned:none")
    number = int(split.train[3])
    before, after = small.images[number].long(), images.images[torch.tensor([number])][0].long()
    region = torch.from_numpy(images.region(number))

    assert region.sum() == 16 * 16
    assert region[8:24, 8:24].all()
    colour = torch.from_numpy(COLOURS[small.labels[number]].astype(np.int64))
    assert torch.equal(after[:, region], (3 * before[:, region] + colour[:, None] + 2) // 4)
    assert torch.equal(after[:, ~region], before[:, ~region])


@pytest.mark.parametrize("kind", KINDS)
def test_images_without_a_shortcut_are_as_they_were_and_have_no_region(planted, small, kind):
    images, split = planted(f"{kind}:0.9:none:none", train_fraction=0.5)
    outside = sorted(set(range(len(small))) - set(split.train.tolist()))

    assert torch.equal(images.images[torch.tensor(outside)], small.images[outside])
    assert {images.region(number) is None for number in outside} == {True}
    assert {images.groups.name_of(number) for number in outside} == {"without"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_data_set_itself_is_not_changed_and_batches_are_those_of_single_images(planted, small, kind):
    before = small.images.clone()
    images, split = planted(f"{kind}:0.9")
    ids = torch.from_numpy(split.train[:20])

    batches = torch.cat(list(in_batches(images.images, ids, 7)))

    assert torch.equal(batches, images.images[ids])
    assert torch.equal(small.images, before)
    assert isinstance(images, ImageSet)
    assert images.digest == small.digest


def test_patches_stand_in_every_corner():
    found = {area("patch", place, 64)[0].start * 100 + area("patch", place, 64)[1].start for place in range(4)}

    assert found == {0, 52, 5200, 5252}


def test_up_to_ten_classes_have_one_colour_and_more_have_the_digits_of_their_number():
    assert (tile(7, 10) == COLOURS[7]).all()
    assert (tile(42, 100) == np.array([[COLOURS[2], COLOURS[4]], [COLOURS[4], COLOURS[2]]])).all()
    assert len({tile(cls, 1000).tobytes() for cls in range(1000)}) == 1000


def test_more_classes_than_colours_can_tell_are_refused(config, small):
    trial = config(shortcut="patch:0.9")
    many = dataclasses.replace(small, classes=tuple(map(str, range(10_001))))

    with pytest.raises(ConfigError, match="shortcut must be none with more than 10000 classes; got 10001"):
        with_shortcut(many, split_of(small, trial), trial)


@pytest.mark.parametrize("split", ["merged", "redrawn"])
def test_an_audit_that_moves_images_between_splits_is_refused(planted, split):
    with pytest.raises(ConfigError, match=f"split must be fixed with a shortcut, .*; got '{split}'"):
        planted("patch:0.9", split=split)


def test_a_shortcut_is_part_of_the_identity_of_a_trial_and_none_leaves_it_as_it_was(config, tiny):
    plain, one, other = (
        TrialSetup.of(config(shortcut=text), tiny, torch.device("cpu")) for text in ("none", "patch:0.9", "patch:0.8")
    )

    assert plain.identity == TrialSetup.of(config(), tiny, torch.device("cpu")).identity
    assert len({plain.identity, one.identity, other.identity}) == 3


def test_a_trial_with_a_shortcut_reports_its_groups_and_its_steps_can_be_made_again(config, tiny, finish, tmp_path):
    trial = config(schedule="1,p", shortcut="patch:0.5:none:conflicting")
    records, report = finish(trial, tiny, tmp_path)

    assert report.group_accuracies == {"aligned": None, "conflicting": report.test_accuracy, "without": None}
    assert 0 <= records[1].error_set_precision <= 1
    assert 0 <= records[1].error_set_recall <= 1
    (step,) = replay_steps(trial, tiny, read_recipes(tmp_path))
    assert step.made == records[1].made_images > 0
    shown = with_shortcut(tiny, split_of(tiny, trial), trial).images[step.examples.ids]
    assert torch.equal(step.examples.originals, shown)
