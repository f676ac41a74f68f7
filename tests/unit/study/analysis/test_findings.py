import pytest
from written_runs import SMALL, write_run

from proxy_attention.errors import ConfigError
from study.analysis.findings import Findings, comparable


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run of eight trials. Read only."""
    return write_run(tmp_path_factory.mktemp("findings") / "small" / "grid", *SMALL)


def test_every_trial_of_a_run_is_paired_with_the_baseline_of_its_seed(run):
    rows = Findings.of(run).rows

    ids = list(rows["trial_id"])
    assert rows["baseline_id"].fillna("").tolist() == ["", *[ids[0]] * 3, "", *[ids[4]] * 3]
    assert rows["test_difference"].dropna().tolist() == [3.0, 2.0, 1.0, 2.0, 4.0, 1.0]


def test_findings_hold_the_claims_the_statistics_and_the_tables_of_a_run(run):
    found = Findings.of(run)

    assert [claim.text for claim in found.claims] == [
        "proxies - baseline",
        "best on val - baseline",
        "random-mask - baseline",
        "saliency - random-mask",
        "threshold 0.3 - baseline",
        "threshold 0.6 - baseline",
    ]
    assert [(arm.name, arm.test.mean) for arm in found.arms] == [
        ("baseline", 55.0),
        ("proxy", 57.75),
        ("random-mask", 56.0),
    ]
    assert list(found.tables) == ["schedule", "threshold", "arm"]
    assert found.explanations == []
    assert found.arm_names == ["baseline", "proxy", "random-mask"]
    assert len(found.epochs) == 16


def test_a_query_leaves_out_rows_and_epochs_and_keeps_the_baselines(run):
    found = Findings.of(run, expression="threshold > 0.5")

    assert found.selected["trial_id"].tolist() == [found.rows["trial_id"][2], found.rows["trial_id"][6]]
    assert len(found.epochs) == 4
    assert [(claim.text, claim.test.values) for claim in found.claims] == [("proxies - baseline", (2.0, 4.0))]
    assert [(arm.name, arm.to_baseline.n) for arm in found.arms] == [("proxy", 0)]


def test_the_findings_of_all_rows_are_those_without_the_query(run):
    whole = Findings.of(run)

    found = Findings.of(run, expression="threshold > 0.5").of_all_rows()

    assert found.claims == whole.claims
    assert len(found.selected) == len(found.scope) == 8
    assert whole.of_all_rows() is whole


def test_a_query_that_pandas_cannot_read_is_refused(run):
    with pytest.raises(ConfigError, match="query must be a pandas query over the columns; got 'treshold > 1'"):
        Findings.of(run, expression="treshold > 1")


def test_a_query_is_about_weights_as_the_results_give_them_and_rows_name_them_without_folders(tmp_path):
    weights = {"weights": "/far/away/w.pt"}
    run = write_run(tmp_path / "small" / "grid", ("baseline", 0, 50.0, weights), ("baseline", 1, 50.0, {}))

    found = Findings.of(run, expression="weights == '/far/away/w.pt'")

    assert found.selected["weights"].tolist() == ["w.pt"]


def test_an_arm_that_trains_on_validation_images_is_marked(tmp_path):
    audit = {"split": "redrawn", "schedule": "2"}
    run = write_run(tmp_path / "small" / "grid", ("baseline", 0, 50.0, {}), ("audit", 0, 51.0, audit))

    found = Findings.of(run)

    assert found.leaking == ["audit"]
    assert [found.marked(arm) for arm in found.arm_names] == ["baseline", "audit (LEAKING)"]


def test_reports_are_those_of_complete_trials(tmp_path):
    run = write_run(
        tmp_path / "small" / "grid", ("baseline", 0, 50.0, {}), ("proxy", 0, 0.0, {"status": "interrupted"})
    )

    found = Findings.of(run)

    assert [report["test_accuracy"] for report in found.reports.values()] == [50.0]
    assert found.selected["status"].tolist() == ["complete", "interrupted"]


def test_the_seed_on_which_a_search_chose_is_compared_only_where_there_is_no_other(frame):
    rows = frame(("baseline", 0, 0, 70, {}), ("baseline", 1, 0, 71, {}), ("baseline", 2, 0, 0, {"status": "failed"}))

    assert comparable(rows, chosen_on=None)["seed"].tolist() == [0, 1]
    assert comparable(rows, chosen_on=0)["seed"].tolist() == [1]
    assert comparable(rows[:1], chosen_on=0)["seed"].tolist() == [0]


def test_where_nothing_is_compared_the_findings_say_why(run, tmp_path):
    lonely = write_run(tmp_path / "lonely" / "grid", *SMALL[1:3])
    assert Findings.of(lonely).why_no_claims == "nothing to compare: no trial has its baseline"
    assert Findings.of(run).why_no_claims == ""


def test_a_search_on_one_seed_says_that_its_choice_cannot_be_compared_there(tmp_path):
    chosen = Findings.of(write_run(tmp_path / "small" / "random", *SMALL[:4], search="random"))
    assert chosen.claims == []
    assert "on seed 0 the settings were chosen" in chosen.why_no_claims
