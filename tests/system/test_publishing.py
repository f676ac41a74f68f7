"""What a study publishes of its run, by the command line and by the library."""

import shutil

import pandas as pd
import pytest
from written_runs import SMALL, reported_run, unpublished_run, write_run

from study.analyse import main
from study.analysis.findings import Findings
from study.provenance import ROOT
from study.reporting.publish import publish
from study.reporting.report import finish


@pytest.fixture(scope="module")
def complete_run(tmp_path_factory):
    """A complete run of eight trials, with its report. Read only."""
    return reported_run(tmp_path_factory)


@pytest.fixture
def analyse(capsys):
    """Run the command line: exit code, what was printed, what was complained of."""
    return lambda *argv: (main([str(word) for word in argv]), *capsys.readouterr())


def test_publishing_copies_the_results_up_to_the_study(analyse, complete_run, tmp_path):
    run = shutil.copytree(complete_run, tmp_path / "small" / "grid")

    code, out, _ = analyse(run, "--publish")

    assert code == 0
    assert f"published {tmp_path / 'small' / 'results.csv'}" in out
    assert (tmp_path / "small" / "results.csv").read_bytes() == (run / "results.csv").read_bytes()


def test_a_query_is_of_what_is_shown_and_not_of_what_is_published(analyse, complete_run, tmp_path):
    run = shutil.copytree(complete_run, tmp_path / "small" / "grid")

    _, out, _ = analyse(run, "--query", "threshold > 0.5", "--publish", "--with-images")

    assert "2 of 2 trials complete" in out
    assert (tmp_path / "small" / "report.html").read_bytes() == (run / "report.html").read_bytes()


def test_images_that_were_left_out_are_told(analyse, tmp_path):
    trials = [(arm, seed, test, {**given, "dataset": "cifar10"}) for arm, seed, test, given in SMALL[:2]]
    run = finish(write_run(tmp_path / "small" / "grid", *trials)).run.path

    _, without, _ = analyse(run, "--publish")
    _, shown, _ = analyse(run, "--publish", "--with-images")

    assert "without images of cifar10: --with-images shows them, if their licence allows it" in without
    assert "without images" not in shown


@pytest.fixture
def unpublished(tmp_path):
    """Make a run of two trials on a data set, with its rows and without its report."""
    return lambda dataset="folder": unpublished_run(tmp_path, dataset)


def test_images_of_this_package_are_published(unpublished):
    findings = unpublished("fashion-mnist-sample")

    published = publish(findings)

    assert published.without_images_of == ()
    assert "Wrong images and their proxies" in published.files[1].read_text(encoding="utf-8")


def test_images_of_another_data_set_are_published_only_on_demand(unpublished):
    findings = unpublished("cifar10")

    published = publish(findings)
    without = published.files[1].read_text(encoding="utf-8")
    publish(findings, with_images=True)
    shown = published.files[1].read_text(encoding="utf-8")

    assert published.without_images_of == ("cifar10",)
    assert "Wrong images and their proxies" not in without
    assert "Images of the data set are left out" in without
    assert "Wrong images and their proxies" in shown


def test_published_rows_name_no_folder_of_this_machine(tmp_path):
    trials = [(arm, seed, test, dict(given)) for arm, seed, test, given in SMALL[:2]]
    trials[0][3]["weights"], trials[1][3]["weights"] = "/far/away/w.pt", str(ROOT / "data" / "w.pt")
    findings = Findings.of(write_run(tmp_path / "small" / "grid", *trials))

    publish(findings)

    assert pd.read_csv(tmp_path / "small" / "results.csv")["weights"].tolist() == ["w.pt", "data/w.pt"]
