"""Which trials of a study a query selects, and which are selected without one."""

import shutil

import pandas as pd
import pytest
from written_runs import rewrite_plan

from proxy_attention.errors import ConfigError
from study.inference.selection import MOST_MODELS, _best_on_val, complete_trials, select_pair, select_trials
from study.results import load_results
from study.run_folder import RunFolder


def copy_run(run, place):
    """A copy of the run without its weights, which no selection reads."""
    return shutil.copytree(run, place, ignore=shutil.ignore_patterns("*.safetensors"))


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of the run that a test may damage."""
    return copy_run(finished_run, tmp_path / "small" / "grid")


@pytest.fixture
def two_runs(finished_run, own_run):
    """A study folder with the run twice, as a grid and as a random search. May be damaged."""
    copy_run(finished_run, own_run.parent / "random")
    return own_run.parent


def trial_of(run, arm):
    """The trial_id of this arm's first trial."""
    return next(trial.trial_id for trial in RunFolder(run).read_plan().trials if trial.arm == arm)


@pytest.fixture(scope="module")
def ids(finished_run):
    """The trials of the run by arm, on the first seed."""
    rows = load_results(finished_run)
    rows = rows[rows["seed"] == 0]
    return {arm: list(part["trial_id"]) for arm, part in rows.groupby("arm")}


# ---- trials


def test_without_a_query_the_best_trial_of_the_setting_that_is_best_on_val_is_selected(finished_run):
    (selected,), note = select_trials(finished_run, None)

    rows = load_results(finished_run)
    means = rows.groupby(["arm", "schedule", rows["threshold"].fillna(0)])["val_accuracy"].mean()
    arm, schedule, threshold = means.idxmax()
    best = rows[(rows["arm"] == arm) & (rows["schedule"] == schedule) & (rows["threshold"].fillna(0) == threshold)]
    assert selected.name in set(best["trial_id"])
    assert best.set_index("trial_id")["val_accuracy"][selected.name] == best["val_accuracy"].max()
    assert note == (
        f"without --query: {selected.name}, the best of 2 trials of the setting that is best on val "
        f"(mean {means.max():.2f} %)"
    )


def test_of_a_study_of_several_runs_a_trial_is_named_with_its_run(two_runs, ids):
    selected, note = select_trials(two_runs, "arm == 'baseline' and seed == 0")

    assert [one.name for one in selected] == [f"grid/{ids['baseline'][0]}", f"random/{ids['baseline'][0]}"]
    assert [one.run.name for one in selected] == ["grid", "random"]
    assert note == ""


def test_more_models_than_memory_holds_are_refused(finished_run, monkeypatch):
    monkeypatch.setattr("study.inference.selection.MOST_MODELS", 3)

    with pytest.raises(ConfigError, match="--query must select at most 3 trials; 'seed >= 0' selects 8"):
        select_trials(finished_run, "seed >= 0")

    assert MOST_MODELS >= 8


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("treshold > 1", "query must be a pandas query over the columns"),
        ("seed == 9", "'seed == 9' holds for none of 8"),
    ],
)
def test_a_query_that_selects_nothing_is_refused(finished_run, expression, message):
    with pytest.raises(ConfigError, match=message):
        select_trials(finished_run, expression)


def test_a_run_without_a_complete_trial_is_refused(own_run):
    for report in own_run.glob("trials/*/report.json"):
        report.unlink()

    with pytest.raises(ConfigError, match="grid' has no complete trial yet"):
        select_trials(own_run, None)


def test_a_setting_that_was_suggested_twice_has_no_more_seeds_for_it(finished_run):
    done = complete_trials(finished_run)
    best, _ = _best_on_val(done)
    others = done[done["arm"] != best["arm"].iloc[0]]

    again, _ = _best_on_val(pd.concat([done, others], ignore_index=True))

    assert again["trial_id"].tolist() == best["trial_id"].tolist()


def test_a_setting_that_two_runs_have_counts_no_more_than_one_of_a_single_run(finished_run, two_runs):
    (best,), _ = select_trials(finished_run, None)
    for trial in RunFolder(finished_run).read_plan().trials:
        if (trial.arm, trial.config.threshold) == (best.planned.arm, best.planned.config.threshold):
            (RunFolder(two_runs / "random").trial(trial.trial_id).report_file).unlink()

    (found,), note = select_trials(two_runs, None)

    assert found.name == f"grid/{best.name}"
    assert "the best of 2 trials of the setting" in note


# ---- pairs


def test_a_trial_with_proxies_is_compared_with_its_own_baseline(finished_run, ids):
    plain, proxied, note = select_pair(finished_run, "threshold == 0.6 and seed == 0")

    assert (plain.name, proxied.name, note) == (ids["baseline"][0], ids["proxy"][1], "")


def test_a_query_may_select_both_of_a_pair(finished_run):
    rows = load_results(finished_run).set_index(["arm", "seed"])["trial_id"]
    own, another, control = rows["baseline", 0], rows["baseline", 1], rows["random-mask", 0]

    plain, proxied, note = select_pair(finished_run, f"trial_id in ['{own}', '{control}']")
    assert (plain.name, proxied.name, note) == (own, control, "")

    plain, proxied, note = select_pair(finished_run, f"trial_id in ['{another}', '{control}']")
    assert (plain.name, proxied.name) == (another, control)
    assert note == f"{another} is not the baseline of {control}: they differ in more than proxies"


def test_without_a_query_the_best_proxies_on_val_are_compared_with_their_baseline(finished_run):
    plain, proxied, note = select_pair(finished_run, None)

    rows = load_results(finished_run).set_index("trial_id")
    assert proxied.planned.arm == "proxy"
    assert plain.planned.arm == "baseline"
    assert rows["seed"][proxied.name] == rows["seed"][plain.name]
    assert note.startswith(f"without --query: {proxied.name} with proxies, the best of 2 trials of the setting")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("arm == 'baseline'", "--query must select one trial with proxies for --compare; .* selects 0$"),
        ("arm == 'proxy'", "must select one trial with proxies for --compare; \"arm == 'proxy'\" selects 4: 0"),
    ],
)
def test_a_query_that_selects_no_trial_with_proxies_or_several_is_refused(finished_run, expression, message):
    with pytest.raises(ConfigError, match=message):
        select_pair(finished_run, expression)


def test_a_trial_whose_baseline_is_not_complete_has_no_pair(own_run, ids):
    RunFolder(own_run).trial(ids["baseline"][0]).report_file.unlink()

    with pytest.raises(ConfigError, match=f"{ids['proxy'][1]} has no complete baseline"):
        select_pair(own_run, "threshold == 0.6 and seed == 0")


def test_the_baseline_of_another_run_differs_in_nothing_but_proxies(two_runs):
    names = [f"random/{trial_of(two_runs / 'random', 'baseline')}", f"grid/{trial_of(two_runs / 'grid', 'proxy')}"]

    plain, proxied, note = select_pair(two_runs, f"shown_id in {names}")

    assert ([plain.name, proxied.name], note) == (names, "")


def test_an_audit_beside_its_baseline_is_told_to_differ_in_more_than_proxies(own_run):
    one, other = trial_of(own_run, "baseline"), trial_of(own_run, "random-mask")

    def edit(number, trial):
        if trial["trial_id"] == other:
            trial |= {"arm": "audit", "split_digest": "another", "config": {**trial["config"], "split": "redrawn"}}

    rewrite_plan(own_run, edit)
    one, other = trial_of(own_run, "baseline"), trial_of(own_run, "audit")

    plain, proxied, note = select_pair(own_run, "arm == 'audit'")

    assert (plain.name, proxied.name) == (one, other)
    assert note == f"{other} is an audit, of another split than its baseline {one}: they differ in more than proxies"
