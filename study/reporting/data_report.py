"""Tables of the data tools for a terminal, a log, or as CSV: the known data sets, and the issues that a check found."""

import csv
import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from proxy_attention.data.catalogue import Catalogue, named
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.tools.integrity import FAULTS, KINDS, Issue
from study.console import console, shown
from study.foreign_text import printable, spreadsheet_cell

MOST_SHOWN = 20
"""Issues of a kind that the table names; the CSV names all."""
WIDEST = 100_000
"""Characters of a line of a table in a log; no path is longer."""


def source_rows(*, whole: bool = False) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Tabulate the known data sets.

    Args:
        whole: whether to include the layout and the label, which are too long for a table on a terminal.
    Returns: the head, and a row for each data set.
    """
    head = ("name", "classes", "split", "licence", "home", "brought", *(("layout", "label") if whole else ()))
    rows = []
    for name, source in SOURCES.items():
        row = (name, source.class_count, source.split, source.licence, source.home, source.obtained_by)
        rows.append((*row, *((source.layout, source.label) if whole else ())))
    return head, rows


def show_issues(catalogue: Catalogue, found: Sequence[Issue], out: Console, *, refused: str) -> None:
    """Print how many images were read, and what was found in them.

    Args:
        refused: why no study can train on the folder; empty if one can.
    """
    tested = sum(catalogue.own_test)
    counts = Counter(one.kind for one in found)
    images = len(catalogue.names)
    split = f"{images - tested} to train and choose with, {tested} test" if tested else "no test split of its own"
    out.print(f"{images} images read, {len(catalogue.classes)} classes, {split}")
    out.print(shown(f"classes: {named(list(catalogue.classes))}"), soft_wrap=True)
    if refused:
        out.print(shown(f"no study trains on it as it lies: {refused}"), soft_wrap=True)
    out.print("two images are the same if their decoded pixels are: upright, RGB, size and every value")
    for title, kinds in (("found", FAULTS), ("for information", [kind for kind in KINDS if kind not in FAULTS])):
        rows = []
        for kind in kinds:
            of_kind = [one for one in found if one.kind == kind]
            rows += [(one.kind, one.file, one.other) for one in of_kind[:MOST_SHOWN]]
            if len(of_kind) > MOST_SHOWN:
                rows.append((kind, f"and {len(of_kind) - MOST_SHOWN} more", "--format csv names all"))
        if rows:
            out.print()
            print_table((title, "file", "other"), rows, out)
    out.print()
    for kind in KINDS:
        if counts[kind]:
            out.print(shown(f"{counts[kind]} {kind}: {KINDS[kind]}"))
    if not any(counts[kind] for kind in FAULTS):
        out.print("nothing is wrong")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], out: Console) -> None:
    """Print a table as wide as the terminal, or in a log as wide as its rows, so that a path can be copied."""
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    if sys.stdout.isatty():
        out.print(table)
        return
    needed = Measurement.get(out, out.options.update(width=WIDEST), table).maximum
    console(width=max(out.width, needed)).print(table)


def write_csv(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows as CSV to the standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([heads, *([spreadsheet_cell(printable(cell)) for cell in row] for row in rows)])
