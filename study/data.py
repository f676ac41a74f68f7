"""Command line: which data sets there are, and one of them fetched, checked, or written in part.

python study/data.py list
python study/data.py prepare cifar10 --root data/cifar10
python study/data.py check data/cifar10 --dataset cifar10
python study/data.py sample cifar10 --to data/cifar10-1600 --train 1600 --test 1000
"""

import csv
import shlex
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from proxy_attention.data.folder import list_all, list_folder
from proxy_attention.data.loading import Catalogue
from proxy_attention.data.registry import SOURCES, open_source
from proxy_attention.data.source import Source
from proxy_attention.data.tools import download, subset
from proxy_attention.data.tools.integrity import FAULTS, KINDS, Finding, check, stray_files, unlisted_images
from proxy_attention.errors import ConfigError, DataError, ProxyAttentionError, unknown
from study.console import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED, Parser, console, fail, whole
from study.progress import ItemProgress
from study.provenance import ROOT

PROGRAM = "data.py"
FORMATS = ("table", "csv")
MOST_SHOWN = 20
"""Findings of a kind that the table names; the CSV names all."""

MB = 2**20

WIDEST = 100_000
"""Characters of a line of a table in a log; no path is longer."""


def _list(args: Namespace, out: Console) -> int:
    """Every row of the table of data sets; as CSV also what is too long for a table."""
    heads = ("name", "classes", "split", "licence", "home", "brought")
    rows = [(name, *_told(source)) for name, source in SOURCES.items()]
    if args.format == "csv":
        more = [(source.layout, source.label) for source in SOURCES.values()]
        _write_csv((*heads, "layout", "label"), [(*row, *rest) for row, rest in zip(rows, more, strict=True)])
        return DONE
    _print_table(heads, rows, out)
    out.print(
        "\npython study/data.py prepare NAME fetches one, or says where to get it\n"
        "python study/data.py list --format csv also tells each layout, and how a class is read off",
        markup=False,
    )
    return DONE


def _told(source: Source) -> tuple[str, ...]:
    return source.class_count, source.split, source.licence, source.home, source.obtained_by


def _prepare(args: Namespace, out: Console) -> int:
    """Bring a data set, or say where it is to be got."""
    source = _source(args.name)
    if not source.needs_root:
        _no_root(args)
        out.print(f"{args.name} ships inside the package: nothing is to be prepared")
        return DONE
    root = _root(args)
    if root.exists() and not root.is_dir():
        raise ConfigError(f"--root must be a folder; got the file {str(root)!r}")
    if not download.unfinished(root):
        try:
            catalogue = open_source(args.name, root)
        except DataError as error:
            if not source.archives:
                how = source.by_hand.replace("DIR", _short(root))
                raise download.FetchError(f"{args.name} must be got by hand: {how} (now: {error})") from error
        else:
            out.print(f"{args.name} is there already: nothing was done")
            _show(args.name, root, catalogue, out)
            return DONE

    def tell(text: str) -> None:
        line.pause()
        out.print(text, markup=False, soft_wrap=True)

    try:
        with ItemProgress("unpacking", "MB", scale=MB) as line:
            download.download(source.archives, root, tell=tell, progress=line)
    except OSError as error:
        raise download.FetchError(f"--root must be writable and have room; got {str(root)!r}: {error}") from error
    try:
        catalogue = open_source(args.name, root)
    finally:
        download.finish(root)  # also if what was unpacked is not what was expected: then the next call begins again
    _show(args.name, root, catalogue, out)
    return DONE


def _show(name: str, root: Path, catalogue: Catalogue, out: Console) -> None:
    """What a data set is, and how it is used."""
    tested, images = sum(catalogue.own_test), len(catalogue.names)
    there, known = len(catalogue.classes), SOURCES[name].classes
    own = f"{images - tested} to train and choose with, {tested} test (its own)" if tested else f"{images}, no own test"
    command = ["python", _short(ROOT / "study" / "run.py"), "--search", "grid"]
    command += ["--set", f"dataset={name}", "--data-root", _short(root)]
    for head, text in (
        ("data set", f"{name}: {there} classes; images: {own}"),
        ("licence", SOURCES[name].licence),
        ("place", _short(root)),
        ("use", shlex.join(command)),
        ("note", f"{there} of its {known} classes are there" if known is not None and there < known else ""),
    ):
        if text:
            out.print(f"{head:<12} {text}", markup=False, soft_wrap=True)


def _check(args: Namespace, out: Console) -> int:
    """Read every image and tell what is wrong."""
    root = Path(args.path).expanduser().absolute()
    if not root.is_dir():
        raise ConfigError(f"DIR must be an existing folder; got {args.path!r}")
    splits: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    shipped: tuple[str, ...] = ()
    refused = ""
    if args.dataset not in (None, "folder"):
        catalogue = open_source(args.dataset, root)
        names, shipped = catalogue.names, SOURCES[args.dataset].beside
    else:
        try:
            catalogue = list_folder(root)
        except DataError as error:  # no study may train on it, but every image can be looked at
            (catalogue, splits), refused = list_all(root), str(error)
    straight = any("/" not in name for name in catalogue.names)
    stray = stray_files(root, names, straight=straight, shipped=shipped)
    unlisted = unlisted_images(root, catalogue, names)
    with ItemProgress("reading", "images") as line:
        found = check(catalogue, stray, splits=splits, unlisted=unlisted, progress=line)
    faults = [one for one in found if one.kind in FAULTS]
    if args.format == "csv":
        _write_csv(("kind", "file", "other"), [(one.kind, one.file, one.other) for one in found])
    else:
        _show_findings(catalogue, found, out, refused=refused)
    return SOME_FAILED if faults else DONE


def _show_findings(catalogue: Catalogue, found: Sequence[Finding], out: Console, *, refused: str) -> None:
    """What was read and found.

    Args:
        refused: why no study would train on the folder; empty if one would.
    """
    tested = sum(catalogue.own_test)
    counts = Counter(one.kind for one in found)
    images = len(catalogue.names)
    split = f"{images - tested} to train and choose with, {tested} test" if tested else "no test split of its own"
    out.print(f"{images} images read, {len(catalogue.classes)} classes, {split}", markup=False)
    if refused:
        out.print(f"no study trains on it as it lies: {_plain(refused)}", markup=False, soft_wrap=True)
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
            _print_table((title, "file", "other"), rows, out)
    out.print()
    for kind in KINDS:
        if counts[kind]:
            out.print(f"{counts[kind]} {kind}: {KINDS[kind]}", markup=False)
    if not any(counts[kind] for kind in FAULTS):
        out.print("nothing is wrong")


def _sample(args: Namespace, out: Console) -> int:
    """Write a balanced part as a folder of images."""
    source = _source(args.name)
    if not source.needs_root:
        _no_root(args)
    root = _root(args) if source.needs_root else None
    if args.to is None:
        raise ConfigError("the following arguments are required: --to")
    target = Path(args.to).expanduser().absolute()
    if root is not None and target.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"--to must lie outside the data set, which is only read; got {str(target)!r}")
    subset.refuse_taken(target)
    catalogue = open_source(args.name, root)
    chosen = subset.choose(catalogue, train=args.train, test=args.test)
    try:
        with ItemProgress("writing", "images") as line:
            subset.write(catalogue, chosen, target, progress=line)
    except OSError as error:
        raise ConfigError(f"--to must be writable and have room; got {str(target)!r}: {error}") from error
    tested = sum(catalogue.own_test[i] for i in chosen)
    parts = f"{len(chosen) - tested} train and {tested} test images" if tested else f"{len(chosen)} images"
    use = ["python", _short(ROOT / "study" / "run.py"), "--search", "grid", "--data-root", _short(target)]
    out.print(f"wrote {parts} of {len(catalogue.classes)} classes to {_short(target)}", markup=False, soft_wrap=True)
    out.print(f"{'use':<12} {shlex.join(use)}", markup=False, soft_wrap=True)
    return DONE


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise unknown("NAME", name, SOURCES)
    return SOURCES[name]


def _root(args: Namespace) -> Path:
    return Path(args.root or Path("data") / args.name).expanduser().absolute()


def _no_root(args: Namespace) -> None:
    if args.root is not None:
        raise ConfigError(f"--root must not be given with {args.name!r}, which ships inside the package")


def _short(path: Path) -> str:
    """Relative to the working directory where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], out: Console) -> None:
    """A table as wide as the terminal; elsewhere as wide as its rows, so that a path can be copied from a log."""
    table = Table(box=None, pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(escape(_plain(cell)) for cell in row))
    if sys.stdout.isatty():
        out.print(table)
        return
    needed = Measurement.get(out, out.options.update(width=WIDEST), table).maximum
    Console(highlight=False, width=max(out.width, needed)).print(table)


def _write_csv(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([heads, *([_plain(cell) for cell in row] for row in rows)])


def _plain(text: str) -> str:
    """Text from outside without what a terminal would obey, or could not show."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)


@dataclass(frozen=True)
class Command:
    """One word of the command line: what it does, and its options."""

    run: Callable[[Namespace, Console], int]
    what: str
    options: Callable[[Parser], None]


def _list_options(options: Parser) -> None:
    _format(options)


def _prepare_options(options: Parser) -> None:
    options.add_argument("name", metavar="NAME", help="a data set of the list")
    options.add_argument("--root", metavar="DIR", help="where it is to lie (default: data/NAME)")


def _check_options(options: Parser) -> None:
    options.add_argument("path", metavar="DIR", help="DIR/<class>/* or DIR/train|test/<class>/*, or where a set lies")
    options.add_argument("--dataset", metavar="NAME", help="open it as this data set (default: a folder of classes)")
    _format(options)


def _sample_options(options: Parser) -> None:
    _prepare_options(options)
    options.add_argument("--to", metavar="DIR", help="a new folder: DIR/train|test/<class>/*.png")
    for split in ("train", "test"):
        option = f"--{split}"
        options.add_argument(
            option,
            metavar="N",
            type=whole(option, low=1, high=10_000_000),
            help=f"{split} images, as many of each class (default: as many as the rarest class has, of each)",
        )


def _format(options: Parser) -> None:
    options.add_argument("--format", metavar="|".join(FORMATS), default="table", help="default: table")


COMMANDS = {
    "list": Command(_list, "which data sets there are", _list_options),
    "prepare": Command(
        _prepare,
        "fetch and unpack one, or say where to get it (after a stop, the archive under way begins again)",
        _prepare_options,
    ),
    "check": Command(_check, "read every image; name the broken, and those in train and test", _check_options),
    "sample": Command(_sample, "write a balanced part as a folder of images", _sample_options),
}


def parser(word: str) -> Parser:
    """The options of one command."""
    options = Parser(prog=f"{PROGRAM} {word}", description=COMMANDS[word].what, allow_abbrev=False)
    COMMANDS[word].options(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    out = console()
    try:
        if words and words[0] in ("-h", "--help"):
            _help(out)
            return DONE
        if not words or words[0] not in COMMANDS:
            raise unknown("the command", words[0] if words else "", COMMANDS)
        args = parser(words[0]).read(words[1:])
        if getattr(args, "format", FORMATS[0]) not in FORMATS:
            raise unknown("--format", args.format, FORMATS)
        return COMMANDS[words[0]].run(args, out)
    except download.FetchError as error:
        fail(PROGRAM, error)
        return SOME_FAILED
    except ProxyAttentionError as error:
        fail(PROGRAM, error)
        return BAD_INPUT
    except KeyboardInterrupt:
        again = shlex.join(["python", _short(ROOT / "study" / PROGRAM), *words])
        how = " (the archive that was being fetched begins again)" if words[:1] == ["prepare"] else ""
        said = f"interrupted; nothing half done is in use. To go on{how}:"
        out.print(f"\n{said}\n  {again}", markup=False, soft_wrap=True)
        return INTERRUPTED
    except BrokenPipeError:  # | head
        return DONE
    except OSError as error:
        fail(PROGRAM, error)
        return BAD_INPUT


def _help(out: Console) -> None:
    out.print(f"usage: {PROGRAM} COMMAND ... ({PROGRAM} COMMAND --help tells its options)\n", markup=False)
    for word, command in COMMANDS.items():
        out.print(f"  {word:<10} {command.what}", markup=False)
    out.print("\nexit code: 0 done, 1 found something or could not fetch, 2 bad input, 130 interrupted")


if __name__ == "__main__":
    sys.exit(main())
