import dataclasses

import pytest

from study.planning.fingerprint import fingerprint
from study.planning.planner import Planner
from study.planning.search import grid_plan
from study.planning.study_file import parse_study


def test_a_fingerprint_does_not_depend_on_what_else_a_planner_has_planned(planner, base, image_folder, study_text):
    study = parse_study(study_text)
    fresh = fingerprint(
        study, "grid", grid_plan(study, Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {}))
    )
    planner.trial(3, "x", dataclasses.replace(base, image_size=48, seed=8))
    planner.data.train_and_val_images(base)

    assert fingerprint(study, "grid", grid_plan(study, planner)) == fresh


@pytest.mark.parametrize(
    "change",
    [["threshold=[0.3, 0.7]"], ["threshold=[0.3]"], ["lr=0.01"], ["schedule=['p,1', '2']"], ["train_fraction=0.5"]],
)
def test_a_fingerprint_of_a_grid_changes_with_its_trials(planner, study_text, change):
    study, other = parse_study(study_text), parse_study(study_text, settings=change)

    assert fingerprint(study, "grid", grid_plan(study, planner)) != fingerprint(
        other, "grid", grid_plan(other, planner)
    )


def test_a_fingerprint_of_a_grid_changes_with_the_seeds(planner, study_text):
    study, other = parse_study(study_text), parse_study(study_text, seeds=(0, 2))

    assert fingerprint(study, "grid", grid_plan(study, planner)) != fingerprint(
        other, "grid", grid_plan(other, planner)
    )


def test_a_fingerprint_of_a_grid_does_not_change_with_the_words_of_its_question(planner, study_text):
    study = parse_study(study_text)
    other = dataclasses.replace(study, question="What else?")

    assert fingerprint(study, "grid", grid_plan(study, planner)) == fingerprint(
        other, "grid", grid_plan(other, planner)
    )


SEARCHED = {
    "seeds": {"seeds": (0, 2)},
    "fixed": {"settings": ["lr=0.01"]},
    "choices": {"settings": ["threshold=[0.3, 0.7]"]},
    "range": {"settings": ["threshold={low = 0.1, high = 0.2}"]},
}


@pytest.mark.parametrize("change", SEARCHED.values(), ids=SEARCHED.keys())
def test_a_fingerprint_of_a_search_changes_with_its_space(study_text, change):
    study, other = parse_study(study_text), parse_study(study_text, **change)

    assert fingerprint(study, "optuna", (), suggestions=4) != fingerprint(other, "optuna", (), suggestions=4)


def test_a_fingerprint_of_a_search_changes_with_the_ends_of_a_range(study_text):
    one, two = (parse_study(study_text, settings=[f"threshold={{low = 0.1, high = {end}}}"]) for end in (0.8, 0.9))

    assert fingerprint(one, "optuna", ()) != fingerprint(two, "optuna", ())


def test_a_fingerprint_of_a_search_changes_with_an_arm(study_text):
    other = parse_study(study_text.replace('mask = "random"', 'mask = "inverse"'))

    assert fingerprint(parse_study(study_text), "optuna", ()) != fingerprint(other, "optuna", ())


@pytest.mark.parametrize("asked", [{"suggestions": 5}, {"confirm": 2}, {"baseline": "f" * 64}])
def test_a_fingerprint_changes_with_what_was_asked_of_a_search(study_text, asked):
    study = parse_study(study_text)
    usual = {"suggestions": 4, "confirm": 1, "baseline": "0" * 64}

    assert fingerprint(study, "optuna", (), **usual) != fingerprint(study, "optuna", (), **{**usual, **asked})


def test_a_fingerprint_tells_searches_apart(study_text):
    study = parse_study(study_text)

    assert len({fingerprint(study, search, ()) for search in ("grid", "optuna", "random")}) == 3
