"""Tables and answers of a run in the terminal, as CSV or as LaTeX; computes no statistic of its own."""

from pathlib import Path

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from proxy_attention.config import LEAKING
from proxy_attention.errors import ConfigError
from study.analysis.arms import arm_statistics, worth_a_table
from study.analysis.claims import LEVEL, claims
from study.analysis.findings import comparable
from study.analysis.grouping import group, query, tables
from study.analysis.pairs import with_baselines
from study.console import claim_table, console, frame_table
from study.reporting.arm_tables import side_by_side
from study.reporting.summary import Table, skipped
from study.results import load_epochs, load_results, with_weights_named
from study.run_folder import COMPLETE, FAILED, INTERRUPTED, MISSING, RunFolder


def show(run: Path, *, expression: str | None = None, columns: str | None = None, form: str = "table") -> None:
    """Print the tables of one run.

    Raises: ConfigError for a query or a column that does not fit.
    """
    plan = RunFolder(run).read_plan()
    rows = with_baselines(load_results(run))
    everything = with_weights_named(rows)
    frame = everything.loc[query(rows, expression).index] if expression else everything
    if columns:
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        if not wanted:
            raise ConfigError(f"--group-by must name a column; got {columns!r}")
        found = {", ".join(wanted): group(frame, wanted)}
    else:
        found = tables(frame)
    if form == "csv":
        print(
            pd.concat(found.values(), keys=found.keys(), names=["table", None])
            .reset_index(level=0)
            .to_csv(index=False),
            end="",
        )
        return
    if form == "latex":
        for table in found.values():
            print(table.to_latex(index=False, float_format="%.2f", escape=True, na_rep=""))
        return
    out = console()
    done = int((frame["status"] == COMPLETE).sum())
    out.print(f"\n[bold]{plan.name}[/bold] · {plan.search} · {done} of {len(frame)} trials complete", style="")
    if plan.question:
        out.print(plan.question, style="italic", markup=False)
    for row in everything[everything["status"] == FAILED].to_dict("records"):
        out.print(f"{row['trial_id']} failed: {row['error']}", markup=False)
    for status in (INTERRUPTED, MISSING):
        if names := list(everything["trial_id"][everything["status"] == status]):
            out.print(f"{len(names)} {status}: {', '.join(names)}", markup=False)
    leaking_arms = set(everything["arm"][everything["split"].isin(LEAKING)])
    for name, table in found.items():
        if len(table):
            out.print()
            out.print(frame_table(table, f"by {name}", leaking=leaking_arms))
    epochs = load_epochs(run)
    if waited := skipped(epochs[epochs["trial_id"].isin(frame["trial_id"])]):
        out.print(f"\n{waited}")
    leaking = sorted(set(everything["split"].dropna()) & LEAKING)
    if leaking:
        out.print(f"\nLEAKING: split = {', '.join(leaking)} trains on validation images; its val says nothing.")
    if not columns:
        chosen_on = None if plan.search == "grid" else plan.seeds[0]
        sides = arm_statistics(everything, comparable(frame, chosen_on=chosen_on))
        if worth_a_table(sides):
            out.print()
            out.print(text_table(side_by_side(sides), "side by side, points of accuracy (mean [95 % interval])"))
        answers = claims(frame, chosen_on=chosen_on, planned=everything)
        if answers:
            out.print()
            out.print(claim_table([claim for claim in answers if claim.role != LEVEL]))  # the tables above show levels
        elif done:
            out.print("\nno trial has its baseline: nothing to compare")


def text_table(table: Table, title: str) -> RichTable:
    """A table of text as the terminal shows it, which is narrow: without calibration."""
    shown = RichTable(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    kept = [number for number, name in enumerate(table.columns) if not name.endswith("ECE")]
    columns, *rows = (
        [Text(row[i].replace("\N{MINUS SIGN}", "-")) for i in kept] for row in (table.columns, *table.rows)
    )
    for number, name in enumerate(columns):
        shown.add_column(name, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    return shown
