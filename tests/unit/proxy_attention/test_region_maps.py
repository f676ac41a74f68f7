"""Known places at the size of the images, and the data sets that tell none."""

import numpy as np
import pytest
import torch

from proxy_attention.errors import ConfigError
from proxy_attention.region_maps import check_regions_known, nearest, region_maps


def test_a_place_is_resized_by_nearest_neighbour():
    place = np.array([[True, False, False, False], [False, False, True, True]])

    assert nearest(place, 4).astype(int).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert nearest(place, 2).astype(int).tolist() == [[0, 0], [0, 1]]


def test_a_map_is_true_inside_and_false_outside_and_where_no_place_is_known():
    places = {3: np.eye(2, dtype=bool), 5: None, 8: np.ones((3, 3), dtype=bool)}

    maps = region_maps(places.get, [3, 5, 8], 2)

    assert maps.dtype == torch.bool
    assert maps.int().tolist() == [[[1, 0], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]]


def test_without_regions_no_place_is_known():
    assert region_maps(None, [1, 2], 4).tolist() == torch.zeros(2, 4, 4, dtype=torch.bool).tolist()
    assert region_maps(None, [], 4).shape == (0, 4, 4)


@pytest.mark.parametrize(
    "fields", [{"mask": "region", "schedule": "2"}, {"mask": "random", "schedule": "1,p"}], ids=["no step", "a map"]
)
def test_a_trial_that_replaces_no_known_place_needs_none(config, fields):
    check_regions_known(config(**fields), known=False)


def test_a_data_set_that_tells_no_place_is_refused_in_one_line(config):
    trial = config(mask="region")
    check_regions_known(trial, known=True)

    with pytest.raises(ConfigError) as error:
        check_regions_known(trial, known=False)
    assert str(error.value) == (
        "mask must be another than region where no place is known; got it for 'fashion-mnist-sample'"
    )
