"""Command line: show the tables and claims of a run, or of all runs of a study.

python study/analyse.py PATH [--query EXPR] [--group-by COL[,COL]] [--format table|csv|latex]
    [--publish [--with-images]] [--export-proxies DIR]
python study/analyse.py --gallery [DIR]
"""

from collections.abc import Sequence
from pathlib import Path

from proxy_attention.errors import ConfigError, ProxyAttentionError, unknown
from study.analysis.findings import Findings
from study.console import BAD_INPUT, DONE, SOME_FAILED, Parser, console, fail, say, shown
from study.provenance import ROOT
from study.reporting.publish import publish
from study.reporting.terminal_report import show
from study.run_folder import COMPLETE, find_runs
from study.streams import run_command

GALLERY = ROOT / "experiments" / "gallery"
FORMATS = ("table", "csv", "latex")


def parser() -> Parser:
    """Build the parser of the options."""
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
    """Run the command line; return the exit code."""
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
            _draw_gallery(args.path, Path(args.gallery).expanduser())
            return DONE
        if args.path is None:
            raise ConfigError("the following arguments are required: PATH")
        columns = [name.strip() for name in (args.group_by or "").split(",") if name.strip()]
        if args.group_by and not columns:
            raise ConfigError(f"--group-by must name a column; got {args.group_by!r}")
        incomplete = False
        runs = find_runs(Path(args.path))
        for run in runs:
            findings = Findings.of(run.path, expression=args.query or None)
            incomplete |= bool((findings.rows["status"] != COMPLETE).any())
            show(findings, columns=columns, form=args.format)
            if args.publish:
                _publish(findings.of_all_rows(), with_images=args.with_images)
            if args.export_proxies is not None:
                folder = Path(args.export_proxies).expanduser() / (run.path.name if len(runs) > 1 else "")
                _export(findings, folder)
    except ProxyAttentionError as error:
        fail("analyse.py", error)
        return BAD_INPUT
    except BrokenPipeError:  # the reader has ended, such as ``| head``
        return DONE
    return SOME_FAILED if incomplete else DONE


def _publish(findings: Findings, *, with_images: bool) -> None:
    published = publish(findings, with_images=with_images)
    for file in published.files:
        say(f"published {file}")
    if published.without_images_of:
        names = ", ".join(published.without_images_of)
        say(f"without images of {names}: --with-images shows them, if their licence allows it")


def _export(findings: Findings, folder: Path) -> None:
    from study.reporting.export import export_proxies  # imported here: tables need no torch

    count = export_proxies(findings.run.path, list(findings.selected["trial_id"]), folder)
    say(f"wrote {count} proxies below {folder}")


def _draw_gallery(path: str | None, folder: Path) -> None:
    if path is not None:
        raise ConfigError(f"--gallery must stand without a PATH, which it does not read; got {path!r}")
    from study.reporting.gallery import draw_gallery  # imported here: tables need no torch

    out = console()
    with out.status("the first image") as line:
        grids = draw_gallery(folder, report=lambda text: line.update(shown(text)))
    for name in grids:
        say(f"wrote {folder / name}")


if __name__ == "__main__":
    run_command(main)
