import pytest

from proxy_attention.errors import ConfigError
from study.planning.planner import Planner
from study.planning.search import grid_plan
from study.planning.study_file import parse_study


def judges(study_text, image_folder, *settings, text=""):
    """The judge that each trial of this grid is planned with."""
    study = parse_study(study_text + text, settings=settings)
    planner = Planner.of(study, data_root=image_folder, device="cpu", auto=lambda config: {})
    return {trial.config.judge for trial in grid_plan(study, planner)}


@pytest.mark.parametrize(
    ("settings", "arm", "expected"),
    [
        ([], "", "eigengradcam"),
        (["saliency=eigengradcam"], "", "gradcam++"),
        (["saliency=['gradcam', 'eigengradcam', 'gradcam++']"], "", "layercam"),
        (["eigen_smooth=[true, false]"], "", "gradcam++"),  # smoothed under a linear head it is eigengradcam
        ([], 'saliency = "eigengradcam"\n', "gradcam++"),
        (["judge=layercam"], "", "layercam"),
        (["judge=gradcam", "saliency=layercam"], 'saliency = "layercam"\n', "gradcam"),
    ],
)
def test_all_trials_of_a_study_have_one_judge_by_which_none_of_them_trains(
    image_folder, study_text, settings, arm, expected
):
    another = f'[[arm]]\nname = "other"\nschedule = "1,p"\n{arm}' if arm else ""

    assert judges(study_text, image_folder, *settings, text=another) == {expected}


def test_where_every_judge_is_trained_by_the_default_judges_those_that_it_can(image_folder, study_text):
    every = ["eigengradcam", "gradcam++", "layercam", "gradcam", "ablationcam", "eigencam"]

    assert judges(study_text, image_folder, f"saliency={every}") == {"eigengradcam"}


@pytest.mark.parametrize("settings", [["saliency=layercam"], ["saliency=['gradcam', 'layercam']"]])
def test_a_named_judge_by_which_a_trial_trains_is_refused_with_those_that_may(image_folder, study_text, settings):
    law = r"^judge must be a method by which no trial of the study trains; got 'layercam' \(eigengradcam, gradcam\+\+, "

    with pytest.raises(ConfigError, match=law):
        judges(study_text, image_folder, "judge=layercam", *settings)


@pytest.mark.parametrize("schedule", ["2", "1,p"])
def test_a_judge_by_which_an_augmentation_explains_is_refused(image_folder, study_text, schedule):
    settings = ["judge=gradcam", "saliency=layercam"]
    arm = f'[[arm]]\nname = "other"\nschedule = "{schedule}"\nsaliency = "layercam"\naugment = "flip-rotate+snapmix"\n'
    assert judges(study_text, image_folder, *settings) == {"gradcam"}

    with pytest.raises(ConfigError, match=r"^judge must be a method by which no trial .*; got 'gradcam'"):
        judges(study_text, image_folder, *settings, text=arm)


def test_a_named_judge_by_which_a_search_may_train_is_refused_before_it_starts(prepared_run, study_text, tmp_path):
    text = study_text.replace("[search]", 'judge = "layercam"\n[search]\nsaliency = ["gradcam", "layercam"]')

    with pytest.raises(ConfigError, match=r"^judge must be a method by which no trial of the study trains"):
        prepared_run(tmp_path / "small" / "optuna", text, search="optuna", suggestions=4, confirm=1)


@pytest.mark.parametrize("field", ["judge", "judge_images"])
def test_a_judge_that_differs_between_trials_is_refused(image_folder, study_text, field):
    values = ["gradcam++", "layercam"] if field == "judge" else [8, 16]
    arm = f'[[arm]]\nname = "other"\nschedule = "1,p"\n{field} = {values[0]!r}\n'

    with pytest.raises(ConfigError, match=rf"^{field} must be one for all trials of a study, .*; got it in \[search\]"):
        judges(study_text, image_folder, f"{field}={values}")
    with pytest.raises(ConfigError, match=rf"^{field} must be one for all trials .*; got it in an \[\[arm\]\]"):
        judges(study_text, image_folder, text=arm)


def test_a_judge_that_cannot_explain_the_model_is_refused_by_name(image_folder, study_text):
    with pytest.raises(ConfigError, match=r"^judge must be a method that can explain test_resnet, .*rollout'"):
        judges(study_text, image_folder, "judge=attention-rollout")

    assert judges(study_text, image_folder, "judge=attention-rollout", "judge_images=0") == {"eigengradcam"}
