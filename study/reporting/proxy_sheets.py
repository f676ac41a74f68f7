"""Cut images, maps and proxies for a report out of the sheets (proxies.png) that trials kept; runs no model."""

import dataclasses
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from proxy_attention.config import DEFAULTS
from proxy_attention.data.image_files import UnreadableImageError, checked_image
from proxy_attention.saliency.registry import METHODS
from study.analysis.findings import Findings
from study.analysis.pairs import SETTING
from study.plan import PlannedTrial
from study.reporting.inline_image import InlineImage
from study.run_folder import COMPLETE, TrialFolder

MOST_ARMS = 4
"""Arms of which a report shows examples."""
LONGEST_NAME, LONGEST_LABEL = 48, 24
"""Characters of a file name or class, and of a class above a column of maps."""
SIDE, GAP = 64, 2
"""Pixels of an image in a comparison, and between two of them."""
COLOURS = 31
"""Colours of a row of maps: a step of a thirtieth cannot be seen, and a report of forty methods stays small."""
ORIGINAL, MAP, COLUMNS = 0, 1, 3
"""Columns of a sheet, and how many there are."""


@dataclass(frozen=True)
class Sheet:
    """The examples of a trial's newest proxy step: a row an image, with original, map and proxy side by side.

    Attributes:
        rows: the name, the class and the prediction of each image.
        pitch: pixels from one row or column to the next.
        padding: white pixels around every picture.
    """

    picture: Image.Image
    rows: tuple[tuple[str, str, str], ...]
    epoch: int
    pitch: int
    padding: int

    @classmethod
    def read(cls, folder: TrialFolder) -> "Sheet | None":
        """Read the sheet of a trial; None for an older trial, or a damaged file."""
        values: Any = folder.proxies()
        if folder.proxies_png.is_symlink():
            return None
        try:
            with checked_image(folder.proxies_png) as opened:
                picture = opened.convert("RGB")
            rows = tuple((str(row["image"]), str(row["true"]), str(row["predicted"])) for row in values["rows"])
            padding = int(values["padding"])
            found = cls(picture, rows, int(values["epoch"]), (picture.height - padding) // len(rows), padding)
        except (OSError, UnreadableImageError, ValueError, KeyError, TypeError, ZeroDivisionError):
            return None
        fits = picture.size == (COLUMNS * found.pitch + padding, len(rows) * found.pitch + padding)
        return found if fits and 0 <= padding < found.pitch else None

    def row(self, number: int) -> Image.Image:
        """Cut out a row, with half of the padding above and below it."""
        top = self.padding // 2 + number * self.pitch
        return self.picture.crop((0, top, self.picture.width, top + self.pitch))

    def column(self, number: int) -> list[Image.Image]:
        """Cut out the pictures of a column, each resized to ``SIDE`` pixels."""
        left, side = self.padding + number * self.pitch, self.pitch - self.padding
        tops = [self.padding + row * self.pitch for row in range(len(self.rows))]
        boxes = [(left, top, left + side, top + side) for top in tops]
        return [self.picture.crop(box).resize((SIDE, SIDE), Image.Resampling.NEAREST) for box in boxes]


@dataclass(frozen=True)
class MethodMaps:
    """The maps of one method, side by side, with its cost in words and the trial that made them."""

    method: str
    cost: str
    trial_id: str
    maps: InlineImage


@dataclass(frozen=True)
class MethodComparison:
    """The maps of the same chosen images of one model by every method that explained them.

    Attributes:
        labels: the class and the prediction of each image.
        left_out: methods of this model whose trials kept other images.
    """

    model: str
    seed: int
    epoch: int
    labels: tuple[tuple[str, str], ...]
    originals: InlineImage
    methods: tuple[MethodMaps, ...]
    left_out: tuple[str, ...]


def _examples_of(folder: TrialFolder, arm: str) -> dict[str, Any] | None:
    """Cut the sheet of one trial into rows, each with its image's class and prediction."""
    sheet = Sheet.read(folder)
    if sheet is None:
        return None
    shown = [
        {
            "picture": InlineImage.of(_encode(sheet.row(number)), "original, map and proxy", "png"),
            "image": _end_of(image),
            "true": _end_of(true),
            "predicted": _end_of(predicted),
        }
        for number, (image, true, predicted) in enumerate(sheet.rows)
    ]
    return {"arm": arm, "trial_id": folder.trial_id, "epoch": sheet.epoch + 1, "rows": shown}


def proxy_examples(findings: Findings) -> list[dict[str, Any]]:
    """Return chosen images of one trial an arm, each with its original, map and proxy, class and prediction.

    The trial of the proxies is the one that the first control differs from in the mask alone, if there is one.
    """
    found: list[dict[str, Any]] = []
    rows = findings.rows[findings.rows["threshold"].notna()].to_dict("records")
    control = next((row for row in rows if row["mask"] != "saliency"), {})
    fields = [name for name in SETTING if control and name != "mask"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        own.sort(key=lambda row: (row["status"] != COMPLETE, sum(row[name] != control[name] for name in fields)))
        kept = (_examples_of(findings.run.trial(row["trial_id"]), arm) for row in own)
        found += [examples] if (examples := next(filter(None, kept), None)) else []
    return found[:MOST_ARMS]


def method_comparisons(findings: Findings) -> list[MethodComparison]:
    """Compare the saliency methods of a run's complete proxy trials, model by model; empty if there are fewer than two.

    Trials are compared if they agree in every other field and kept the same images of the same proxy step. If a model
    has several such groups, the one with the most methods is shown. Each model is compared for itself, because it has
    other images.
    """
    groups: dict[Any, dict[str, tuple[PlannedTrial, Sheet]]] = {}
    complete = set(findings.rows["trial_id"][findings.rows["status"] == COMPLETE])
    methods_of: dict[str, set[str]] = {}
    folder = findings.run
    for trial in folder.known_trials(findings.plan):
        config = trial.config
        if trial.trial_id not in complete or not config.has_proxies or config.mask != "saliency":
            continue  # a control's maps are not the method's
        methods_of.setdefault(config.model, set()).add(config.saliency)
        sheet = Sheet.read(folder.trial(trial.trial_id))
        if sheet is not None:
            alike = dataclasses.replace(config, saliency=DEFAULTS["saliency"]), sheet.epoch, sheet.rows
            groups.setdefault(alike, {}).setdefault(config.saliency, (trial, sheet))
    largest: dict[str, dict[str, tuple[PlannedTrial, Sheet]]] = {}
    for (config, _, _), group in groups.items():
        if len(group) > len(largest.get(config.model, ())):
            largest[config.model] = group
    if len({method for group in largest.values() for method in group}) < 2:
        return []
    return [_comparison(group, methods_of[model]) for model, group in largest.items()]


def _comparison(group: dict[str, tuple[PlannedTrial, Sheet]], known: set[str]) -> MethodComparison:
    trial, sheet = next(iter(group.values()))
    words = "; ".join(f"{image}: {true} taken for {predicted}" for image, true, predicted in sheet.rows)
    strip = _encode(_side_by_side(sheet.column(ORIGINAL)))
    order = [*(name for name in METHODS if name in group), *sorted(set(group) - set(METHODS))]
    return MethodComparison(
        model=trial.config.model,
        seed=trial.config.seed,
        epoch=sheet.epoch + 1,
        labels=tuple((_end_of(true, LONGEST_LABEL), _end_of(taken, LONGEST_LABEL)) for _, true, taken in sheet.rows),
        originals=InlineImage.of(strip, f"the images, left to right. {words}", "png"),
        methods=tuple(_method_maps(name, *group[name]) for name in order),
        left_out=tuple(sorted(known - set(group))),
    )


def _method_maps(name: str, trial: PlannedTrial, sheet: Sheet) -> MethodMaps:
    maps = _with_few_colours(_side_by_side(sheet.column(MAP), gap=0))
    alt = f"maps of the {len(sheet.rows)} images by {name}, left to right"
    cost = METHODS[name].cost if name in METHODS else ""
    return MethodMaps(name, cost, trial.trial_id, InlineImage.of(_encode(maps), alt, "png"))


def _side_by_side(images: list[Image.Image], *, gap: int = GAP) -> Image.Image:
    strip = Image.new("RGB", (len(images) * (SIDE + gap) - gap, SIDE), "white")
    for number, image in enumerate(images):
        strip.paste(image, (number * (SIDE + gap), 0))
    return strip


def _with_few_colours(maps: Image.Image) -> Image.Image:
    """Put white between maps that touch, in few colours, so that a file of noise is small, too."""
    # MAXCOVERAGE keeps a colour that few pixels have: a map may have one bright pixel
    few = maps.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    count = maps.width // SIDE
    spaced = Image.new("P", (count * (SIDE + GAP) - GAP, SIDE), COLOURS)
    colours = (few.getpalette() or [])[: 3 * COLOURS]
    spaced.putpalette([*colours, *[0] * (3 * COLOURS - len(colours)), 255, 255, 255])
    for number in range(count):
        spaced.paste(few.crop((number * SIDE, 0, (number + 1) * SIDE, SIDE)), (number * (SIDE + GAP), 0))
    return spaced


def _end_of(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _encode(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
