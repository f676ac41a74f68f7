import numpy as np
import torch

from proxy_attention.data.groups import Groups

FOUR = Groups.of(["sea", "land", "conflicting", "sea"])


def test_each_image_has_the_group_of_its_name_and_the_names_are_sorted():
    assert FOUR.names == ("conflicting", "land", "sea")
    assert FOUR.numbers.tolist() == [2, 1, 0, 2]
    assert FOUR.numbers.dtype == torch.int64
    assert [FOUR.name_of(image) for image in range(4)] == ["sea", "land", "conflicting", "sea"]


def test_a_part_of_the_images_keeps_every_group_also_one_without_an_image():
    part = FOUR.at([3, 1])

    assert part.names == FOUR.names
    assert part.numbers.tolist() == [2, 1]
    assert part.conflicting == FOUR.conflicting


def test_images_are_counted_by_group():
    assert FOUR.counts(np.array([0, 1, 3])).tolist() == [0, 1, 2]
    assert FOUR.counts(np.array([], dtype=int)).tolist() == [0, 0, 0]


def test_conflicting_groups_are_those_that_are_named_so_or_given():
    birds = Groups.of(["a", "b", "c"], conflicting=("a", "c", "of no image"))

    assert FOUR.conflicting == {"conflicting"}
    assert Groups.of(["a", "b"]).conflicting == frozenset()
    assert birds.conflicting == {"a", "c"}
    assert birds.conflicts(torch.tensor([2, 1, 0])).tolist() == [True, False, True]
