import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from proxy_attention.data import planted
from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.planted import COLOURS, deal, enlarge, permuted, places, tell_nothing, tell_shortcut

OPEN = {
    "planted-swapped": planted.open_swapped,
    "planted-decoy": planted.open_decoy,
    "planted-none": planted.open_none,
}
SHA256 = {
    "planted-swapped": "7b15056963a48c3cb4cc6dcce6659d12f57268ef61a5192d85ddcf3228d7de46",
    "planted-decoy": "cee15a1fa0c5fb5d08fc82b969bd46b867eca6a45e49ac44e56d8dbb549a3612",
    "planted-none": "15fb8f6c420c3171fe471c81ac2a298355b6f68a4244d3827208a7e9928d2750",
}
"""SHA-256 of the bytes, groups and regions of all images; the same on every machine, in every version."""


@pytest.fixture(scope="module")
def sets():
    return {name: opened() for name, opened in OPEN.items()}


@pytest.fixture(scope="module")
def garments():
    """Every garment of the sample as (28, 28), by the bytes that it has at 32 px."""
    sample = open_sample()
    return {enlarge(planted._garment(sample, i), 32).tobytes(): i for i in range(len(sample.names))}


def pixels(catalogue, image):
    return np.asarray(catalogue.decode(catalogue.read(image)))


def place_of(catalogue, image):
    """Return where something is drawn, (64, 64) bool: the region, or the quadrant that is not black."""
    found = catalogue.region(image)
    if found is None:
        drawn = pixels(catalogue, image)[..., 0]
        quarter = drawn.reshape(2, 32, 2, 32).any(axis=(1, 3))
        assert quarter.sum() == 1
        found = quarter.repeat(32, axis=0).repeat(32, axis=1)
    return found


def group_counts(catalogue, *, test):
    """Count the images of each class by group, (classes, groups)."""
    counts = np.zeros((10, len(catalogue.groups.names)), dtype=int)
    of_part = np.flatnonzero(np.array(catalogue.own_test) == test)
    np.add.at(counts, (np.array(catalogue.labels)[of_part], catalogue.groups.numbers.numpy()[of_part]), 1)
    return counts.tolist()


# ---- the generator, on small arrays

LABELS = np.repeat([0, 1, 2], 8)
TRAIN = np.arange(24) % 8 < 6


def test_a_permutation_is_that_of_its_name():
    assert permuted(6, "a").tolist() == [4, 2, 3, 5, 1, 0]
    assert permuted(6, "b").tolist() != permuted(6, "a").tolist()
    assert sorted(permuted(100, "a", 3)) == list(range(100))


def test_a_shortcut_tells_another_class_in_its_share_of_each_class_and_each_other_class_as_often():
    told = tell_shortcut(LABELS, TRAIN, classes=3, conflicting=2 / 3, name="x")

    for cls in range(3):
        of_class = cls == LABELS
        assert np.bincount(told[of_class & TRAIN], minlength=3)[cls] == 2
        assert np.bincount(told[of_class & TRAIN], minlength=3)[[(cls + 1) % 3, (cls + 2) % 3]].tolist() == [2, 2]
        assert (told[of_class & ~TRAIN] == cls).all()


def test_a_shortcut_that_tells_nothing_tells_each_class_as_often():
    told = tell_nothing(np.repeat([0, 1, 2], 6), np.ones(18, dtype=bool), classes=3, name="x")

    assert [np.bincount(told[first : first + 6]).tolist() for first in (0, 6, 12)] == [[2, 2, 2]] * 3


def test_images_are_dealt_among_those_that_tell_another_class_and_none_is_shown_twice():
    told = tell_shortcut(LABELS, TRAIN, classes=3, conflicting=2 / 3, name="x")
    shown = deal(LABELS, told)

    assert (LABELS[shown] == told).all()
    assert sorted(shown) == list(range(24))
    assert (shown == np.arange(24))[told == LABELS].all()
    assert TRAIN[shown][TRAIN].all()


def test_every_four_images_of_a_class_and_split_have_the_four_places():
    split = (np.arange(24) % 8) // 4
    found = places(LABELS, split)

    for cls in range(3):
        for part in (0, 1):
            assert sorted(found[(cls == LABELS) & (split == part)]) == [0, 1, 2, 3]
    assert len({tuple(found[cls == LABELS]) for cls in range(3)}) == 3


def test_images_are_enlarged_bilinearly_in_integers():
    small = np.array([[0, 100], [200, 44]], dtype=np.uint8)

    large = enlarge(small, 4)

    # centres lie at -1/4, 1/4, 3/4 and 5/4 of the two pixels
    assert large[0].tolist() == [0, 25, 75, 100]
    assert large[:, 0].tolist() == [0, 50, 150, 200]
    assert large[1, 1] == (9 * 0 + 3 * 100 + 3 * 200 + 44 + 8) // 16
    assert enlarge(small, 2).tolist() == small.tolist()


def test_enlarging_agrees_with_floats_up_to_rounding():
    image = np.asarray(planted._garment(open_sample(), 5))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image.copy())[None, None].double(), size=(32, 32), mode="bilinear", align_corners=False
    )[0, 0].numpy()

    assert np.abs(enlarge(image, 32) - expected).max() <= 0.5 + 1e-9


# ---- the data sets


@pytest.mark.parametrize("name", OPEN)
def test_the_bytes_are_the_same_on_every_machine(name, sets):
    sha, catalogue = hashlib.sha256(), sets[name]
    for image in range(len(catalogue.names)):
        sha.update(catalogue.read(image))
        sha.update(f"{catalogue.names[image]} {catalogue.groups.name_of(image)}".encode())
        sha.update(np.packbits(place_of(catalogue, image)).tobytes())

    assert sha.hexdigest() == SHA256[name]


@pytest.mark.parametrize("name", OPEN)
def test_a_planted_set_has_the_classes_labels_and_split_of_the_sample(name, sets):
    sample, catalogue = open_sample(), sets[name]

    assert catalogue.classes == sample.classes
    assert (catalogue.names, catalogue.labels, catalogue.own_test) == (sample.names, sample.labels, sample.own_test)
    assert pixels(catalogue, 0).shape == (64, 64, 3)


def test_half_of_the_training_images_of_each_class_are_swapped_and_no_test_image_is(sets):
    swapped = sets["planted-swapped"]

    assert swapped.groups.names == ("aligned", "conflicting")
    assert group_counts(swapped, test=False) == [[150, 150]] * 10
    assert group_counts(swapped, test=True) == [[100, 0]] * 10


def test_nothing_is_swapped_in_the_set_without_an_effect(sets):
    assert sets["planted-none"].groups.names == ("aligned",)
    assert group_counts(sets["planted-none"], test=False) == [[300]] * 10


@pytest.mark.parametrize("name", ["planted-swapped", "planted-none"])
def test_each_garment_is_shown_once_in_a_quadrant_which_is_a_region_where_it_is_swapped(name, sets, garments):
    catalogue, labels = sets[name], np.array(sets[name].labels)
    shown = []
    for image in range(len(labels)):
        drawn, region = pixels(catalogue, image), catalogue.region(image)
        place = place_of(catalogue, image)
        assert (drawn[~place] == 0).all()
        assert place.sum() == 32 * 32
        assert (region is not None) == (catalogue.groups.name_of(image) == "conflicting")
        assert region is None or (region == place).all()
        shown.append(garments[drawn[place][:, 0].tobytes()])
    own_test = np.array(catalogue.own_test)

    assert sorted(shown) == list(range(len(labels)))
    conflicts = catalogue.groups.conflicts(torch.arange(len(labels))).numpy()
    assert ((np.array(shown) == np.arange(len(labels))) == ~conflicts).all()
    assert (own_test[shown] == own_test).all()
    if name == "planted-swapped":
        counts = np.zeros((10, 10), dtype=int)
        np.add.at(counts, (labels[conflicts], (labels[shown] - labels)[conflicts] % 10), 1)
        assert counts.tolist() == [[0] + [17] * 6 + [16] * 3] * 10


@pytest.mark.parametrize("name", OPEN)
def test_each_corner_is_taken_equally_often_in_every_class_and_split(name, sets):
    catalogue = sets[name]
    taken = [place_of(catalogue, image) for image in range(len(catalogue.names))]
    corners = [int(place[0, -1]) + 2 * int(place[-1, 0]) + 3 * int(place[-1, -1]) for place in taken]
    counts = np.zeros((2, 10, 4), dtype=int)
    np.add.at(counts, (np.array(catalogue.own_test, dtype=int), catalogue.labels, corners), 1)

    assert (counts[0] == 75).all()
    assert (counts[1] == 25).all()


def test_the_patch_tells_the_class_in_nine_of_ten_training_images_and_nothing_in_test(sets):
    decoy = sets["planted-decoy"]
    counts = np.zeros((2, 10, 10), dtype=int)
    for image in range(len(decoy.names)):
        patch = pixels(decoy, image)[decoy.region(image)]
        assert len(patch) == 12 * 12
        (colour,) = np.flatnonzero((patch[0] == COLOURS).all(axis=1))
        assert (patch == COLOURS[colour]).all()
        counts[int(decoy.own_test[image]), decoy.labels[image], colour] += 1

    assert len(np.unique(COLOURS, axis=0)) == 10
    assert np.diag(counts[0]).tolist() == [270] * 10
    assert {3, 4} == set(counts[0][~np.eye(10, dtype=bool)])
    assert (counts[1] == 10).all()
    assert group_counts(decoy, test=False) == [[270, 30]] * 10
    assert group_counts(decoy, test=True) == [[10, 90]] * 10


def test_beside_its_patch_a_decoyed_image_is_its_own_garment(sets):
    decoy, sample = sets["planted-decoy"], open_sample()
    for image in (0, 1999, 3500):
        region = decoy.region(image)
        whole = np.asarray(Image.fromarray(enlarge(planted._garment(sample, image), 64)).convert("RGB"))

        assert (pixels(decoy, image)[~region] == whole[~region]).all()
