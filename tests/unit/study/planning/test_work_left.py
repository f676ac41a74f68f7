import dataclasses

import pytest

from proxy_attention.config import TrialConfig
from proxy_attention.proxies.scoring import CHOOSE
from proxy_attention.shared_states import Sharing
from proxy_attention.state_keys import branch_points
from study.planning.work_left import WRONG_FRACTION, Explanation, TrialCost, epoch_lengths, expected_part, work_left


def trial(schedule="40", *, done=0, complete=False, passes=1, **fields):
    config = TrialConfig(schedule=schedule, precision="fp32", threads=1, **fields)
    return TrialCost.of(
        config, data="images", weights=None, epochs_done=done, complete=complete, explanation_passes=passes
    )


def grid(schedule="20,p,19", alone="40", **fields):
    """One baseline and 24 settings."""
    values = [(t, w, s) for t in (0.2, 0.4, 0.6, 0.8) for w in (0.5, 0.75, 1.0) for s in (0.5, 1.0)]
    return [trial(alone)] + [trial(schedule, threshold=t, weight=w, subset=s, **fields) for t, w, s in values]


@pytest.fixture
def sharing(tmp_path):
    return Sharing(tmp_path / "prefixes")


def test_the_grid_of_the_thesis_trains_496_of_its_1000_epochs(sharing):
    found = work_left(grid(), sharing, device="cpu")

    assert (found.trials, found.nominal_epochs, found.epochs, found.longest) == (25, 1000, 496, 40)
    assert (found.steps, found.scorings, found.states) == (24, 1, 1)


def test_without_sharing_every_trial_trains_all_its_epochs():
    found = work_left(grid(), None, device="cpu")

    assert (found.nominal_epochs, found.epochs, found.steps, found.scorings, found.states) == (1000, 1000, 24, 24, 0)


def test_online_scores_take_no_pass_and_what_was_seen_in_training_is_explained_by_one_of_its_own(sharing):
    shared, alone = (work_left(grid(collect="online"), each, device="cpu") for each in (sharing, None))

    assert (shared.scorings, alone.scorings) == (0, 0)
    assert shared.explanations == (Explanation("gradcam", 1, 0.15), Explanation("gradcam", 1, 0.3))
    assert len(alone.explanations) == 24


def test_each_explanation_needs_a_pass_of_its_own(sharing):
    settings = [trial("1,p,1", saliency=name, weight=w) for name in ("gradcam", "gradcam++") for w in (0.5, 1.0)]

    found = work_left(settings, sharing, device="cpu")

    assert (found.steps, found.scorings) == (4, 2)


def test_a_step_that_may_be_skipped_is_counted_as_if_it_were_not(sharing):
    settings = [trial("40"), trial("20,p?,9,p?,9"), trial("20,p,9,p?,9")]

    found = work_left(settings, sharing, device="cpu")

    assert (found.steps, found.may_skip, found.scorings) == (4, True, 3)
    assert found.epochs == 40 + 19 + 19
    assert not work_left(grid(), sharing, device="cpu").may_skip


def test_gradcam_of_clean_scores_takes_no_pass_beside_the_one_that_scores(sharing):
    assert work_left(grid("20,p,9,p,9"), sharing, device="cpu").explanations == ()


def test_a_method_with_passes_of_its_own_explains_once_what_settings_share(sharing):
    settings = grid("20,p,19", saliency="scorecam", passes=64)

    shared, alone = (work_left(settings, each, device="cpu") for each in (sharing, None))

    assert (shared.scorings, alone.scorings) == (1, 24)
    assert shared.explanations == (Explanation("scorecam", 64, 0.15), Explanation("scorecam", 64, 0.3))
    assert len(alone.explanations) == 24


def test_each_way_to_choose_or_to_look_is_explained_on_its_own(sharing):
    changes = [{}, {"order": "first"}, {"subset": 0.5}, {"subset": 0.5, "order": "first"}, {"explain": "true"},
               {"mask": "untrained"}, {"mask": "random"}, {"weight": 0.1}]  # fmt: skip
    settings = [trial("1,p,1", saliency="scorecam", **change) for change in changes]

    # all images are all in any order; a random mask and a weight are no other map
    assert len(work_left(settings, sharing, device="cpu").explanations) == 5


def test_an_untrained_model_and_a_proxy_of_a_proxy_are_explained_by_passes_of_their_own(sharing):
    (untrained,) = work_left([trial("1,p,1", mask="untrained")], sharing, device="cpu").explanations
    compound = work_left([trial("1,p,p,1", compound=True)], sharing, device="cpu")

    assert untrained == Explanation("gradcam", 1, 0.3)
    assert (compound.scorings, compound.explanations) == (2, (Explanation("gradcam", 1, 0.3),))


@pytest.mark.parametrize(("whom", "part"), [("wrong", 0.3), ("right", 0.7), ("all", 1.0), ("random", 0.3)])
def test_a_step_is_expected_to_choose_by_an_assumed_part_of_wrong_images(sharing, whom, part):
    costly = trial("1,p,1", saliency="scorecam", choose=whom, subset=0.5)

    assert WRONG_FRACTION == 0.3
    assert expected_part(costly.config, 0) == pytest.approx(part / 2)
    (explanation,) = work_left([costly], sharing, device="cpu").explanations
    assert explanation.part == pytest.approx(part / 2)


def test_whoever_is_chosen_is_explained_on_his_own(sharing):
    settings = [trial("1,p,1", saliency="scorecam", choose=whom) for whom in CHOOSE]

    found = work_left(settings, sharing, device="cpu")

    assert (found.scorings, len(found.explanations)) == (1, 4)


def test_known_places_are_not_explained(sharing):
    found = work_left([trial("1,p,1", mask="region", saliency="scorecam", passes=64)], sharing, device="cpu")

    assert (found.steps, found.scorings, found.explanations) == (1, 1, ())


def test_later_steps_explain_as_many_images_fewer_as_the_subset_decays(sharing):
    (setting,) = (trial("p,p?,p", saliency="scorecam", subset=0.5, subset_decay=0.1),)

    explanations = work_left([setting], sharing, device="cpu").explanations

    assert [explanation.part for explanation in explanations] == pytest.approx([0.15, 0.015, 0.0015])


def test_seeds_share_nothing(sharing):
    found = work_left([trial("4", seed=0), trial("4", seed=1)], sharing, device="cpu")

    assert (found.epochs, found.states) == (8, 0)


def test_epochs_over_a_part_of_the_images_cost_a_part(sharing):
    found = work_left([trial("4"), trial("4", train_fraction=0.25)], sharing, device="cpu")

    assert (found.epochs, found.full_epochs, found.longest) == (8, 5.0, 4.0)


def test_passes_over_a_part_of_the_images_cost_a_part(sharing):
    arms = [trial("1,p,1", train_fraction=part, saliency="scorecam") for part in (0.5, 0.125)]

    found = work_left(arms, sharing, device="cpu")

    assert (found.scorings, found.full_scorings) == (2, 1.25)
    assert [explanation.images for explanation in found.explanations] == [1.0, 0.25]


@pytest.mark.parametrize(
    ("fields", "lengths"),
    [
        ({}, [1, 1, 1, 1]),
        ({"substitute": "add"}, [1, 1, 1.3, 1.3]),
        ({"substitute": "add", "repeats": 20, "subset": 0.5}, [1, 1, 4, 4]),
        ({"substitute": "add", "choose": "all", "schedule": "p,p,2", "subset_decay": 0.5}, [1, 2, 1.5, 1.5]),
    ],
)
def test_added_proxies_make_epochs_longer_by_as_many_as_are_expected(sharing, fields, lengths):
    config = trial(**{"schedule": "1,p,2", **fields})

    assert epoch_lengths(config.config) == pytest.approx(lengths)
    found = work_left([config], sharing, device="cpu")
    assert (found.epochs, found.full_epochs, found.longest) == (
        4,
        pytest.approx(sum(lengths)),
        pytest.approx(sum(lengths)),
    )


def test_the_longest_trial_is_the_one_with_the_most_images_to_train_on(sharing):
    found = work_left([trial("4"), trial("12", train_fraction=0.25)], sharing, device="cpu")

    assert found.longest == 4.0


def test_what_is_complete_or_done_is_not_trained_again(sharing):
    found = work_left([trial("4", complete=True), trial("1,p,2", done=3)], sharing, device="cpu")

    assert (found.trials, found.epochs, found.nominal_epochs, found.steps) == (1, 1, 1, 0)


def test_a_shared_state_that_is_there_already_is_not_trained_again(sharing):
    settings = [trial("1,p,2", weight=w) for w in (0.5, 1.0)]
    (name,) = branch_points(each.state_keys for each in settings)
    path = sharing.path(name, device="cpu")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")

    assert work_left(settings, sharing, device="cpu").epochs == 4


def test_judging_costs_its_passes_of_every_model_that_is_left(sharing):
    trials = [dataclasses.replace(trial("1,p", weight=w), judge_passes=230) for w in (0.25, 0.5, 1.0)]
    complete = dataclasses.replace(trials[0], complete=True)

    assert (
        work_left(trials, sharing, device="cpu").judge_passes
        == work_left(trials, None, device="cpu").judge_passes
        == 690
    )
    assert work_left([complete, *trials[1:]], sharing, device="cpu").judge_passes == 460
