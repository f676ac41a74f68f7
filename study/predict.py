"""Command line: images are put to the trained models of a study.

python study/predict.py PATH [--query EXPR] [--compare] [--format table|csv|json] [--saliency METHOD] [--top K]
    [--out FILE] [--root DIR] IMAGES...
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from proxy_attention.data.loading import named
from proxy_attention.errors import ConfigError, ProxyAttentionError, unknown
from proxy_attention.files import write_atomic
from study.console import BAD_INPUT, DONE, INTERRUPTED, SOME_FAILED, Parser, console, fail, whole
from study.inference.classify import Answer, Model, answers, find_images, load_model, typed
from study.inference.compare_models import MOST_IMAGES, compare, is_ours, pair_of, sheet
from study.inference.predictions import FORMATS, TEXTS, shown, summaries, table
from study.inference.selection import pick, pick_pair
from study.progress import ItemProgress

SHEET = "compare.png"
LONGEST_OUT = 240
"""The sheet that is drawn if none is named, and the bytes of a name that leave room for a file beside it."""


def parser() -> Parser:
    """The options."""
    options = Parser(
        prog="predict.py",
        description="Classify images with the trained models of a study, or set two of them side by side.",
        epilog="Exit code 1: some image has no answer, and is named. In CSV, text that a spreadsheet would compute is "
        "made harmless: ./ before the name of a file, an apostrophe before anything else.",
        allow_abbrev=False,
    )
    options.add_argument("path", metavar="PATH", help="a run, or a study folder that holds runs")
    options.add_argument("images", metavar="IMAGES", nargs="+", help="files, and folders that are searched for images")
    options.add_argument(
        "--query",
        metavar="EXPR",
        help="the models: complete trials for which a pandas query over the results' columns holds, such as "
        "'threshold > 0.5 and seed == 0' (default: the best on val, which is named)",
    )
    options.add_argument("--format", metavar="|".join(FORMATS), default="table", help="default: table")
    options.add_argument(
        "--top", metavar="K", type=whole("--top", low=1), default=1, help="tell the K likeliest classes (default: 1)"
    )
    options.add_argument("--root", metavar="DIR", help="where IMAGES lie: they are looked for, and named, from there")
    options.add_argument(
        "--compare",
        action="store_true",
        help="draw a sheet, too: each image with the map and the answer of the model trained without proxies beside "
        "the one trained with; the query picks these two, or the latter, whose baseline joins it",
    )
    options.add_argument(
        "--saliency",
        metavar="METHOD",
        help="how --compare explains the predicted class (default: a method that training did not use)",
    )
    options.add_argument(
        "--out",
        metavar="FILE",
        help=f"the sheet of --compare, a PNG (default: {SHEET}); no file is replaced but an earlier sheet",
    )
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        args = parser().read(argv, intermixed=True)
        return run(args)
    except ProxyAttentionError as error:
        fail("predict.py", error)
        return BAD_INPUT
    except BrokenPipeError:  # | head
        return DONE
    except KeyboardInterrupt:
        print("predict.py: interrupted", file=sys.stderr)
        return INTERRUPTED


def run(args: argparse.Namespace) -> int:
    """Do what was asked.

    Returns: the exit code.
    Raises: ConfigError for whatever is wrong with it.
    """
    out = _checked(args)
    images = find_images(args.images, typed(args.root) if args.root else None)
    if args.compare and len(images) > MOST_IMAGES:
        raise ConfigError(f"--compare must be given at most {MOST_IMAGES} images, one sheet; got {len(images)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.compare:
        without, proxied, line = pick_pair(Path(args.path), args.query)
        _tell(line)
        pair = pair_of(load_model(without, device), load_model(proxied, device), args.saliency)
        models = [pair.without, pair.proxied]
        _tell(pair.note)
    else:
        picked, line = pick(Path(args.path), args.query)
        _tell(line)
        models = [load_model(one, device) for one in picked]
    _check_models(models, top=args.top)
    with ItemProgress("classifying", "images") as progress:
        progress(0, len(images))
        if args.compare:
            said, page = compare(pair, images, top=args.top, progress=progress)
        else:
            said = answers(models, images, top=args.top, progress=progress)
    _print(said, form=args.format, top=args.top)
    if args.compare and page is not None:
        content = sheet(page, pair)

        def write(path: Path) -> None:
            path.write_bytes(content)

        write_atomic(out, write)
        print(f"wrote {out}", file=sys.stdout if args.format == "table" else sys.stderr)
    return _verdict(said)


def _checked(args: argparse.Namespace) -> Path:
    """What can be said before anything is read; returns where the sheet goes.

    Raises: ConfigError.
    """
    if args.format not in FORMATS:
        raise unknown("--format", args.format, FORMATS)
    for option in ("out", "saliency"):
        if getattr(args, option) is not None and not args.compare:
            raise ConfigError(f"--{option} must be given with --compare, which draws a sheet")
    out = typed(args.out or SHEET).absolute()
    if not args.compare:
        return out
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out must name a .png file; got {args.out!r}")
    try:
        if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
            raise ConfigError(f"--out must lie in a folder that can be written to; got {str(out)!r}")
        if out.exists() and not (out.is_file() and is_ours(out)):
            raise ConfigError(f"--out must name a new file, or a sheet drawn before; {str(out)!r} is another file")
    except OSError as error:
        raise ConfigError(f"--out must be a path that can be written to; got {str(out)!r}: {error.strerror}") from error
    if len(os.fsencode(out.name)) > LONGEST_OUT:
        raise ConfigError(f"--out must name a file in at most {LONGEST_OUT} bytes; got {out.name!r}")
    return out


def _check_models(models: Sequence[Model], *, top: int) -> None:
    most = max(len(model.classes) for model in models)
    if top > most:
        raise ConfigError(f"--top must be at most the number of classes, {most}; got {top}")
    for model in models:
        if model.precision != model.config.precision:
            _tell(f"{model.name} was evaluated in {model.config.precision}; a CPU computes in {model.precision}")


def _tell(line: str) -> None:
    if line:
        print(f"predict.py: {line}", file=sys.stderr)


def _print(said: Sequence[Answer], *, form: str, top: int) -> None:
    """The answers, and a line a model: in the same stream where people read both."""
    if form == "table":
        out = console()
        out.print(table(said, top=top))
        out.print()
        for one in summaries(said):
            out.print(one.line, markup=False, soft_wrap=True)
        return
    print(TEXTS[form](said, top=top), end="" if form == "csv" else "\n", flush=True)
    for one in summaries(said):
        _tell(one.line)


def _verdict(said: Sequence[Answer]) -> int:
    """Name the images without an answer; returns the exit code."""
    without = {shown(answer.image): answer.error for answer in said if answer.error}
    if not without:
        return DONE
    few = "image has" if len(without) == 1 else "images have"
    _tell(f"{len(without)} {few} no answer: {named([f'{name} ({error})' for name, error in without.items()])}")
    return SOME_FAILED


if __name__ == "__main__":
    sys.exit(main())
