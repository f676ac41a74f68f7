"""What a trial fixes before its first epoch, and what it refuses there."""

import dataclasses

import numpy as np
import pytest
import torch

from proxy_attention.data.groups import Groups
from proxy_attention.data.splits import draw_split
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.trial_setup import TrialSetup

CPU = torch.device("cpu")


def test_a_setup_holds_the_digest_the_split_and_the_epochs_of_its_config(config, tiny):
    trial = config(schedule="1,p,2")
    setup = TrialSetup.of(trial, tiny, CPU)

    assert setup.identity == trial.digest(data=tiny.digest, weights=None)
    assert setup.split.digest == draw_split(tiny.labels.numpy(), tiny.own_test.numpy(), trial).digest
    assert [(epoch.index, epoch.item) for epoch in setup.epochs] == [(0, 0), (1, 1), (2, 2), (3, 2)]


def test_a_group_without_an_image_is_told_in_one_line(config, tiny, caplog):
    names = ["land" if own_test else "sea" for own_test in tiny.own_test.tolist()]
    TrialSetup.of(config(), tiny, CPU)
    TrialSetup.of(config(), dataclasses.replace(tiny, groups=Groups.of(names)), CPU)

    assert caplog.messages == [
        "groups of fashion-mnist-sample: no train image of land; no val image of land; no test image of sea"
    ]


def test_the_training_set_starts_with_the_originals_of_the_split(config, tiny):
    setup = TrialSetup.of(config(), tiny, CPU)
    originals = setup.originals()

    assert originals.train.tolist() == setup.split.train.tolist()
    assert len(originals.active_ids) == 0


@pytest.mark.parametrize(("split", "same"), [("fixed", True), ("merged", True), ("redrawn", False)])
def test_only_the_redrawn_audit_draws_another_split_at_a_later_item(config, tiny, split, same):
    setup = TrialSetup.of(config(schedule="1,1", split=split), tiny, CPU)

    assert np.array_equal(setup.split_at(1).train, setup.split.train) is same
    assert np.array_equal(setup.split_at(1).test, setup.split.test)


def test_a_method_that_cannot_explain_the_model_is_refused_before_training(config, tiny):
    setup = TrialSetup.of(config(model="test_resnet", saliency="attention-rollout"), tiny, CPU)

    with pytest.raises(ConfigError, match=r"^saliency must be .* attention"):
        setup.new_training()


def test_a_data_set_that_tells_no_place_has_none_to_replace(config, tiny):
    with pytest.raises(ConfigError, match=r"^mask must be another than region where no place is known"):
        TrialSetup.of(config(mask="region"), tiny, CPU)


def test_a_place_that_cannot_be_read_is_an_error_before_training(config, tiny):
    def region(number):
        raise DataError(f"no place of {number}")

    images = dataclasses.replace(tiny, region=region)
    first = TrialSetup.of(config(mask="random", judge_images=0), images, CPU).split.train[0]

    with pytest.raises(DataError, match=f"^no place of {first}$"):
        TrialSetup.of(config(mask="region"), images, CPU)


def test_a_method_that_cannot_explain_the_model_is_no_matter_where_nothing_is_explained(config, tiny):
    images = dataclasses.replace(tiny, region=lambda number: np.eye(2, dtype=bool))
    trial = config(model="test_resnet", saliency="attention-rollout", mask="region")

    assert TrialSetup.of(trial, images, CPU).new_training().model.classes == 10


def test_a_trial_without_a_judge_judges_no_image(config, tiny):
    setup = TrialSetup.of(config(judge_images=0), tiny, CPU)

    assert setup.judge is None
    assert setup.judged_ids.tolist() == []
