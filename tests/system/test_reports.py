"""A run's report, as a whole page."""

import shutil

import pandas as pd
import pytest
from written_runs import reported_run

from study.analysis.findings import Findings
from study.reporting.report import finish, write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run of eight trials, with its report. Read only."""
    return reported_run(tmp_path_factory)


def test_the_same_files_give_the_same_bytes_wherever_they_lie(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "small" / "grid")

    file = write_report(Findings.of(copy), to=tmp_path)

    for name in ("report.html", "arms.svg"):
        assert (tmp_path / name).read_bytes() == (run / name).read_bytes()
    assert file == tmp_path / "report.html"


def test_the_audit_writes_every_row(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "results.csv").unlink()

    rows = finish(run).results

    assert len(rows) == 8
    assert list(pd.read_csv(run / "results.csv")["trial_id"]) == list(rows["trial_id"])
