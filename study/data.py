"""Command line: list the known data sets; fetch, check, or sample one.

python study/data.py list
python study/data.py prepare cifar10 --root data/cifar10
python study/data.py check data/cifar10 --dataset cifar10
python study/data.py sample cifar10 --to data/cifar10-1600 --train 1600 --test 1000
"""

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from proxy_attention.data.catalogue import Catalogue, white_level_of
from proxy_attention.data.folder import list_all
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.data.labels import LABEL_FUNCTIONS
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.source import Source
from proxy_attention.data.sources import open_source
from proxy_attention.data.tools import download, subset
from proxy_attention.data.tools.http_file import FetchError
from proxy_attention.data.tools.integrity import FAULTS, check, stray_files, stray_reasons, unlisted_images
from proxy_attention.data.white_level import AmbiguousValuesError
from proxy_attention.errors import ConfigError, DataError, ProxyAttentionError, unknown
from study.console import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    Parser,
    add_max_pixels,
    console,
    fail,
    positive,
    shown,
    whole,
)
from study.progress import ItemProgress
from study.provenance import ROOT
from study.reporting.data_report import print_table, show_issues, source_rows, write_csv
from study.streams import run_command

PROGRAM = "data.py"
FORMATS = ("table", "csv")
COMMANDS = ("check", "list", "prepare", "sample")
OPTIONS = {"dataset": "--dataset", "target": "--to", "test": "--test", "train": "--train"}
"""The option for each argument with which an error of the library may begin."""

MB = 2**20


def _list(args: Namespace, out: Console) -> int:
    """Print the table of data sets."""
    if args.format == "csv":
        write_csv(*source_rows(whole=True))
        return DONE
    print_table(*source_rows(), out)
    out.print(
        "\npython study/data.py prepare NAME fetches one, or says where to get it\n"
        "python study/data.py list --format csv also tells each layout, and how a class is read off",
        markup=False,
    )
    return DONE


def _prepare(args: Namespace, out: Console) -> int:
    """Download a data set, or say where to get it."""
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
                raise FetchError(f"{args.name} must be got by hand: {how} (now: {error})") from error
        else:
            out.print(f"{args.name} is there already: nothing was done")
            _show(args.name, root, catalogue, out)
            return DONE

    def tell(text: str) -> None:
        line.pause()
        out.print(shown(text), soft_wrap=True)

    try:
        with ItemProgress("unpacking", "MB", scale=MB) as line:
            download.download(source.archives, root, tell=tell, progress=line)
    except OSError as error:
        raise FetchError(f"--root must be writable and have room; got {str(root)!r}: {error}") from error
    try:
        catalogue = open_source(args.name, root)
    finally:
        download.finish(root)  # even if the layout is not as expected: the next call then begins again
    _show(args.name, root, catalogue, out)
    return DONE


def _show(name: str, root: Path, catalogue: Catalogue, out: Console) -> None:
    """Print what a data set holds, and the command that trains on it."""
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
            out.print(shown(f"{head:<12} {text}"), soft_wrap=True)


def _check(args: Namespace, out: Console) -> int:
    """Read every image and report the faults."""
    root = Path(args.path).expanduser().absolute()
    if not root.is_dir():
        raise ConfigError(f"DIR must be an existing folder; got {args.path!r}")
    splits: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    shipped = SOURCES["folder"].other_files
    refused = ""
    if args.dataset not in (None, "folder"):
        with _options_named():
            catalogue = open_source(args.dataset, root)
        names, shipped = catalogue.names, SOURCES[args.dataset].other_files
    else:
        try:
            catalogue = open_source("folder", root, args.label_function)
        except DataError as error:  # no study can train on it, but every image can be checked
            (catalogue, splits), refused = list_all(root), str(error)
    catalogue, ambiguous = _with_white_level(catalogue.with_max_pixels(args.max_pixels), args.white_level)
    refused = refused or ambiguous
    straight = any("/" not in name for name in catalogue.names)
    stray = stray_files(root, names, straight=straight, shipped=shipped)
    unlisted, reasons = unlisted_images(root, catalogue, names), stray_reasons(root, stray, names)
    with ItemProgress("reading", "images") as line:
        found = check(catalogue, stray, reasons=reasons, splits=splits, unlisted=unlisted, progress=line)
    found = [replace(one, other=one.other.replace("max_pixels", "--max-pixels")) for one in found]
    faults = [one for one in found if one.kind in FAULTS]
    if args.format == "csv":
        write_csv(("kind", "file", "other"), [(one.kind, one.file, one.other) for one in found])
    else:
        show_issues(catalogue, found, out, refused=refused)
    return SOME_FAILED if faults else DONE


def _sample(args: Namespace, out: Console) -> int:
    """Write a balanced part as a folder of images."""
    source = _source(args.name)
    if not source.needs_root:
        _no_root(args)
    root = _root(args) if source.needs_root else None
    target = Path(args.to).expanduser().absolute()
    if root is not None and target.resolve().is_relative_to(root.resolve()):
        raise ConfigError(f"--to must lie outside the data set, which is only read; got {str(target)!r}")
    with _options_named():
        subset.refuse_taken(target)
        catalogue = open_source(args.name, root)
        catalogue, ambiguous = _with_white_level(catalogue, args.white_level)
        if ambiguous:
            raise DataError(ambiguous)
        chosen = subset.choose(catalogue, train=args.train, test=args.test)
    try:
        with _options_named(), ItemProgress("writing", "images") as line:
            subset.write(catalogue, chosen, target, progress=line)
    except OSError as error:
        raise ConfigError(f"--to must be writable and have room; got {str(target)!r}: {error}") from error
    tested = sum(catalogue.own_test[i] for i in chosen)
    parts = f"{len(chosen) - tested} train and {tested} test images" if tested else f"{len(chosen)} images"
    use = ["python", _short(ROOT / "study" / "run.py"), "--search", "grid", "--data-root", _short(target)]
    out.print(shown(f"wrote {parts} of {len(catalogue.classes)} classes to {_short(target)}"), soft_wrap=True)
    out.print(shown(f"{'use':<12} {shlex.join(use)}"), soft_wrap=True)
    return DONE


def _with_white_level(catalogue: Catalogue, given: float | None) -> tuple[Catalogue, str]:
    """Give the catalogue the white that was given, or the one of all its files.

    Returns: and why no study can find the white; then it is the highest value.
    """
    if given is not None or not catalogue.of_files:
        return catalogue.with_white_level(given), ""
    try:
        with ItemProgress("measuring", "images") as line:
            return catalogue.with_white_level(white_level_of(catalogue, line).value), ""
    except AmbiguousValuesError as error:
        return catalogue.with_white_level(max(error.highest, 1.0)), str(error).replace("white_level", "--white-level")


@contextmanager
def _options_named() -> Iterator[None]:
    """Put the option in place of the argument that an error of the library begins with."""
    try:
        yield
    except ConfigError as error:
        argument, _, rest = str(error).partition(" ")
        raise ConfigError(f"{OPTIONS.get(argument, argument)} {rest}") from error


def _source(name: str) -> Source:
    """Return the known data set of this name.

    Raises: ConfigError if there is none.
    """
    if name not in SOURCES:
        raise unknown("NAME", name, SOURCES)
    return SOURCES[name]


def _root(args: Namespace) -> Path:
    """Return where the data set lies or is put: ``--root``, else data/NAME."""
    return Path(args.root or Path("data") / args.name).expanduser().absolute()


def _no_root(args: Namespace) -> None:
    """Check that no ``--root`` is given for a data set that ships inside the package.

    Raises: ConfigError if one is.
    """
    if args.root is not None:
        raise ConfigError(f"--root must not be given with {args.name!r}, which ships inside the package")


def _short(path: Path) -> str:
    """Return the path, relative to the working directory if it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def parser() -> Parser:
    """Build the parser of the commands and their options."""
    options = Parser(
        prog=PROGRAM,
        description="List the known data sets; fetch, check, or sample one.",
        epilog="exit code: 0 done, 1 found something or could not fetch, 2 bad input, 130 interrupted",
        allow_abbrev=False,
    )
    commands = options.add_subparsers(dest="command", metavar="COMMAND")

    def add(run: Callable[[Namespace, Console], int], word: str, what: str) -> Parser:
        command = commands.add_parser(word, help=what, description=what, allow_abbrev=False)
        command.set_defaults(run=run, parser=command)
        return command

    listing = add(_list, "list", "name every known data set")
    preparing = add(
        _prepare,
        "prepare",
        "fetch and unpack one, or say where to get it (after a stop, the archive under way begins again)",
    )
    checking = add(_check, "check", "read every image; name the broken, and those in both train and test")
    sampling = add(_sample, "sample", "write a balanced part of one as a folder of images")
    checking.add_argument("path", metavar="DIR", help="DIR/<class>/* or DIR/train|test/<class>/*, or where a set lies")
    checking.add_argument(
        "--label-function",
        choices=tuple(LABEL_FUNCTIONS),
        metavar="NAME",
        default="parent-folder",
        help="what tells the class in a folder of classes: parent-folder, numbered-folder, top-folder or file-prefix "
        "(default: parent-folder)",
    )
    checking.add_argument("--dataset", metavar="NAME", help="open it as this data set (default: a folder of classes)")
    add_max_pixels(checking.add_argument, "is broken", default=MAX_PIXELS)
    for command in (checking, sampling):
        command.add_argument(
            "--white-level",
            metavar="V",
            type=positive("--white-level"),
            help="the value that is white in images of 16 or 32 bits or floats (default: found over all files)",
        )
    for command in (listing, checking):
        command.add_argument(
            "--format", choices=FORMATS, metavar="|".join(FORMATS), default="table", help="default: table"
        )
    for command in (preparing, sampling):
        command.add_argument("name", metavar="NAME", help="a data set of the list")
        command.add_argument("--root", metavar="DIR", help="where it lies, or is put (default: data/NAME)")
    sampling.add_argument("--to", metavar="DIR", required=True, help="a new folder: DIR/train|test/<class>/*.png")
    for split in ("train", "test"):
        option = f"--{split}"
        sampling.add_argument(
            option,
            metavar="N",
            type=whole(option, low=1, high=10_000_000),
            help=f"number of {split} images, equal for each class (default: as many as the rarest class allows)",
        )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    out = console()
    try:
        args = parser().read(words)
        if args.command is None:
            raise unknown("the command", "", COMMANDS)
        return int(args.run(args, out))
    except FetchError as error:
        fail(PROGRAM, error)
        return SOME_FAILED
    except ProxyAttentionError as error:
        fail(PROGRAM, error)
        return BAD_INPUT
    except KeyboardInterrupt:
        again = shlex.join(["python", _short(ROOT / "study" / PROGRAM), *words])
        how = " (the archive that was being fetched begins again)" if words[:1] == ["prepare"] else ""
        said = f"interrupted; nothing half done is in use. To go on{how}:"
        out.print(f"\n{said}")
        out.print(shown(f"  {again}"), soft_wrap=True)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has ended, such as ``| head``
        return DONE
    except OSError as error:
        fail(PROGRAM, error)
        return BAD_INPUT


if __name__ == "__main__":
    run_command(main)
