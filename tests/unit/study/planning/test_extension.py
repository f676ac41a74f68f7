import dataclasses
import shutil

import pytest
from written_runs import _write_trial

from proxy_attention.errors import ConfigError
from study.execution.runner import _with_confirmed
from study.planning.extension import with_kept_names
from study.planning.prepare import write_plan
from study.planning.request import Request
from study.results import load_results
from study.run_folder import RunFolder

LATE = '[[arm]]\nname = "late"\nschedule = "1,p"\nmask = "inverse"\n'


@pytest.fixture
def two_seeds(finished_run, tmp_path):
    """The complete run of eight trials on two seeds, to be extended."""
    return shutil.copytree(finished_run, tmp_path / "small" / "grid")


def test_more_seeds_plan_what_a_new_study_of_them_would(two_seeds, prepared_run, study_text, tmp_path):
    text = study_text.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3]")
    kept = RunFolder(two_seeds).read_plan()

    prepared_run(two_seeds, text, extend=True, command="run.py --extend")

    plan, new = RunFolder(two_seeds).read_plan(), prepared_run(tmp_path / "new" / "grid", text).plan
    assert (plan.trials, plan.seeds, plan.fingerprint) == (new.trials, new.seeds, new.fingerprint)
    assert plan.trials[:8] == kept.trials
    assert plan.about == kept.about
    (step,) = plan.extensions
    assert (step.seeds_before, step.trials_before, step.complete_before) == (2, 8, 8)
    assert (step.added, step.command) == (("seeds 2, 3",), "run.py --extend")
    assert list(load_results(two_seeds)["status"]) == ["complete"] * 8 + ["missing"] * 8


def test_more_values_and_arms_keep_the_names_of_trials_and_are_extended_again(two_seeds, prepared_run, study_text):
    kept = RunFolder(two_seeds).read_plan()
    text = study_text.replace("[0.3, 0.6]", "[0.3, 0.45, 0.6]") + LATE

    prepared_run(two_seeds, text, extend=True)
    plan = RunFolder(two_seeds).read_plan()
    again = prepared_run(two_seeds, text, extend=True).plan  # the same once more: nothing is new

    assert set(kept.trials) < set(plan.trials) == set(again.trials)
    assert sorted(trial.number for trial in plan.trials) == list(range(12))
    assert again.extensions == plan.extensions
    assert plan.extensions[0].added == ("arm late", "threshold 0.45")

    last = prepared_run(two_seeds, text.replace("seeds = [0, 1]", "seeds = [1, 0, 7]"), extend=True).plan
    assert [step.seeds_before for step in last.extensions] == [2, 2]
    assert [step.complete_before for step in last.extensions] == [8, 8]
    assert set(plan.trials) < set(last.trials)


REFUSED = {
    "a seed": (("seeds = [0, 1]", "seeds = [1, 2]"), r"'small': seed 0 is left out$"),
    "a value": (("[0.3, 0.6]", "[0.3, 0.9]"), r"'small': threshold 0.6 is left out$"),
    "a fixed field": (("batch_size = 8", "batch_size = 8\nlr = 0.5"), r"'small': lr was 0.002, is 0.5$"),
    "an arm": (('name = "random-mask"', 'name = "other"'), r"'small': arm random-mask is left out$"),
    "all, by another order": (("[0.3, 0.6]", "[0.6, 0.3]"), r"'small'; this study has its trials in another order$"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED)
def test_what_would_lose_a_trial_is_refused_and_named(finished_run, prepared_run, study_text, change, said):
    before = (finished_run / "plan.json").read_bytes()

    with pytest.raises(ConfigError, match=f"^--extend must (keep every trial of|add to) {said}"):
        prepared_run(finished_run, study_text.replace(*change), extend=True)
    assert (finished_run / "plan.json").read_bytes() == before


def test_other_images_extend_nothing(finished_run, prepared_run, own_images):
    next((own_images / "test").rglob("*.png")).unlink()

    with pytest.raises(ConfigError, match=r"'small': the images are others$"):
        prepared_run(finished_run, data_root=own_images, extend=True)


def test_without_the_option_it_is_named_where_it_would_help(finished_run, prepared_run, study_text):
    more = study_text.replace("seeds = [0, 1]", "seeds = [0, 1, 2]")

    with pytest.raises(ConfigError, match=r"12 trials on seeds 0, 1, 2; .*--extend adds what is new$"):
        prepared_run(finished_run, more)
    with pytest.raises(ConfigError, match=r"(?!.*--extend)^--name must be new"):
        prepared_run(finished_run, more.replace("batch_size = 8", "batch_size = 4"))


def test_an_extension_that_ends_between_its_two_files_goes_on(two_seeds, prepared_run, study_text):
    run = RunFolder(two_seeds)
    before = run.study_file.read_text()
    prepared = prepared_run(two_seeds, study_text.replace("seeds = [0, 1]", "seeds = [0, 1, 2]"), extend=True)
    after = run.study_file.read_text()
    run.study_file.write_text(before)

    restored = Request.of_run(two_seeds, command="")

    assert restored.study.seeds == (0, 1, 2)
    assert write_plan(prepared) == run.read_plan()
    assert run.study_file.read_text() == after != before


def test_a_plan_that_another_process_has_extended_meanwhile_is_refused(two_seeds, prepared_run, study_text):
    late = prepared_run(two_seeds, study_text.replace("[0, 1]", "[0, 1, 2]"), extend=True, write=False)
    prepared_run(two_seeds, study_text.replace("[0, 1]", "[0, 1, 3]"), extend=True)

    with pytest.raises(ConfigError, match="--name must be new for another plan"):
        write_plan(late)


SEARCH = {"search": "optuna", "suggestions": 4, "confirm": 1}


def test_an_optuna_search_takes_more_trials_seeds_arms_and_confirmations(prepared_run, study_text, tmp_path):
    run = tmp_path / "small" / "optuna"
    prepared_run(run, **SEARCH)
    text = study_text.replace("seeds = [0, 1]", "seeds = [0, 1, 2]") + LATE

    more = prepared_run(run, text, **{**SEARCH, "suggestions": 6, "confirm": 2, "extend": True})

    assert more.plan.extensions[0].added == ("seed 2", "arm late", "2 settings", "1 more of the best to confirm")
    assert more.trial_count == 6 + 2 * (2 + 1 + 2)
    assert RunFolder(run).read_plan().suggestions == 6
    judge = more.example.judge  # of no trial that trains by it
    for change, changes, said in (
        (("[0, 1, 2]", "[2, 0, 1]"), {}, "searched on seed 0, not 2"),
        (("", ""), {"suggestions": 3}, "--trials was 6, is 3"),
        (("batch_size = 8", "batch_size = 4"), {}, r"batch_size in \[fixed\] is another"),
        (("[0.3, 0.6]", "[0.3, 0.5, 0.6]"), {}, r"threshold in \[search\] is another"),
        (('"inverse"', '"random"'), {}, "arm late is left out or another"),
        (('"inverse"\n', f'"inverse"\n[[arm]]\nname = "x"\nschedule = "1,p"\nsaliency = "{judge}"\n'), {}, "its judge"),
    ):
        asked = {**SEARCH, "suggestions": 6, "confirm": 2, "extend": True, **changes}
        with pytest.raises(ConfigError, match=f"^--extend must keep every trial of 'small': .*{said}"):
            prepared_run(run, text.replace(*change), **asked)


def test_a_random_search_keeps_its_draws_and_what_it_confirmed(prepared_run, study_text, tmp_path):
    run, asked = tmp_path / "small" / "random", {"search": "random", "confirm": 1}
    text = study_text.replace("threshold = [0.3, 0.6]", "threshold = { low = 0.1, high = 0.9 }").partition("[[arm]]")[0]
    first = prepared_run(run, text, suggestions=2, **asked)
    for trial, accuracy in zip(first.plan.trials, (50.0, 60.0), strict=True):
        _write_trial(RunFolder(run).trial(trial.trial_id), trial, accuracy, {})
    RunFolder(run).write_plan(_with_confirmed(first, first.plan))
    confirmed = RunFolder(run).read_plan().confirmed
    assert [trial.trial_id[:12] for trial in confirmed] == ["0002-baselin", "0003-proxy-s"]

    more = prepared_run(run, text.replace("[0, 1]", "[0, 1, 2]"), suggestions=3, extend=True, **asked)

    assert more.plan.trials[:2] == first.plan.trials
    assert (more.plan.trials[2].number, more.plan.confirmed) == (4, confirmed)
    assert more.plan.awaits_confirmation
    _write_trial(RunFolder(run).trial(more.plan.trials[2].trial_id), more.plan.trials[2], 70.0, {})
    plan = _with_confirmed(more, RunFolder(run).read_plan())
    RunFolder(run).write_plan(plan)
    assert plan.confirmed[:2] == confirmed
    again = [(trial.arm, trial.config.seed, trial.config.threshold) for trial in plan.confirmed[2:]]
    best = more.plan.trials[2].config.threshold  # it is confirmed on both seeds, and the first best stays on its one
    assert again == [("proxy", 1, best), ("baseline", 2, plan.trials[0].config.threshold), ("proxy", 2, best)]
    assert not plan.awaits_confirmation
    numbers = [trial.number for trial in plan.everything]
    assert len(set(numbers)) == len(numbers)
    restored = prepared_run(run, text.replace("[0, 1]", "[0, 1, 2]"), suggestions=3, **asked)
    assert restored.trial_count == 3 + len(plan.confirmed)


def test_a_setting_that_was_drawn_twice_keeps_both_names(finished_run):
    trial = RunFolder(finished_run).read_plan().trials[1]
    twice = [trial, dataclasses.replace(trial, trial_id=trial.trial_id.replace("0001", "0005"))]

    named = with_kept_names([trial, trial, trial], twice)

    assert [each.number for each in named] == [1, 5, 6]
