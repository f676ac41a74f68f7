import dataclasses
import math

import pytest

from proxy_attention.state_keys import branch_points, state_keys
from study.planning.planner import Planner
from study.planning.search import (
    confirmation_plan,
    expected_configs,
    grid_plan,
    leaders_first,
    models_of,
    random_plan,
)
from study.planning.study_file import parse_study


@pytest.fixture
def planner_of(image_folder):
    def make(study):
        return Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {})

    return make


@pytest.fixture
def planned(study_text, planner_of):
    """Draw a random plan of a study."""

    def make(suggestions, *settings, seeds=(0, 1)):
        study = parse_study(study_text, settings=settings, seeds=seeds)
        return random_plan(study, planner_of(study), suggestions=suggestions)

    return make


def test_a_grid_runs_every_setting_on_a_seed_before_the_next_seed(study_text, planner_of):
    study = parse_study(study_text, seeds=(4, 2))

    trials = grid_plan(study, planner_of(study))

    assert [(trial.arm, trial.config.threshold, trial.config.seed) for trial in trials] == [
        ("baseline", 0.5, 4),
        ("proxy", 0.3, 4),
        ("proxy", 0.6, 4),
        ("random-mask", 0.3, 4),
        ("baseline", 0.5, 2),
        ("proxy", 0.3, 2),
        ("proxy", 0.6, 2),
        ("random-mask", 0.3, 2),
    ]
    assert [int(trial.trial_id[:4]) for trial in trials] == list(range(8))


def test_a_random_plan_has_the_baseline_first_and_as_many_as_asked_on_the_first_seed(planned):
    trials = planned(3, seeds=(7, 1))

    assert [trial.arm for trial in trials] == ["baseline", "proxy", "proxy"]
    assert {trial.config.seed for trial in trials} == {7}
    assert [int(trial.trial_id[:4]) for trial in trials] == [0, 1, 2]


def test_a_random_plan_draws_no_setting_twice_while_there_are_new_ones(planned):
    trials = planned(3)

    assert len({trial.config_digest for trial in trials}) == 3  # all that there are


def test_a_random_plan_goes_on_when_every_setting_was_drawn(planned):
    trials = planned(5)

    assert len(trials) == 5
    assert len({trial.config_digest for trial in trials}) == 3
    assert len({trial.trial_id for trial in trials}) == 5


def test_a_random_plan_is_the_same_every_time(planned):
    wide = "threshold={low = 0.0, high = 1.0}"

    assert planned(6, wide) == planned(6, wide)


def test_a_random_plan_of_another_first_seed_draws_other_settings(planned):
    wide = "threshold={low = 0.0, high = 1.0}"
    one, two = (
        [trial.config.threshold for trial in planned(6, wide, "schedule='1,p'", seeds=(seed,))][1:] for seed in (0, 1)
    )

    assert not set(one) & set(two)


def test_a_random_plan_does_not_depend_on_the_other_seeds(planned):
    assert planned(3, seeds=(0, 1)) == planned(3, seeds=(0, 5, 6))


def test_draws_from_a_range_fill_it_and_stay_inside(planned):
    trials = planned(200, "threshold={low = 0.2, high = 0.4}", "schedule='1,p'")[1:]
    values = [trial.config.threshold for trial in trials]

    assert 0.2 <= min(values) < 0.21
    assert 0.39 < max(values) <= 0.4


def test_draws_on_a_log_scale_have_as_many_in_every_decade(planned):
    trials = planned(300, "lr={low = 0.0001, high = 0.1, log = true}", "schedule='1,p'")[1:]
    decades = [math.floor(math.log10(trial.config.lr)) for trial in trials]

    assert sorted(set(decades)) == [-4, -3, -2]
    assert all(70 < decades.count(decade) < 130 for decade in (-4, -3, -2))


@pytest.mark.parametrize("log", ["", ", log = true"])
def test_draws_of_whole_numbers_are_whole_and_reach_both_ends(planned, log):
    trials = planned(120, f"batch_size={{low = 2, high = 5{log}}}", "schedule='1,p'", "threshold={low=0.0,high=1.0}")
    values = [trial.config.batch_size for trial in trials[1:]]

    assert set(values) == {2, 3, 4, 5}
    assert all(type(value) is int for value in values)


@pytest.fixture
def first_seed(study_text, planner_of):
    """A study of seeds 0, 1 and 2, its planner, and what a search has tried on seed 0."""
    study = parse_study(study_text, settings=["threshold={low = 0.0, high = 1.0}"], seeds=(0, 1, 2))
    planner = planner_of(study)
    values = [{"schedule": "2"}, *({"schedule": "1,p", "threshold": t} for t in (0.1, 0.2, 0.3, 0.2))]
    arms = ("baseline", "proxy", "proxy", "proxy", "proxy")
    configs = [study.config(each, 0) for each in values]
    trials = [planner.trial(number, arms[number], config) for number, config in enumerate(configs)]
    return study, planner, trials


def confirmed(first_seed, val, *, confirm):
    study, planner, trials = first_seed
    accuracies = {trial.trial_id: value for trial, value in zip(trials, val, strict=True) if value is not None}
    found = confirmation_plan(study, planner, trials, accuracies, confirm=confirm)
    return [(trial.arm, trial.config.threshold, trial.config.seed) for trial in found]


def test_the_best_by_val_the_baseline_and_the_arms_are_confirmed_on_the_other_seeds(first_seed):
    assert confirmed(first_seed, [90, 50, 70, 60, 70], confirm=1) == [
        ("baseline", 0.5, 1),
        ("proxy", 0.2, 1),
        ("random-mask", 0.3, 1),
        ("baseline", 0.5, 2),
        ("proxy", 0.2, 2),
        ("random-mask", 0.3, 2),
    ]


def test_a_setting_that_was_suggested_twice_is_confirmed_once(first_seed):
    found = confirmed(first_seed, [90, 50, 70, 60, 70], confirm=2)

    assert [entry for entry in found if entry[2] == 1 and entry[0] == "proxy"] == [("proxy", 0.2, 1), ("proxy", 0.3, 1)]


def test_a_suggestion_that_is_not_complete_is_not_confirmed(first_seed):
    found = confirmed(first_seed, [90, 50, None, 60, None], confirm=1)

    assert ("proxy", 0.3, 1) in found
    assert ("proxy", 0.2, 1) not in found


def test_of_equal_suggestions_the_earlier_is_confirmed(first_seed):
    assert ("proxy", 0.1, 1) in confirmed(first_seed, [90, 70, 70, 70, 70], confirm=1)


def test_to_confirm_none_runs_the_baseline_and_the_arms_alone(first_seed):
    found = confirmed(first_seed, [90, 50, 70, 60, 70], confirm=0)

    assert [arm for arm, _, _ in found] == ["baseline", "random-mask"] * 2


def test_confirmed_trials_are_numbered_after_the_suggested(first_seed):
    study, planner, trials = first_seed

    found = confirmation_plan(study, planner, trials, {}, confirm=1)

    assert [int(trial.trial_id[:4]) for trial in found] == [5, 6, 7, 8]


def test_on_one_seed_nothing_is_confirmed(first_seed):
    study, planner, trials = first_seed
    study = dataclasses.replace(study, seeds=(0,))

    assert confirmation_plan(study, planner, trials, {trials[1].trial_id: 50.0}, confirm=1) == ()


def test_a_confirmed_setting_is_its_suggestion_on_another_seed(first_seed):
    study, planner, trials = first_seed
    found = confirmation_plan(study, planner, trials, {trials[3].trial_id: 50.0}, confirm=1)
    proxy = next(trial for trial in found if trial.arm == "proxy")

    assert dataclasses.replace(proxy.config, seed=0, split_seed=0) == trials[3].config


def test_of_trials_that_share_a_prefix_one_leads_well_before_the_others_follow(study_text, planner_of):
    study = parse_study(study_text.replace('"2", "1,p"', '"4", "1,p,2"').replace('"1,p"', '"1,p,2"'), seeds=(0, 1, 2))
    trials = grid_plan(study, planner_of(study))
    keys = [state_keys(trial.config, data=trial.data_digest, weights=None) for trial in trials]

    order = leaders_first(trials, keys, branch_points(keys), 2)

    assert sorted(trial.number for trial in order) == list(range(12))
    assert [trial.number for trial in order] == [0, 4, 1, 2, 3, 8, 5, 6, 7, 9, 10, 11]


def test_trials_that_share_nothing_keep_their_order(study_text, planner_of):
    study = parse_study(study_text)
    trials = grid_plan(study, planner_of(study))

    assert leaders_first(trials, [()] * 8, frozenset(), 2) == list(trials)


def test_what_a_search_is_going_to_try_is_drawn_for_its_cost(study_text):
    study = parse_study(study_text, seeds=(0, 1, 2))

    drawn = expected_configs(study, suggestions=5, confirm=2, searched=True)

    assert [config.seed for config in drawn] == [0] * 5 + [1] * 4 + [2] * 4
    assert [config.has_proxies for config in drawn[:5]] == [False, True, True, True, True]
    assert drawn == expected_configs(study, suggestions=5, confirm=2, searched=True)


def test_every_model_and_method_that_a_search_may_suggest_can_be_asked_for_once(study_text):
    settings = ('model=["test_resnet","test_vit"]', 'saliency=["gradcam","layercam"]', "image_size={low=32,high=48}")
    configs = models_of(parse_study(study_text, settings=settings))

    with_proxies = [c for c in configs if c.has_proxies]
    assert len({(c.model, c.image_size, c.saliency) for c in with_proxies}) == len(with_proxies) == 8
    assert len(configs) - len(with_proxies) == 4  # a baseline has no method
    assert {c.threshold for c in configs} == {0.5}


def test_every_mask_that_a_search_may_suggest_is_asked_for_because_a_data_set_may_tell_no_place(study_text):
    configs = models_of(parse_study(study_text, settings=('mask=["saliency","region"]',)))

    assert {c.mask for c in configs if c.has_proxies} == {"saliency", "region"}
