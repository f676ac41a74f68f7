import pytest

from study.planning.request import Request


def test_a_restore_asks_for_what_was_asked_for(prepared_run, tmp_path, image_folder):
    run = tmp_path / "small" / "random"
    resources = {"cpus_per_trial": 2, "gpus_per_trial": 0.0, "concurrency": 1}
    prepared = prepared_run(run, search="random", suggestions=3, confirm=2, **resources)

    assert Request.of_run(run, command="python study/run.py") == Request(
        study=prepared.study,
        search="random",
        name="small",
        run=run,
        suggestions=3,
        confirm=2,
        data_root=image_folder,
        command="python study/run.py",
        **resources,
    )


@pytest.mark.parametrize(
    ("asked", "trials"),
    [
        ({"search": "grid"}, 8),
        ({"search": "random", "suggestions": 5, "confirm": 2}, 9),
        ({"search": "optuna", "suggestions": 5, "confirm": 1}, 8),
        ({"search": "optuna", "suggestions": 5, "confirm": 0}, 7),
    ],
)
def test_the_trials_of_the_whole_run_are_counted(prepared_run, tmp_path, asked, trials):
    prepared = prepared_run(tmp_path / "run", write=False, **asked)

    assert prepared.trial_count == trials
    assert not (tmp_path / "run").exists()


def test_the_arms_of_a_search_are_checked_before_anything_is_trained(prepared_run, study_text, tmp_path):
    with pytest.raises(ValueError, match="weights must be "):
        prepared_run(
            tmp_path / "run",
            study_text.replace('mask = "random"', 'weights = "nowhere.safetensors"'),
            search="optuna",
            suggestions=2,
        )


def test_a_method_that_a_search_may_suggest_and_its_model_lacks_is_refused_before_anything_is_trained(
    prepared_run, study_text, tmp_path
):
    text = study_text.replace("threshold = [0.3, 0.6]", 'saliency = ["gradcam", "attention-rollout"]')

    with pytest.raises(ValueError, match="attention-rollout"):
        prepared_run(tmp_path / "run", text, search="optuna", suggestions=2)
