from written_runs import SMALL, write_run

from study.analysis.findings import Findings
from study.reporting.control_figure import control_figure


def test_a_panel_a_set_has_a_row_for_every_difference_that_has_an_interval(tmp_path):
    findings = Findings.of(write_run(tmp_path / "small" / "grid", *SMALL))

    drawn = control_figure({"planted-swapped": findings, "planted-none": findings}).decode()

    assert "planted-swapped" in drawn
    assert "planted-none" in drawn
    assert drawn.count("saliency \N{MINUS SIGN} random-mask") == 2
    assert drawn == control_figure({"planted-swapped": findings, "planted-none": findings}).decode()
