import io
import shutil

import pandas as pd
import pytest
from written_runs import reported_run, rewrite_plan, write_run

from study.analyse import main
from study.results import load_results


@pytest.fixture(scope="module")
def complete_run(tmp_path_factory):
    """A complete run of eight trials, with its report. Read only."""
    return reported_run(tmp_path_factory)


@pytest.fixture(scope="module")
def partial_run(tmp_path_factory):
    """A run whose four trials are complete, interrupted, failed and missing, in this order. Read only."""
    trials = (
        ("baseline", 0, 50.0, {}),
        ("baseline", 1, 50.0, {"status": "interrupted"}),
        ("proxy", 0, 50.0, {"error": "DivergedError: the training loss must be finite"}),
        ("proxy", 1, 50.0, {"status": "missing"}),
    )
    return write_run(tmp_path_factory.mktemp("partial") / "small" / "grid", *trials)


@pytest.fixture
def analyse(capsys):
    """Run the command line: exit code, what was printed, what was complained of."""
    return lambda *argv: (main([str(word) for word in argv]), *capsys.readouterr())


def test_a_complete_run_is_shown_with_its_tables_and_answers(analyse, complete_run):
    code, out, err = analyse(complete_run)

    assert (code, err) == (0, "")
    for words in ("small · grid · 8 of 8 trials complete", "Does a small thing work?", "by threshold", "by arm"):
        assert words in out
    for claim in ("proxies - baseline", "random-mask - baseline", "saliency - random-mask"):
        assert claim in out
    assert "2 seeds: too few to tell" in out


def test_a_trial_that_is_not_complete_is_named_with_what_happened(analyse, partial_run):
    code, out, _ = analyse(partial_run)

    assert code == 1
    ids = list(load_results(partial_run)["trial_id"])
    assert f"1 interrupted: {ids[1]}\n" in out
    assert f"{ids[2]} failed: DivergedError: the training loss must be finite" in " ".join(out.split())
    assert f"1 missing: {ids[3]}\n" in out
    assert "1 of 4 trials complete" in out


def test_a_group_is_one_table_by_its_columns(analyse, complete_run):
    code, out, _ = analyse(complete_run, "--group-by", "threshold, weight")

    assert code == 0
    assert "by threshold, weight" in out
    assert "by arm" not in out
    assert "proxies - baseline" not in out


def test_csv_is_read_by_pandas(analyse, complete_run):
    code, out, _ = analyse(complete_run, "--format", "csv")

    table = pd.read_csv(io.StringIO(out))
    assert code == 0
    assert set(table["table"]) == {"schedule", "threshold", "arm"}
    proxies = table[(table["table"] == "arm") & (table["arm"] == "proxy")].iloc[0]
    results = load_results(complete_run)
    assert proxies["n"] == 4
    assert proxies["test_mean"] == pytest.approx(results[results["arm"] == "proxy"]["test_accuracy"].mean())


def test_csv_of_a_group_is_one_table(analyse, complete_run):
    _, out, _ = analyse(complete_run, "--format", "csv", "--group-by", "seed,arm")

    table = pd.read_csv(io.StringIO(out))
    assert table[["seed", "arm", "n"]].to_numpy().tolist() == [
        [0, "baseline", 1],
        [0, "proxy", 2],
        [0, "random-mask", 1],
        [1, "baseline", 1],
        [1, "proxy", 2],
        [1, "random-mask", 1],
    ]


def test_latex_is_a_tabular(analyse, complete_run):
    code, out, _ = analyse(complete_run, "--format", "latex", "--group-by", "arm")

    assert code == 0
    assert out.startswith(r"\begin{tabular}")
    assert out.rstrip().endswith(r"\end{tabular}")
    assert r"val\_mean" in out


def test_a_query_keeps_the_rows_for_which_it_holds(analyse, complete_run):
    _, out, _ = analyse(complete_run, "--query", "seed == 0", "--format", "csv", "--group-by", "arm")

    assert pd.read_csv(io.StringIO(out))["n"].tolist() == [1, 2, 1]


def test_a_query_on_proxies_keeps_their_differences_to_the_baseline(analyse, complete_run):
    _, out, _ = analyse(complete_run, "--query", "threshold > 0.5", "--format", "csv", "--group-by", "arm")

    assert pd.read_csv(io.StringIO(out))["pairs"].tolist() == [2]


def test_a_query_gives_no_arm_another_baseline_than_it_was_planned_against(analyse, complete_run, tmp_path):
    run = shutil.copytree(complete_run, tmp_path / "small" / "grid")
    told = [("baseline", 0.1), ("proxy", 0.1), ("baseline", 0.2), ("rival", 0.3)] * 2

    def edit(number, trial):  # the rival is as near to one as to the other
        trial["arm"], lr = told[number]
        trial["config"] |= {"lr": lr, "mask": "saliency", "schedule": "1,p" if trial["arm"] == "proxy" else "2"}

    rewrite_plan(run, edit)

    _, out, _ = analyse(run, "--query", "lr > 0.1")

    assert "4 of 4 trials complete" in out
    assert "rival - " not in out


def test_a_query_that_leaves_nothing_is_shown_as_nothing(analyse, complete_run):
    code, out, err = analyse(complete_run, "--query", "threshold > 0.9")

    assert (code, err) == (0, "")
    assert "0 of 0 trials complete" in out


BAD = {
    "a query": (["--query", "treshold > 1"], "query must be a pandas query over the columns; got 'treshold > 1'"),
    "a query of numbers": (["--query", "seed"], "query must be a pandas query over the columns; got 'seed'"),
    "a column": (["--group-by", "treshold"], "group-by must be one of "),
    "no column": (["--group-by", ","], "--group-by must name a column; got ','"),
    "a format": (["--format", "html"], "--format must be one of csv, latex, table; got 'html'"),
    "images that nobody publishes": (["--with-images"], "--with-images must be given with --publish"),
    "an option": (["--publsh"], "got '--publsh'; did you mean --publish"),
}


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_command_line_ends_in_one_line(analyse, complete_run, argv, message):
    code, out, err = analyse(complete_run, *argv)

    assert (code, out) == (2, "")
    assert err.startswith("analyse.py: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_place_without_a_run_ends_in_one_line(analyse, tmp_path):
    code, out, err = analyse(tmp_path)

    assert (code, out) == (2, "")
    assert err == f"analyse.py: a run or study folder must hold a plan.json; got {str(tmp_path)!r}\n"


def test_no_place_ends_in_one_line(analyse):
    code, out, err = analyse()

    assert (code, out) == (2, "")
    assert err == "analyse.py: the following arguments are required: PATH\n"


def test_publishing_over_a_file_of_the_user_ends_in_one_line(analyse, complete_run, tmp_path):
    run = shutil.copytree(complete_run, tmp_path / "small" / "grid")
    (tmp_path / "small" / "report.html").write_text("mine")

    code, _, err = analyse(run, "--publish")

    assert (code, err.count("\n")) == (2, 1)
    assert "--publish must not overwrite what it did not write; move " in err
    assert (tmp_path / "small" / "report.html").read_text() == "mine"


def test_a_study_folder_shows_all_its_runs_and_is_done_when_all_are(analyse, complete_run, partial_run, tmp_path):
    shutil.copytree(complete_run, tmp_path / "small" / "grid")
    shutil.copytree(partial_run, tmp_path / "small" / "random")

    code, out, _ = analyse(tmp_path / "small")

    assert code == 1
    assert "8 of 8 trials complete" in out
    assert "1 of 4 trials complete" in out


def test_analysing_writes_nothing(analyse, complete_run):
    before = {path: path.stat().st_mtime_ns for path in complete_run.rglob("*")}

    analyse(complete_run)

    assert {path: path.stat().st_mtime_ns for path in complete_run.rglob("*")} == before
