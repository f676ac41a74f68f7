"""Command line: classify images with the trained models of a study.

python study/predict.py PATH [--query EXPR] [--compare] [--format table|csv|json] [--saliency METHOD] [--top K]
    [--out FILE] [--root DIR] IMAGES...
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from proxy_attention.config import AUTO
from proxy_attention.data.catalogue import OtherFile, named, others_line
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.errors import ConfigError, ProxyAttentionError, unknown
from study.console import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    Parser,
    add_max_pixels,
    console,
    fail,
    print_data,
    say,
    shown,
    whole,
)
from study.inference.classify import classify_images
from study.inference.compare_models import MOST_IMAGES, compare_models, pair_models
from study.inference.comparison_sheet import SHEET, check_sheet_file, write_sheet
from study.inference.predictions import AS_TEXT, FORMATS, Prediction, as_table, summarise
from study.inference.selection import select_pair, select_trials
from study.inference.trained_model import TrainedModel, load_model
from study.inference.user_images import ImageFile, expand_home, find_images, with_white_level
from study.progress import ItemProgress
from study.streams import run_command


def parser() -> Parser:
    """Declare the options."""
    options = Parser(
        prog="predict.py",
        description="Classify images with the trained models of a study, or set two of them side by side.",
        epilog="Exit code 1: some image has no prediction, and is named. In CSV, text that a spreadsheet would compute "
        "is made harmless: ./ before the name of a file, an apostrophe before anything else.",
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
        "--top", metavar="K", type=whole("--top", low=1), default=1, help="show the K likeliest classes (default: 1)"
    )
    options.add_argument(
        "--root", metavar="DIR", help="the folder in which IMAGES are looked for; their names are relative to it"
    )
    add_max_pixels(options.add_argument, "has no prediction", default=MAX_PIXELS)
    options.add_argument(
        "--compare",
        action="store_true",
        help="draw a sheet, too: each image beside the maps and predictions of two models, one trained without "
        "proxies and one with; the query selects both, or the one with proxies, which is compared with its baseline",
    )
    options.add_argument(
        "--saliency",
        metavar="METHOD",
        help="the saliency method of --compare (default: one that training did not use)",
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
    """Classify the images, or compare two models on them; returns the exit code.

    Raises: ConfigError for bad input.
    """
    _check_options(args)
    root, others = expand_home(args.root) if args.root else None, list[OtherFile]()
    images = find_images(args.images, root, max_pixels=args.max_pixels, others=others)
    if others:
        _print_note(f"of the files in the folders, {others_line(others)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    predictions = (_compare if args.compare else _classify)(args, images, device)
    return _exit_code(predictions)


def _check_options(args: argparse.Namespace) -> None:
    """Raises: ConfigError for options that no study could make good."""
    if args.format not in FORMATS:
        raise unknown("--format", args.format, FORMATS)
    for option in ("out", "saliency"):
        if getattr(args, option) is not None and not args.compare:
            raise ConfigError(f"--{option} must be given with --compare, which draws a sheet")
    if args.compare:
        check_sheet_file(_sheet_file(args))


def _sheet_file(args: argparse.Namespace) -> Path:
    return expand_home(args.out or SHEET).absolute()


def _classify(args: argparse.Namespace, images: Sequence[ImageFile], device: torch.device) -> list[Prediction]:
    """Classify the images with the models that the query selects, and print the predictions."""
    trials, note = select_trials(Path(args.path), args.query)
    _print_note(note)
    models = [load_model(trial, device) for trial in trials]
    _check_models(models, top=args.top)
    images = _with_white_level(images, models)
    with ItemProgress("classifying", "images") as progress:
        progress(0, len(images))
        predictions = classify_images(models, images, top=args.top, progress=progress)
    _print_predictions(predictions, args)
    return predictions


def _compare(args: argparse.Namespace, images: Sequence[ImageFile], device: torch.device) -> list[Prediction]:
    """Compare the two models that the query selects, print their predictions and write the sheet."""
    if len(images) > MOST_IMAGES:
        raise ConfigError(f"--compare must be given at most {MOST_IMAGES} images, one sheet; got {len(images)}")
    plain, proxied, note = select_pair(Path(args.path), args.query)
    _print_note(note)
    pair = pair_models(load_model(plain, device), load_model(proxied, device), args.saliency)
    _print_note(pair.note)
    _check_models(pair.models, top=args.top)
    images = _with_white_level(images, pair.models)
    with ItemProgress("classifying", "images") as progress:
        progress(0, len(images))
        predictions, compared = compare_models(pair, images, top=args.top, progress=progress)
    _print_predictions(predictions, args)
    if compared:
        file = _sheet_file(args)
        write_sheet(file, pair, compared)
        say(f"wrote {file}", error=args.format != "table")
    return predictions


def _check_models(models: Sequence[TrainedModel], *, top: int) -> None:
    """Note each model that this device runs in another precision than its trial did.

    Raises: ConfigError if no model has as many classes as were asked for.
    """
    most = max(len(model.classes) for model in models)
    if top > most:
        raise ConfigError(f"--top must be at most the number of classes, {most}; got {top}")
    for model in models:
        if model.precision != model.config.precision:
            _print_note(f"{model.name} was evaluated in {model.config.precision}; a CPU computes in {model.precision}")


def _with_white_level(images: Sequence[ImageFile], models: Sequence[TrainedModel]) -> Sequence[ImageFile]:
    """Find the white of the images if a model's training images needed none, and note it."""
    if all(model.config.white_level != AUTO for model in models):
        return images
    images, note = with_white_level(images)
    _print_note(note)
    return images


def _print_note(note: str) -> None:
    if note:
        say(f"predict.py: {note}", error=True)


def _print_predictions(predictions: Sequence[Prediction], args: argparse.Namespace) -> None:
    """Print the predictions and a summary of each model; below a table the summaries, else on the error stream."""
    summaries = summarise(predictions)
    if args.format == "table":
        out = console()
        out.print(as_table(predictions, top=args.top))
        out.print()
        for summary in summaries:
            out.print(shown(summary.line), soft_wrap=True)
        return
    print_data(AS_TEXT[args.format](predictions, top=args.top))
    for summary in summaries:
        _print_note(summary.line)


def _exit_code(predictions: Sequence[Prediction]) -> int:
    """Name the images without a prediction; returns the exit code."""
    failed = {one.image: one.error for one in predictions if one.error}
    if not failed:
        return DONE
    images = "image has" if len(failed) == 1 else "images have"
    reasons = named([f"{name} ({error})" for name, error in failed.items()])
    _print_note(f"{len(failed)} {images} no prediction: {reasons}")
    return SOME_FAILED


if __name__ == "__main__":
    run_command(main)
