import dataclasses
import io
import re

import pandas as pd
import pytest
from rich.console import Console
from traps import TRAPS, controls

from study.analysis.claims import Claim
from study.analysis.estimates import estimate
from study.reporting.terminal_report import claim_table, frame_table, show, text_table
from study.reporting.text_tables import TextTable


def shown(thing, *, terminal=False):
    out = io.StringIO()
    Console(file=out, width=160, force_terminal=terminal).print(thing)
    return out.getvalue()


def test_a_claim_is_shown_with_its_interval_its_pairs_and_its_verdict():
    line = shown(claim_table([Claim("a - b", (0, 1), estimate([1.0, 3.0]), estimate([0.5, -0.5]))])).splitlines()[-1]

    for words in ("a - b", "2", "+2.00 [-10.71, +14.71]", "+0.00 [", "+0.5 -0.5", "2 seeds: too few to tell"):
        assert words in line


def test_the_val_of_an_audit_is_marked_in_every_table():
    found = estimate([1.0, 1.0])
    numbers = {f"{part}_{name}": 1.0 for part in ("val", "test") for name in ("mean", "sd", "difference")}
    spreads = {"val_difference_sd": 1.0, "test_difference_sd": 1.0}
    rows = pd.DataFrame([{"arm": arm, "n": 2, "pairs": 2, **numbers, **spreads} for arm in ("honest", "audit")])

    claimed = shown(claim_table([Claim("audit - honest", (0, 1), found, found, leaking=True)]))
    honest, audit = shown(frame_table(rows, "by arm", leaking={"audit"})).splitlines()[-2:]

    assert claimed.count("+1.00 [+1.00, +1.00] LEAKING") == 1
    assert audit.count("1.00 ± 1.00 LEAKING") == 2
    assert "LEAKING" not in honest


def test_a_table_of_text_is_shown_without_calibration():
    text = shown(text_table(TextTable(("arm", "test ECE", "test"), (("[b]a", "0.25", "7"),)), "side by side"))

    assert "[b]a" in text
    assert "7" in text
    assert "0.25" not in text


@pytest.mark.parametrize("trap", TRAPS)
def test_no_name_acts_in_a_table(trap):
    found = estimate([1.0, 1.0])
    numbers = {f"{part}_{name}": 1.0 for part in ("val", "test") for name in ("mean", "sd", "difference")}
    rows = pd.DataFrame(
        [{trap: trap, "n": 2, "pairs": 2, **numbers, "val_difference_sd": 1.0, "test_difference_sd": 1.0}]
    )

    for table in (
        claim_table([Claim(trap, (0, 1), found, found)]),
        frame_table(rows, trap),
        text_table(TextTable((trap,), ((trap,),)), trap),
    ):
        text = shown(table, terminal=True)
        assert controls(re.sub(r"\x1b\[[0-9;]*m", "", text)) == []  # rich's own styles stay
        assert trap in text or controls(trap, keep="")


@pytest.mark.parametrize("trap", TRAPS)
def test_no_question_or_error_acts(findings_of, trap, capsys):
    show(findings_of(("baseline", 0, 50.0, {}), ("proxy", 0, 0.0, {"error": trap}), question=trap))

    out = capsys.readouterr().out
    assert controls(out) == []
    assert "\n0001 failed" not in out
    assert out.count(trap) == 2 or controls(trap, keep="")


@pytest.mark.parametrize("form", ["csv", "latex"])
def test_no_text_of_a_group_acts_in_a_file(findings_of, form, capsys):
    found = findings_of(("baseline", 0, 50.0, {}))
    frame = found.selected.assign(commit="=1+1", split_digest="\\input{x}")

    show(dataclasses.replace(found, selected=frame), columns=["commit", "split_digest"], form=form)

    row = next(line for line in capsys.readouterr().out.splitlines() if "1+1" in line)
    start = {"csv": '"commit, split_digest",\'=1+1,\\input{x},', "latex": "=1+1 & \\textbackslash input\\{x\\} & "}
    assert row.startswith(start[form])


def test_arms_of_other_training_are_shown_side_by_side_and_a_control_is_not(rivals, findings, capsys):
    show(rivals)
    with_rivals = capsys.readouterr().out
    show(findings)
    without = capsys.readouterr().out

    assert "side by side" in with_rivals
    assert "(to rival)" in with_rivals
    assert "side by side" not in without


def test_skipped_steps_are_told(findings_of, capsys):
    show(findings_of(("baseline", 0, 50.0, {}), ("proxy", 0, 51.0, {"steps_skipped": True}), ("proxy", 1, 51.0, {})))

    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 proxy steps were skipped, because validation accuracy had not stalled" in said
