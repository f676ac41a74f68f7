import pandas as pd
import pytest
from written_runs import SMALL, write_run

from proxy_attention.errors import ConfigError
from study.analysis.findings import Findings
from study.provenance import ROOT
from study.reporting.publish import publish
from study.results import load_results


@pytest.fixture
def run(tmp_path):
    """Make a run of two trials on a data set, with its rows and without its report."""

    def make(dataset="folder"):
        trials = [(arm, seed, test, {**given, "dataset": dataset}) for arm, seed, test, given in SMALL[:2]]
        findings = Findings.of(write_run(tmp_path / "small" / "grid", *trials))
        load_results(findings.run.path).to_csv(findings.run.results_csv, index=False)
        return findings

    return make


def test_rows_report_and_figure_are_written_into_the_folder_of_the_study(run, tmp_path):
    findings = run()

    published = publish(findings)

    assert [file.relative_to(tmp_path / "small").as_posix() for file in published.files] == [
        "results.csv",
        "report.html",
        "arms.svg",
    ]
    assert published.files[0].read_bytes() == findings.run.results_csv.read_bytes()


def test_images_of_this_package_are_published(run):
    findings = run("fashion-mnist-sample")

    published = publish(findings)

    assert published.without_images_of == ()
    assert "Wrong images and their proxies" in published.files[1].read_text(encoding="utf-8")


def test_images_of_another_data_set_are_published_only_on_demand(run):
    findings = run("cifar10")

    published = publish(findings)
    without = published.files[1].read_text(encoding="utf-8")
    publish(findings, with_images=True)
    shown = published.files[1].read_text(encoding="utf-8")

    assert published.without_images_of == ("cifar10",)
    assert "Wrong images and their proxies" not in without
    assert "Images of the data set are left out" in without
    assert "Wrong images and their proxies" in shown


def test_published_rows_name_no_folder_of_this_machine(run, tmp_path):
    findings = run()
    file = findings.run.results_csv
    pd.read_csv(file).assign(weights=["/far/away/w.pt", str(ROOT / "data" / "w.pt")]).to_csv(file, index=False)

    publish(findings)

    assert pd.read_csv(tmp_path / "small" / "results.csv")["weights"].tolist() == ["w.pt", "data/w.pt"]


def test_a_run_without_results_cannot_be_published(tmp_path):
    findings = Findings.of(write_run(tmp_path / "small" / "grid", *SMALL[:2]))

    with pytest.raises(ConfigError, match=r"a run must have results to be published; .* has none yet"):
        publish(findings)
