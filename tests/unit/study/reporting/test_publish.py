import pandas as pd
import pytest
from written_runs import unpublished_run, write_run

from proxy_attention.errors import ConfigError
from study.analysis.findings import Findings
from study.reporting.publish import publish
from study.reporting.report import finish


@pytest.fixture
def run(tmp_path):
    """Make a run of two trials on a data set, with its rows and without its report."""
    return lambda dataset="folder": unpublished_run(tmp_path, dataset)


def test_rows_report_and_figure_are_written_into_the_folder_of_the_study(run, tmp_path):
    findings = run()

    published = publish(findings)

    assert [file.relative_to(tmp_path / "small").as_posix() for file in published.files] == [
        "results.csv",
        "report.html",
        "arms.svg",
    ]
    assert published.files[0].read_bytes() == findings.run.results_csv.read_bytes()


def test_no_row_of_a_run_or_of_what_is_published_holds_a_formula(tmp_path):
    trials = [("baseline", 0, 50.0, {"weights": "/far/=1+1"}), ("proxy", 0, 0.0, {"error": "@sum(1)"})]
    findings = finish(write_run(tmp_path / "small" / "grid", *trials))

    publish(findings)

    (_, failed), (named, _) = (
        pd.read_csv(folder / "results.csv").set_index("arm").loc[["baseline", "proxy"], column].tolist()
        for folder, column in ((findings.run.path, "error"), (tmp_path / "small", "weights"))
    )
    assert (failed, named) == ("'@sum(1)", "'=1+1")
    assert pd.read_csv(tmp_path / "small" / "results.csv")["test_accuracy"].tolist()[0] == 50.0


def test_a_run_without_results_cannot_be_published(tmp_path):
    findings = Findings.of(write_run(tmp_path / "small" / "grid", ("baseline", 0, 0.0, {"error": "no"})))

    with pytest.raises(ConfigError, match=r"a run must have results to be published; .* has none yet"):
        publish(findings)


@pytest.mark.parametrize("name", ["results.csv", "report.html", "arms.svg"])
def test_only_files_that_were_published_before_are_overwritten(run, tmp_path, name):
    findings, file = run(), tmp_path / "small" / name
    publish(findings)
    published = {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file()}
    assert [path.name for path in publish(findings).files] == ["results.csv", "report.html", "arms.svg"]

    mine = tmp_path / f"mine-{name}"
    mine.write_bytes(published[name])
    for plant in (lambda: file.write_text("a table of mine"), lambda: file.symlink_to(mine), file.mkdir):
        file.unlink()
        plant()
        with pytest.raises(ConfigError, match=r"--publish must not overwrite what it did not write; move '.*' away"):
            publish(findings)
        assert mine.read_bytes() == published[name]
        others = {path.name: path.read_bytes() for path in file.parent.iterdir() if path.is_file() and path != file}
        assert others.items() <= published.items()


def test_rows_of_an_unknown_data_set_are_published_without_images(run):
    assert publish(run("no-such-set")).without_images_of == ("no-such-set",)


def test_published_rows_are_those_of_the_trials_and_not_of_an_edited_csv(run, tmp_path):
    findings = run()
    findings.run.results_csv.write_text("trial_id,dataset\n1,nothing\n")

    publish(findings)

    assert pd.read_csv(tmp_path / "small" / "results.csv")["test_accuracy"].tolist() == [50.0, 53.0]
