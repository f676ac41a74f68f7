import dataclasses

import pytest

from proxy_attention.config import TrialConfig
from proxy_attention.shared_states import Sharing
from proxy_attention.state_keys import branch_points
from study.planning.benchmark import Speed
from study.planning.cost import START_SECONDS, TRIAL_SECONDS, WRONG, Explanation, Price, TrialCost, Work, work


def passage(schedule="40", *, done=0, complete=False, passes=1, **fields):
    config = TrialConfig(schedule=schedule, precision="fp32", threads=1, **fields)
    return TrialCost.of(config, data="images", weights=None, done=done, complete=complete, passes=passes)


def grid(schedule="20,p,19", alone="40", **fields):
    """One baseline and 24 settings."""
    values = [(t, w, s) for t in (0.2, 0.4, 0.6, 0.8) for w in (0.5, 0.75, 1.0) for s in (0.5, 1.0)]
    return [passage(alone)] + [passage(schedule, threshold=t, weight=w, subset=s, **fields) for t, w, s in values]


@pytest.fixture
def sharing(tmp_path):
    return Sharing(tmp_path / "prefixes")


def test_the_grid_of_the_thesis_trains_496_of_its_1000_epochs(sharing):
    found = work(grid(), sharing, device="cpu")

    assert (found.trials, found.nominal, found.epochs, found.longest) == (25, 1000, 496, 40)
    assert (found.steps, found.scorings, found.states) == (24, 1, 1)


def test_without_sharing_every_trial_trains_all_its_epochs():
    found = work(grid(), None, device="cpu")

    assert (found.nominal, found.epochs, found.steps, found.scorings, found.states) == (1000, 1000, 24, 24, 0)


def test_online_scores_take_no_pass_and_what_was_seen_in_training_is_explained_by_one_of_its_own(sharing):
    shared, alone = (work(grid(collect="online"), each, device="cpu") for each in (sharing, None))

    assert (shared.scorings, alone.scorings) == (0, 0)
    assert shared.explanations == (Explanation("gradcam", 1, 0.5), Explanation("gradcam", 1, 1.0))
    assert len(alone.explanations) == 24


def test_each_explanation_needs_a_pass_of_its_own(sharing):
    settings = [passage("1,p,1", saliency=name, weight=w) for name in ("gradcam", "gradcam++") for w in (0.5, 1.0)]

    found = work(settings, sharing, device="cpu")

    assert (found.steps, found.scorings) == (4, 2)


def test_a_step_that_may_be_skipped_is_counted_as_if_it_were_not(sharing):
    settings = [passage("40"), passage("20,p?,9,p?,9"), passage("20,p,9,p?,9")]

    found = work(settings, sharing, device="cpu")

    assert (found.steps, found.may_skip, found.scorings) == (4, True, 3)
    assert found.epochs == 40 + 19 + 19
    assert not work(grid(), sharing, device="cpu").may_skip


def test_gradcam_of_clean_scores_takes_no_pass_beside_the_one_that_scores(sharing):
    assert work(grid("20,p,9,p,9"), sharing, device="cpu").explanations == ()


def test_a_method_with_passes_of_its_own_explains_once_what_settings_share(sharing):
    settings = grid("20,p,19", saliency="scorecam", passes=64)

    shared, alone = (work(settings, each, device="cpu") for each in (sharing, None))

    assert (shared.scorings, alone.scorings) == (1, 24)
    assert shared.explanations == (Explanation("scorecam", 64, 0.5), Explanation("scorecam", 64, 1.0))
    assert len(alone.explanations) == 24


def test_each_way_to_choose_or_to_look_is_explained_on_its_own(sharing):
    changes = [{}, {"order": "first"}, {"subset": 0.5}, {"subset": 0.5, "order": "first"}, {"explain": "true"},
               {"mask": "untrained"}, {"mask": "random"}, {"weight": 0.1}]  # fmt: skip
    settings = [passage("1,p,1", saliency="scorecam", **change) for change in changes]

    # all images are all in any order; a random mask and a weight are no other map
    assert len(work(settings, sharing, device="cpu").explanations) == 5


def test_an_untrained_model_and_a_proxy_of_a_proxy_are_explained_by_passes_of_their_own(sharing):
    (untrained,) = work([passage("1,p,1", mask="untrained")], sharing, device="cpu").explanations
    compound = work([passage("1,p,p,1", compound=True)], sharing, device="cpu")

    assert untrained == Explanation("gradcam", 1, 1.0)
    assert (compound.scorings, compound.explanations) == (2, (Explanation("gradcam", 1, 1.0),))


def test_later_steps_explain_as_many_images_fewer_as_the_subset_decays(sharing):
    (setting,) = (passage("p,p?,p", saliency="scorecam", subset=0.5, subset_decay=0.1),)

    explanations = work([setting], sharing, device="cpu").explanations

    assert [explanation.subset for explanation in explanations] == [0.5, 0.05, 0.005]


def test_seeds_share_nothing(sharing):
    found = work([passage("4", seed=0), passage("4", seed=1)], sharing, device="cpu")

    assert (found.epochs, found.states) == (8, 0)


def test_epochs_over_a_part_of_the_images_cost_a_part(sharing):
    found = work([passage("4"), passage("4", train_fraction=0.25)], sharing, device="cpu")

    assert (found.epochs, found.full_epochs, found.longest) == (8, 5.0, 4.0)


def test_passes_over_a_part_of_the_images_cost_a_part(sharing):
    arms = [passage("1,p,1", train_fraction=part, saliency="scorecam") for part in (0.5, 0.125)]

    found = work(arms, sharing, device="cpu")

    assert (found.scorings, found.full_scorings) == (2, 1.25)
    assert [explanation.images for explanation in found.explanations] == [1.0, 0.25]
    assert price(explanations=found.explanations).explaining_seconds == pytest.approx(0.3 * 100 * 1.25 * 0.001)


def test_the_longest_trial_is_the_one_with_the_most_images_to_train_on(sharing):
    found = work([passage("4"), passage("12", train_fraction=0.25)], sharing, device="cpu")

    assert found.longest == 4.0


def test_what_is_complete_or_done_is_not_trained_again(sharing):
    found = work([passage("4", complete=True), passage("1,p,2", done=3)], sharing, device="cpu")

    assert (found.trials, found.epochs, found.nominal, found.steps) == (1, 1, 1, 0)


def test_a_shared_state_that_is_there_already_is_not_trained_again(sharing):
    settings = [passage("1,p,2", weight=w) for w in (0.5, 1.0)]
    (name,) = branch_points(each.names for each in settings)
    path = sharing.path(name, device="cpu")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")

    assert work(settings, sharing, device="cpu").epochs == 4


SPEED = Speed(train_seconds=0.01, look_seconds=0.001, weights_mb=2.0)


def price(trials=4, epochs=40, longest=10, scorings=2, states=1, concurrency=2, explanations=(), judging=0):
    todo = Work(
        trials,
        epochs,
        nominal=epochs,
        longest=longest,
        steps=3,
        scorings=scorings,
        states=states,
        full_epochs=epochs,
        full_scorings=scorings,
        explanations=explanations,
        judging=judging,
    )
    return Price(todo, SPEED, train=100, val=50, test=20, concurrency=concurrency)


def test_a_price_is_the_work_at_the_measured_speed():
    one = 100 * 0.01 + 50 * 0.001
    total = 40 * one + (2 * 100 + 4 * 20) * 0.001 + 4 * TRIAL_SECONDS

    assert price().seconds_per_epoch == pytest.approx(one)
    assert price().seconds() == pytest.approx(START_SECONDS + total / 2)


def test_explanations_cost_their_passes_over_the_images_that_are_taken_to_be_wrong():
    costly = price(explanations=(Explanation("scorecam", 64, 0.5), Explanation("scorecam", 64, 1.0)))

    assert WRONG == 0.3
    assert costly.explaining_seconds == pytest.approx(0.3 * 100 * 64 * 1.5 * 0.001)
    assert costly.seconds() == pytest.approx(price().seconds() + costly.explaining_seconds / 2)
    assert price().explaining_seconds == 0


def test_judging_costs_its_passes_of_every_model_that_is_left(sharing):
    trials = [dataclasses.replace(passage("1,p", weight=w), judging=230) for w in (0.25, 0.5, 1.0)]
    complete = dataclasses.replace(trials[0], complete=True)

    assert work(trials, sharing, device="cpu").judging == work(trials, None, device="cpu").judging == 690
    assert work([complete, *trials[1:]], sharing, device="cpu").judging == 460
    assert price(judging=690).seconds() == pytest.approx(price().seconds() + 690 * SPEED.look_seconds / 2)


def test_no_number_of_machines_is_faster_than_the_longest_trial():
    assert price(trials=40).seconds(100) == pytest.approx(START_SECONDS + 10 * price().seconds_per_epoch)
    assert price().seconds(2) < price().seconds(1)


def test_nothing_left_costs_nothing():
    assert price(trials=0, epochs=0, longest=0).seconds() == 0


def test_disk_holds_the_weights_of_every_trial_and_shared_states_with_their_moments():
    assert price(concurrency=1).disk_mb == (4 + 3 + 6) * 2


def test_what_a_trial_takes_beside_its_epochs_is_told_in_epochs():
    config = TrialConfig(schedule="1,p,p", saliency="integrated-gradients", subset=0.5, subset_decay=0.5)
    scored = TrialConfig(schedule="1,p,p", saliency="gradcam")
    found = price()

    explaining = 0.3 * 100 * 64 * (0.5 + 0.25) * SPEED.look_seconds
    assert found.epochs_worth(config, 64) == pytest.approx((TRIAL_SECONDS + explaining) / found.seconds_per_epoch)
    assert found.epochs_worth(scored, 1) == pytest.approx(TRIAL_SECONDS / found.seconds_per_epoch)
    judged = (TRIAL_SECONDS + 1150 * SPEED.look_seconds) / found.seconds_per_epoch
    assert found.epochs_worth(scored, 1, judging=1150) == pytest.approx(judged)
