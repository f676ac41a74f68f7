"""Print findings in the terminal, as CSV or as LaTeX; computes no statistic of its own."""

from collections.abc import Container, Mapping, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from proxy_attention.config import LEAKING
from study.analysis.arm_statistics import has_groups, has_rivals
from study.analysis.claims import LEVEL, Claim
from study.analysis.control import control_line
from study.analysis.findings import Findings
from study.analysis.grouping import group
from study.console import console, print_data, shown
from study.foreign_text import csv_text, latex_table
from study.reporting.arm_tables import accuracy_by_arm
from study.reporting.summary import extensions, skipped_steps
from study.reporting.text_tables import TextTable, interval, marked_val, points, spread
from study.run_folder import COMPLETE, DAMAGED, FAILED, INTERRUPTED, MISSING


def show(findings: Findings, *, columns: Sequence[str] = (), form: str = "table") -> None:
    """Print the findings of one run.

    Args:
        columns: group the rows by these, instead of by each factor; no claims are shown then.
        form: table, csv or latex.
    Raises: ConfigError for a column that is not there.
    """
    tables = {", ".join(columns): group(findings.selected, columns)} if columns else findings.tables
    if form == "csv":
        keyed = pd.concat(tables.values(), keys=tables.keys(), names=["table", None])
        print_data(csv_text(keyed.reset_index(level=0)))
    elif form == "latex":
        for table in tables.values():
            print(latex_table(table))
    else:
        out = console()
        _show_state(findings, out)
        _show_tables(findings, tables, out)
        if not columns:
            _show_claims(findings, out)
        if line := control_line(findings):
            out.print(f"\n{line}", soft_wrap=True)


def _show_state(findings: Findings, out: Console) -> None:
    plan, rows, selected = findings.plan, findings.rows, findings.selected
    done = int((selected["status"] == COMPLETE).sum())
    out.print()
    state = f" · {plan.search} · {done} of {len(selected)} trials complete"
    out.print(Text.assemble(shown(plan.name, "bold"), shown(state)))
    if plan.question:
        out.print(shown(plan.question, "italic"))
    for sentence in extensions(plan):
        out.print(shown(sentence))
    for row in rows[rows["status"].isin((FAILED, DAMAGED))].to_dict("records"):
        out.print(shown(f"{row['trial_id']} {row['status']}: {row['error']}"))
    for status in (INTERRUPTED, MISSING):
        if names := list(rows["trial_id"][rows["status"] == status]):
            out.print(shown(f"{len(names)} {status}: {', '.join(names)}"))


def _show_tables(findings: Findings, tables: Mapping[str, pd.DataFrame], out: Console) -> None:
    for name, table in tables.items():
        if len(table):
            out.print()
            out.print(frame_table(table, f"by {name}", leaking=findings.leaking))
    if skipped := skipped_steps(findings.epochs):
        out.print(f"\n{skipped}")
    leaking = sorted(set(findings.rows["split"].dropna()) & LEAKING)
    if leaking:
        out.print(f"\nLEAKING: split = {', '.join(leaking)} trains on validation images; its val says nothing.")


def _show_claims(findings: Findings, out: Console) -> None:
    if has_rivals(findings.arms) or has_groups(findings.arms):
        out.print()
        title = "side by side, points of accuracy (mean [95 % interval])"
        out.print(text_table(accuracy_by_arm(findings.arms), title))
    if findings.claims:
        out.print()
        out.print(claim_table([claim for claim in findings.claims if claim.role != LEVEL]))  # tables show the levels
    elif findings.why_no_claims:
        out.print(f"\n{findings.why_no_claims}", soft_wrap=True)


def frame_table(frame: pd.DataFrame, title: str, *, leaking: Container[str] = ()) -> RichTable:
    """Show a grouped frame: mean ± sd, and the paired difference to the baseline.

    Args:
        leaking: the arms of which a trial trains on validation images.
    """
    keys = [c for c in frame.columns if c not in ("n", "pairs") and not c.startswith(("val_", "test_"))]
    table = RichTable(title=shown(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for key in keys:
        table.add_column(shown(key))
    for name in ("n", "val %", "test %", "pairs", "val diff", "test diff"):
        table.add_column(name, justify="right")
    for row in frame.to_dict("records"):
        leaks = row.get("arm") in leaking or row.get("split") in LEAKING
        table.add_row(
            *(shown(f"{row[key]:g}" if isinstance(row[key], float) else str(row[key])) for key in keys),
            str(row["n"]),
            marked_val(spread(row["val_mean"], row["val_sd"]), leaks),
            spread(row["test_mean"], row["test_sd"]),
            str(row["pairs"]) if row["pairs"] else "",
            marked_val(spread(row["val_difference"], row["val_difference_sd"], signed=True), leaks),
            spread(row["test_difference"], row["test_difference_sd"], signed=True),
        )
    return table


def claim_table(claims: Sequence[Claim]) -> RichTable:
    """Show claims: the mean difference, its interval, the seeds one by one, and the verdict."""
    table = RichTable(
        title="Differences in accuracy, points, paired by seed and split (mean [95 % interval])",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in ("difference", "seeds", "val", "test", "test by seed", "verdict on test"):
        table.add_column(name)
    for claim in claims:
        by_seed = " ".join(points(value, digits=1) for value in claim.test.values)
        val = marked_val(interval(claim.val), claim.leaking)
        cells = (claim.text, str(len(claim.seeds)), val, interval(claim.test), by_seed, claim.verdict)
        table.add_row(*map(shown, cells))
    return table


def text_table(table: TextTable, title: str) -> RichTable:
    """Show a table of text without its calibration: a terminal is narrow."""
    rich_table = RichTable(title=shown(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    kept = [number for number, name in enumerate(table.columns) if not name.endswith("ECE")]
    columns, *rows = (
        [shown(row[i].replace("\N{MINUS SIGN}", "-")) for i in kept] for row in (table.columns, *table.rows)
    )
    for number, name in enumerate(columns):
        rich_table.add_column(name, justify="right" if number else "left")
    for row in rows:
        rich_table.add_row(*row)
    return rich_table
