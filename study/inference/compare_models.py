"""One sheet of images under two trained models, without proxies and with: what each says, and where it looked."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from matplotlib.font_manager import findfont, get_font
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from proxy_attention.data.loading import Report
from proxy_attention.errors import ConfigError, unknown
from proxy_attention.explanation_metrics import trained_by
from proxy_attention.models.classifier import as_float, autocast, eval_batch
from proxy_attention.saliency.maps import low_resolution_maps, scale, upsample
from proxy_attention.saliency.registry import JUDGES, METHODS, check_method, related
from study.inference.classify import Answer, Decoded, ImageFile, Model, ask, decoded
from study.inference.predictions import percent
from study.reporting.image_grid import Cell, Page, Row, drawn, heat

MOST_IMAGES = 40
ONE_BLOCK = 6
"""Images on a sheet, and how many of them stand in one column before there are two."""
SIDE, MARGIN, FRAME = 160, 18, 5
"""Pixels of a picture, of the room before a row, and of the frame that says right or wrong."""
RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermillion: everybody tells them apart (Okabe and Ito's palette)."""
SIGNS = {True: "✓", False: "✗", None: ""}
LONGEST_NAME, LONGEST_CLASS = 24, 16
KEY = "proxy-attention"
"""Of the text in a sheet's file by which it is known as ours."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models of the same classes, and the method that explains both.

    Attributes:
        note: what is to be told of the choice; empty if nothing is.
    """

    without: Model
    proxied: Model
    saliency: str
    note: str = ""


def pair_of(without: Model, proxied: Model, saliency: str | None) -> Pair:
    """The pair with a method that training did not use, or the one that was asked for.

    Raises: ConfigError for models of other classes, an unknown method, or one that cannot explain both.
    """
    if without.classes != proxied.classes:
        raise ConfigError(f"--compare must have two trials of the same classes; {without.name} has others")
    if saliency is not None and saliency not in METHODS:
        raise unknown("--saliency", saliency, METHODS)
    configs = [model.config for model in (without, proxied)]
    used = frozenset().union(*map(trained_by, configs))
    by_study = [configs[0].judge] if configs[0].judge == configs[1].judge else []
    method = saliency or next((name for name in (*by_study, *JUDGES) if not related(name) & used), None)
    if method is None:
        raise ConfigError("--saliency must be given: training used every method that could be chosen")
    for config, model in zip(configs, (without, proxied), strict=True):
        check_method(method, model.classifier, name=config.model, field="--saliency")
    note = f"--saliency {method} shows maps that training used, too" if related(method) & used else ""
    return Pair(without, proxied, method, note)


def compare(pair: Pair, images: Sequence[ImageFile], *, top: int, progress: Report) -> tuple[list[Answer], Page | None]:
    """What both models say of each image, and the sheet of those that could be read; None if none could.

    Args:
        images: at most ``MOST_IMAGES``.
        top: how many classes are told.
        progress: called with (images done, images in all).
    """
    models = (pair.without, pair.proxied)
    found = list(decoded(images, [SIDE, *(model.config.image_size for model in models)]))
    said = [ask(model, found, top=top) for model in models]
    answers = [answer for of_one_image in zip(*said, strict=True) for answer in of_one_image]
    shown = [place for place, item in enumerate(found) if all(one[place].top for one in said)]
    if not shown:
        return answers, None
    kept = [found[place] for place in shown]
    of_model = [[one[place] for place in shown] for one in said]
    maps = []
    for number, (model, given) in enumerate(zip(models, of_model, strict=True)):
        maps.append(maps_of(model, kept, given, pair.saliency))
        progress(len(images) * (number + 1) // 2, len(images))
    return answers, _page(pair, kept, of_model, maps)


def maps_of(model: Model, images: Sequence[Decoded], answers: Sequence[Answer], saliency: str) -> list[np.ndarray]:
    """The map (SIDE, SIDE) in [0, 1] of each image's predicted class; zeros where a map has no range."""
    size, device = model.config.image_size, model.classifier.device
    predicted = torch.tensor([model.classes.index(answer.predicted) for answer in answers], device=device)
    step, found = eval_batch(size), []
    for first in range(0, len(images), step):
        pixels = torch.from_numpy(np.stack([item.squares[size] for item in images[first : first + step]])).to(device)
        guesses = predicted[first : first + step]
        with autocast(device, model.precision):
            maps = low_resolution_maps(
                model.classifier,
                as_float(pixels),
                predicted=guesses,
                true=guesses,
                saliency=saliency,
                explain="predicted",
            )
        _, flat = scale(maps)  # judged before the interpolation can add rounding to a constant
        full, _ = scale(upsample(maps, SIDE))
        found += list(torch.where(flat[:, None, None], 0.0, full).cpu().numpy())
    return found


def _page(
    pair: Pair, images: Sequence[Decoded], answers: Sequence[Sequence[Answer]], maps: Sequence[Sequence[np.ndarray]]
) -> Page:
    rows = []
    for place, item in enumerate(images):
        picture = item.squares[SIDE].transpose(1, 2, 0)
        cells = [
            _looked(picture, one[place], looked[place], head)
            for head, one, looked in zip(("without proxies", "with proxies"), answers, maps, strict=True)
        ]
        truth = answers[0][place].true
        name = _cut(PurePosixPath(item.image.name).name, LONGEST_NAME)
        named = f"{name}\n{f'true: {_cut(truth, LONGEST_CLASS)}' if truth else 'true class unknown'}"
        rows.append(Row("", (Cell(picture, named), *cells)))
    blocks = 1 if len(rows) <= ONE_BLOCK else 2
    height = -(-len(rows) // blocks)
    known = any(answer.true for answer in answers[0])
    title = (
        "Where two classifiers look: trained without proxies, and with\n"
        f"without: {_told(pair.without)}\n"
        f"with: {_told(pair.proxied)}\n"
        f"Maps of the predicted class by {pair.saliency}, bright where it speaks for the class."
        + ("  Blue frame and ✓: right.  Orange frame and ✗: wrong." if known else "")
    )
    return Page(
        title, tuple(tuple(rows[first : first + height]) for first in range(0, len(rows), height)), SIDE, MARGIN
    )


def _told(model: Model) -> str:
    """The trial, and what its training was."""
    config = model.config
    fields = [model.name, config.model, f"schedule {config.schedule}"]
    if config.has_proxies:
        fields.append(f"proxies by {config.saliency}, threshold {config.threshold:g}, weight {config.weight:g}")
    return _drawable(" · ".join(fields))


def _looked(picture: np.ndarray, answer: Answer, looked: np.ndarray, head: str) -> Cell:
    """The map laid over its image, in a frame that says whether the answer is right, with the answer below it."""
    shown = np.maximum(0.4 * picture, heat(looked)).round().astype(np.uint8)
    if answer.correct is not None:
        inside = shown[FRAME:-FRAME, FRAME:-FRAME].copy()
        shown[:] = RIGHT if answer.correct else WRONG
        shown[FRAME:-FRAME, FRAME:-FRAME] = inside
    flat = "" if looked.any() else " (flat map)"
    label = f"{SIGNS[answer.correct]} {_cut(answer.predicted, LONGEST_CLASS)} {percent(answer.top[0][1])}".strip()
    return Cell(shown, f"{head}{flat}\n{label}")


def _cut(text: str, longest: int) -> str:
    """The text with its middle left out where it is long: file names differ at their ends."""
    text = _drawable(text)
    half = longest // 2
    return text if len(text) <= longest else f"{text[: longest - half - 1]}…{text[-half:]}"


def _drawable(text: str) -> str:
    """The text with a question mark where the sheet's letters have no such sign."""
    return "".join(sign if ord(sign) in _letters() and sign.isprintable() else "?" for sign in text)


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


# ---- the file


def sheet(page: Page, pair: Pair) -> bytes:
    """The page as a PNG file that is known as ours, and says what it shows."""
    text = f"without={pair.without.name} with={pair.proxied.name} saliency={pair.saliency}"
    about, out = PngInfo(), io.BytesIO()
    about.add_text(KEY, text)
    Image.fromarray(drawn(page)).save(out, format="PNG", pnginfo=about)
    return out.getvalue()


def is_ours(file: Path) -> bool:
    """Whether a file is a sheet that this module drew."""
    try:
        with Image.open(file) as opened:
            return KEY in opened.info
    except (OSError, SyntaxError, ValueError):
        return False
