"""Command line: what a run, or all runs of a study, have to say.

python study/analyse.py PATH [--query EXPR] [--group-by COL[,COL]] [--format table|csv|latex]
    [--publish [--with-images]] [--export-proxies DIR]
python study/analyse.py --gallery [DIR]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table as RichTable
from rich.text import Text

from proxy_attention.config import LEAKING
from proxy_attention.errors import ConfigError, ProxyAttentionError, unknown
from proxy_attention.storage import write_text
from study.arms import side_by_side
from study.comparison import LEVEL, claims, group, query, tables
from study.evidence import Table, comparable, skipped
from study.pairing import with_baselines
from study.plan import ROOT, Plan
from study.results import (
    COMPLETE,
    FAILED,
    INTERRUPTED,
    MISSING,
    load_epochs,
    load_results,
    runs_of,
    with_weights_named,
)
from study.standings import standings, worth_a_table
from study.terminal import BAD_INPUT, DONE, SOME_FAILED, Parser, claim_table, console, fail, frame_table

GALLERY = ROOT / "experiments" / "gallery"
FORMATS = ("table", "csv", "latex")
PUBLISHED = ("results.csv", "report.html", "arms.svg")


def parser() -> Parser:
    """The options."""
    options = Parser(
        prog="analyse.py",
        description="Tables of a run: n, mean, sample standard deviation, paired difference to the baseline.",
        allow_abbrev=False,
    )
    options.add_argument("path", metavar="PATH", nargs="?", help="a run, or a study folder that holds runs")
    options.add_argument("--query", metavar="EXPR", help="only rows for which a pandas query holds: 'threshold > 0.5'")
    options.add_argument("--group-by", metavar="COL[,COL]", help="one table by these columns, instead of one a factor")
    options.add_argument("--format", metavar="|".join(FORMATS), default="table", help="default: table")
    options.add_argument("--export-proxies", metavar="DIR", help="write the proxies of complete trials as PNG files")
    options.add_argument(
        "--gallery",
        metavar="DIR",
        nargs="?",
        const=GALLERY,
        help="draw what every setting does, on real images; needs no PATH (default: experiments/gallery/)",
    )
    options.add_argument("--publish", action="store_true", help="copy the results up to the study's tracked folder")
    options.add_argument(
        "--with-images", action="store_true", help="publish images of the data set, too: its licence must allow that"
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        args = parser().read(argv)
        if args.format not in FORMATS:
            raise unknown("--format", args.format, FORMATS)
        if args.with_images and not args.publish:
            raise ConfigError("--with-images must be given with --publish")
        if args.gallery is not None:
            for option in ("query", "group_by", "export_proxies", "publish"):
                if getattr(args, option):
                    name = "--" + option.replace("_", "-")
                    raise ConfigError(f"{name} must not be given with --gallery, which reads no run")
            gallery(args.path, Path(args.gallery).expanduser())
            return DONE
        if args.path is None:
            raise ConfigError("the following arguments are required: PATH")
        runs = runs_of(Path(args.path))
        for run in runs:
            show(run, expression=args.query, columns=args.group_by, form=args.format)
            if args.publish:
                publish(run, with_images=args.with_images)
            if args.export_proxies is not None:
                from study.export import export_proxies  # here: tables need no torch

                rows = with_baselines(load_results(run))
                chosen = query(rows, args.query) if args.query else rows
                folder = Path(args.export_proxies).expanduser() / (run.name if len(runs) > 1 else "")
                count = export_proxies(run, list(chosen["trial_id"]), folder)
                print(f"wrote {count} proxies below {folder}")
    except ProxyAttentionError as error:
        fail("analyse.py", error)
        return BAD_INPUT
    except BrokenPipeError:  # | head
        return DONE
    incomplete = [row for run in runs for row in load_results(run)["status"] if row != COMPLETE]
    return SOME_FAILED if incomplete else DONE


def gallery(path: str | None, folder: Path) -> None:
    """Draw what the settings do, with a line that says how far it is, and tell what was written.

    Raises: ConfigError for a folder that cannot be written to, or a PATH beside it.
    """
    if path is not None:
        raise ConfigError(f"--gallery must stand without a PATH, which it does not read; got {path!r}")
    from study.gallery import draw  # here: tables need no torch

    out = console()
    with out.status("the first image") as line:
        pages = draw(folder, tell=line.update)
    for name in pages:
        print(f"wrote {folder / name}")


def show(run: Path, *, expression: str | None = None, columns: str | None = None, form: str = "table") -> None:
    """Print the tables of one run.

    Raises: ConfigError for a query or a column that does not fit.
    """
    plan = Plan.read(run)
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
        sides = standings(everything, comparable(frame, chosen_on=chosen_on))
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


def publish(run: Path, *, with_images: bool = False) -> None:
    """Bring what a colleague needs up to the study's folder: the rows without this machine's folders, and the report.

    Args:
        with_images: show images in the report whatever data set they are of; else only those of this package.
    Raises: ConfigError if the run has no results yet.
    """
    from proxy_attention.data.sources import SOURCES  # here: tables need no torch, and no drawing
    from study.report import write_report

    file = run / "results.csv"
    if not file.is_file():
        raise ConfigError(f"--publish must have results to copy; {str(run)!r} has none yet")
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)  # as text: no digit of it changes
    write_text(run.parent / file.name, with_weights_named(rows).to_csv(index=False))
    others = sorted(name for name in set(rows["dataset"]) - {""} if SOURCES[name].needs_root)
    write_report(run, to=run.parent, with_images=with_images or not others)
    for name in PUBLISHED:
        if (run.parent / name).is_file():
            print(f"published {run.parent / name}")
    if others and not with_images:
        print(f"without images of {', '.join(others)}: --with-images shows them, if their licence allows it")


if __name__ == "__main__":
    sys.exit(main())
