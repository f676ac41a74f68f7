import dataclasses

import pytest

from proxy_attention.errors import DataError
from study.planned_images import images_of


def test_the_images_of_a_trial_are_those_that_it_was_planned_for(prepared_run, image_folder, tmp_path):
    trial = prepared_run(tmp_path / "run", write=False).plan.trials[0]

    images = images_of(trial, image_folder)

    assert images.digest == trial.data_digest
    assert len(images.labels) == 56
    assert images.images.shape[-1] == trial.config.image_size


def test_images_are_kept_for_the_next_trial_of_a_worker(prepared_run, image_folder, tmp_path):
    one, two = prepared_run(tmp_path / "run", write=False).plan.trials[:2]

    assert images_of(one, image_folder) is images_of(two, image_folder)


def test_images_of_more_pixels_than_allowed_are_refused(prepared_run, image_folder, tmp_path):
    trial = prepared_run(tmp_path / "run", write=False).plan.trials[0]

    with pytest.raises(DataError, match=r"56 of 56 are not: .* \(it has 1,024 pixels; max_pixels allows 1,023\)"):
        images_of(trial, image_folder, max_pixels=1023)


def test_images_that_have_changed_since_the_plan_are_refused(prepared_run, image_folder, tmp_path):
    trial = prepared_run(tmp_path / "run", write=False).plan.trials[0]

    with pytest.raises(DataError, match="the images of folder must be those of the plan; they have changed since it"):
        images_of(dataclasses.replace(trial, data_digest="0" * 64), image_folder)
