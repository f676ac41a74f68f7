import pytest

from proxy_attention.errors import ConfigError
from study.planning.study_file import parse_study
from study.planning.study_spec import Range


def test_an_empty_study_is_one_trial_of_the_defaults_on_seed_0():
    study = parse_study("")

    assert study.seeds == (0,)
    assert study.grid() == [("baseline", {})]


def test_a_grid_has_one_baseline_however_many_proxy_fields_vary():
    study = parse_study('[search]\nthreshold = [0.3, 0.6]\nschedule = ["2", "1,p"]\nweight = [0.5, 1.0]')

    assert study.grid() == [
        ("baseline", {"threshold": 0.3, "schedule": "2", "weight": 0.5}),
        ("proxy", {"threshold": 0.3, "schedule": "1,p", "weight": 0.5}),
        ("proxy", {"threshold": 0.3, "schedule": "1,p", "weight": 1.0}),
        ("proxy", {"threshold": 0.6, "schedule": "1,p", "weight": 0.5}),
        ("proxy", {"threshold": 0.6, "schedule": "1,p", "weight": 1.0}),
    ]


def test_patience_and_the_decay_of_the_subset_vary_only_where_the_schedule_uses_them():
    study = parse_study(
        '[search]\nschedule = ["6", "3,p,2", "3,p?,2", "p,p,4"]\npatience = [1, 2]\nsubset_decay = [0.5, 1.0]'
    )

    settings = [(arm, study.config(values, 0)) for arm, values in study.grid()]

    assert [(arm, config.schedule, config.patience, config.subset_decay) for arm, config in settings] == [
        ("baseline", "6", 2, 1.0),
        ("proxy", "3,p,2", 2, 1.0),
        ("proxy", "3,p?,2", 1, 1.0),
        ("proxy", "3,p?,2", 2, 1.0),
        ("proxy", "p,p,4", 2, 0.5),
        ("proxy", "p,p,4", 2, 1.0),
    ]


def test_a_field_of_the_training_gives_each_value_its_own_baseline():
    study = parse_study('[search]\nschedule = ["2", "1,p"]\nlr = [0.1, 0.2]\nthreshold = [0.3, 0.6]')

    assert [arm for arm, _ in study.grid()].count("baseline") == 2
    assert [arm for arm, _ in study.grid()].count("proxy") == 4


def test_the_fields_of_a_setting_without_a_proxy_step_are_the_defaults():
    study = parse_study('[fixed]\nschedule = "2"\nthreshold = 0.9\nmask = "random"\nlr = 0.1')

    config = study.config({}, 4)

    assert (config.threshold, config.mask, config.lr, config.seed, config.split_seed) == (0.5, "saliency", 0.1, 4, 4)


def test_arms_come_after_the_search_under_their_names():
    study = parse_study('[fixed]\nschedule = "2"\n[[arm]]\nname = "b"\nlr = 0.1\n[[arm]]\nname = "a"\nlr = 0.2')

    assert study.grid() == [("baseline", {}), ("b", {"lr": 0.1}), ("a", {"lr": 0.2})]


def test_an_arm_takes_what_it_does_not_name_from_fixed_then_the_defaults_and_never_from_the_search():
    study = parse_study(
        '[fixed]\nlr = 0.1\nweight = 0.9\n[search]\nschedule = ["1,p"]\nthreshold = [0.2]\n'
        '[[arm]]\nname = "a"\nschedule = "1,p"\nweight = 0.8'
    )
    (_, values) = study.grid()[-1]

    config = study.config(values, 0)

    assert (config.lr, config.weight, config.threshold) == (0.1, 0.8, 0.5)


def test_a_range_has_no_grid():
    study = parse_study("[search]\nlr = { low = 0.1, high = 0.2 }")

    with pytest.raises(ConfigError, match="lr must be a list of choices for --search grid; got a range"):
        study.grid()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[search]\nschedule = ["3,p,2", "6", "1,p,4"]', "6"),
        ('[search]\nschedule = ["3,p,2", "p,5"]', "6"),
        ('[search]\nschedule = ["3,p?,2", "6", "1,p,4"]', "6"),
        ('[search]\nschedule = ["3,p?,2"]', "6"),
        ('[fixed]\nschedule = "3,p,2"', "6"),
        ('[fixed]\nschedule = "2,4"', "2,4"),
        ("", "20"),
    ],
)
def test_the_baseline_schedule_is_one_without_a_proxy_step_of_the_same_total(text, expected):
    assert parse_study(text).baseline_schedule == expected


def test_a_range_of_whole_numbers_is_whole():
    assert Range(1, 8).whole
    assert not Range(1.0, 8).whole
    assert not Range(1, 8.0).whole


def test_the_values_of_a_field_are_its_default_and_all_that_the_study_names():
    study = parse_study(
        '[search]\nsaliency = ["layercam", "gradcam++"]\nlr = { low = 0.1, high = 0.2 }\n'
        '[[arm]]\nname = "a"\nsaliency = "eigencam"'
    )

    assert study.values_of("saliency") == {"gradcam", "layercam", "gradcam++", "eigencam"}
    assert study.values_of("lr") == {0.002, 0.1, 0.2}
    assert study.values_of("threads") == {"auto"}
