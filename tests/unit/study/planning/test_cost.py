import dataclasses

import pytest

from proxy_attention.config import TrialConfig
from study.planning.benchmark import Speed
from study.planning.cost import START_SECONDS, TRIAL_SECONDS, RunCost, expected_progress
from study.planning.work_left import Explanation, TrialCost, WorkLeft

SPEED = Speed(train_seconds=0.01, pass_seconds=0.001, weights_mb=2.0)


def cost(trials=4, epochs=40, longest=10, scorings=2, states=1, concurrency=2, explanations=(), judging=0):
    left = WorkLeft(
        trials,
        epochs,
        nominal_epochs=epochs,
        longest=longest,
        steps=3,
        scorings=scorings,
        states=states,
        full_epochs=epochs,
        full_scorings=scorings,
        explanations=explanations,
        judge_passes=judging,
    )
    return RunCost(left, SPEED, train_images=100, val_images=50, test_images=20, concurrency=concurrency)


def test_a_cost_is_the_work_at_the_measured_speed():
    one = 100 * 0.01 + 50 * 0.001
    total = 40 * one + (2 * 100 + 4 * 20) * 0.001 + 4 * TRIAL_SECONDS

    assert cost().seconds_per_epoch == pytest.approx(one)
    assert cost().seconds() == pytest.approx(START_SECONDS + total / 2)


def test_explanations_cost_their_passes_over_the_images_that_are_expected_to_be_chosen():
    costly = cost(explanations=(Explanation("scorecam", 64, 0.15), Explanation("scorecam", 64, 0.3)))

    assert costly.explanation_seconds == pytest.approx(0.3 * 100 * 64 * 1.5 * 0.001)
    assert costly.seconds() == pytest.approx(cost().seconds() + costly.explanation_seconds / 2)
    assert cost().explanation_seconds == 0


def test_judging_costs_its_passes():
    assert cost(judging=690).seconds() == pytest.approx(cost().seconds() + 690 * SPEED.pass_seconds / 2)


def test_no_number_of_machines_is_faster_than_the_longest_trial():
    assert cost(trials=40).seconds(100) == pytest.approx(START_SECONDS + 10 * cost().seconds_per_epoch)
    assert cost().seconds(2) < cost().seconds(1)


def test_nothing_left_costs_nothing():
    assert cost(trials=0, epochs=0, longest=0).seconds() == 0


def test_disk_holds_the_weights_of_every_trial_and_shared_states_with_their_moments():
    assert cost(concurrency=1).states_mb == (4 + 3 + 6) * 2


def test_an_explanation_of_a_part_of_the_images_costs_a_part():
    explanations = (Explanation("scorecam", 1, 0.3, images=1.0), Explanation("scorecam", 1, 0.3, images=0.25))

    assert cost(explanations=explanations).explanation_seconds == pytest.approx(0.3 * 100 * 1.25 * 0.001)


def test_what_a_trial_takes_beside_its_epochs_is_told_in_epochs():
    steps = {"schedule": "1,p,p", "precision": "fp32", "threads": 1}
    costly = TrialConfig(**steps, saliency="integrated-gradients", subset=0.5, subset_decay=0.5)
    costly, scored = (
        TrialCost.of(config, data="images", weights=None, explanation_passes=passes)
        for config, passes in ((costly, 64), (TrialConfig(**steps, saliency="gradcam"), 1))
    )
    judged = dataclasses.replace(scored, judge_passes=1150)
    found = cost()

    explaining = 0.3 * 100 * 64 * (0.5 + 0.25) * SPEED.pass_seconds
    assert found.extra_epochs(costly) == pytest.approx((TRIAL_SECONDS + explaining) / found.seconds_per_epoch)
    assert found.extra_epochs(scored) == pytest.approx(TRIAL_SECONDS / found.seconds_per_epoch)
    judging = 1150 * SPEED.pass_seconds
    assert found.extra_epochs(judged) == pytest.approx((TRIAL_SECONDS + judging) / found.seconds_per_epoch)


def test_the_expected_time_is_spread_over_the_epochs_and_what_trials_take_beside_them():
    config = TrialConfig(schedule="10", precision="fp32", threads=1)
    trials = [TrialCost.of(config, data="images", weights=None, trial_id=name) for name in "ab"]
    trials.append(dataclasses.replace(trials[0], trial_id="c", complete=True))
    found = cost()

    expected = expected_progress(found, trials)

    extra = TRIAL_SECONDS / found.seconds_per_epoch
    assert (expected.epochs, expected.extra_epochs) == (40, pytest.approx({"a": extra, "b": extra}))
    assert expected.seconds_per_epoch == pytest.approx(found.seconds() / (40 + 2 * extra))
