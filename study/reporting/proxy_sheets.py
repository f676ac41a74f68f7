"""Pictures of real images for a report, cut out of the sheets that trials kept; asks no model, and trains nothing."""

import base64
import dataclasses
import io
from dataclasses import dataclass
from typing import Any

from PIL import Image

from proxy_attention.config import DEFAULTS
from proxy_attention.saliency.registry import METHODS
from study.analysis.findings import Findings
from study.analysis.pairs import SETTING
from study.plan import PlannedTrial
from study.run_folder import COMPLETE, TrialFolder

MOST_SHEETS = 4
LONGEST_NAME, LONGEST_LABEL = 48, 24
CELL, GAP = 64, 2
"""Pixels of an image in a line-up, and between two of them."""
SHADES = 31
"""Colours of a line of maps: a step of a thirtieth cannot be seen, and a report of forty methods stays small."""
ORIGINAL, MAP, COLUMNS = 0, 1, 3
"""Columns of a sheet, and how many there are."""


@dataclass(frozen=True)
class Picture:
    """A figure as a data URI, and what it shows in words."""

    source: str
    alt: str

    @classmethod
    def of(cls, drawn: bytes, alt: str, kind: str = "svg+xml") -> "Picture":
        """From the bytes of a file."""
        return cls(f"data:image/{kind};base64,{base64.b64encode(drawn).decode('ascii')}", alt)


@dataclass(frozen=True)
class Sheet:
    """What a trial kept of its newest proxy step: a row an image; original, map and proxy side by side.

    Attributes:
        rows: of each image its name, its class and what it was taken for.
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
        try:
            with Image.open(folder.proxies_png) as opened:
                picture = opened.convert("RGB")
            rows = tuple((str(row["image"]), str(row["true"]), str(row["predicted"])) for row in values["rows"])
            padding = int(values["padding"])
            found = cls(picture, rows, int(values["epoch"]), (picture.height - padding) // len(rows), padding)
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
            return None
        fits = picture.size == (COLUMNS * found.pitch + padding, len(rows) * found.pitch + padding)
        return found if fits and 0 <= padding < found.pitch else None

    def row(self, number: int) -> Image.Image:
        """A row with half of the padding above and below it."""
        top = self.padding // 2 + number * self.pitch
        return self.picture.crop((0, top, self.picture.width, top + self.pitch))

    def column(self, number: int) -> list[Image.Image]:
        """The pictures of a column, each ``CELL`` pixels wide."""
        left, side = self.padding + number * self.pitch, self.pitch - self.padding
        tops = [self.padding + row * self.pitch for row in range(len(self.rows))]
        boxes = [(left, top, left + side, top + side) for top in tops]
        return [self.picture.crop(box).resize((CELL, CELL), Image.Resampling.NEAREST) for box in boxes]


@dataclass(frozen=True)
class Lane:
    """A method in a line-up: its name, what it costs in words, the trial it was asked in, its maps side by side."""

    method: str
    cost: str
    trial_id: str
    maps: Picture


@dataclass(frozen=True)
class LineUp:
    """The same wrong images of one model under every method that explained them.

    Attributes:
        labels: of each image its class, and what it was taken for.
        elsewhere: methods of this model whose trials kept other images.
    """

    model: str
    seed: int
    epoch: int
    labels: tuple[tuple[str, str], ...]
    originals: Picture
    lanes: tuple[Lane, ...]
    elsewhere: tuple[str, ...]


def _sheet_rows(folder: TrialFolder, arm: str) -> dict[str, Any] | None:
    """Cut the sheet of one trial into rows, each with its image's class and prediction."""
    sheet = Sheet.read(folder)
    if sheet is None:
        return None
    shown = [
        {
            "picture": Picture.of(_png(sheet.row(number)), "original, map and proxy", "png"),
            "image": _ending(image),
            "true": _ending(true),
            "predicted": _ending(predicted),
        }
        for number, (image, true, predicted) in enumerate(sheet.rows)
    ]
    return {"arm": arm, "trial_id": folder.trial_id, "epoch": sheet.epoch + 1, "rows": shown}


def sheets(findings: Findings) -> list[dict[str, Any]]:
    """Return wrong images of one trial an arm, each with its original, map and proxy, class and prediction.

    The trial of the proxies is the one that the first control differs from in the mask alone, if there is one.
    """
    found: list[dict[str, Any]] = []
    rows = findings.rows[findings.rows["threshold"].notna()].to_dict("records")
    control = next((row for row in rows if row["mask"] != "saliency"), {})
    fields = [name for name in SETTING if control and name != "mask"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        own.sort(key=lambda row: (row["status"] != COMPLETE, sum(row[name] != control[name] for name in fields)))
        sheet = next((sheet for row in own if (sheet := _sheet_rows(findings.run.trial(row["trial_id"]), arm))), None)
        found += [sheet] if sheet else []
    return found[:MOST_SHEETS]


def line_ups(findings: Findings) -> list[LineUp]:
    """A line-up a model, where the complete proxy trials of a run differ in the method of explanation.

    Trials stand in one line-up if they agree in every other field, and kept the same images of the same step. Of a
    model that has several such groups it is the one of most methods. Another model has other wrong images, and so a
    line-up of its own.
    """
    groups: dict[Any, dict[str, tuple[PlannedTrial, Sheet]]] = {}
    complete = set(findings.rows["trial_id"][findings.rows["status"] == COMPLETE])
    asked: dict[str, set[str]] = {}
    folder = findings.run
    for trial in folder.known_trials(findings.plan):
        config = trial.config
        if trial.trial_id not in complete or not config.has_proxies or config.mask != "saliency":
            continue  # a control's maps are not the method's
        asked.setdefault(config.model, set()).add(config.saliency)
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
    return [_line_up(group, asked[model]) for model, group in largest.items()]


def _line_up(group: dict[str, tuple[PlannedTrial, Sheet]], asked: set[str]) -> LineUp:
    trial, sheet = next(iter(group.values()))
    words = "; ".join(f"{image}: {true} taken for {predicted}" for image, true, predicted in sheet.rows)
    originals = Picture.of(_png(_side_by_side(sheet.column(ORIGINAL))), f"the images, left to right. {words}", "png")
    order = [*(name for name in METHODS if name in group), *sorted(set(group) - set(METHODS))]
    return LineUp(
        model=trial.config.model,
        seed=trial.config.seed,
        epoch=sheet.epoch + 1,
        labels=tuple((_ending(true, LONGEST_LABEL), _ending(taken, LONGEST_LABEL)) for _, true, taken in sheet.rows),
        originals=originals,
        lanes=tuple(_lane(name, *group[name]) for name in order),
        elsewhere=tuple(sorted(asked - set(group))),
    )


def _lane(name: str, trial: PlannedTrial, sheet: Sheet) -> Lane:
    maps = _few_shades(_side_by_side(sheet.column(MAP), gap=0))
    alt = f"maps of the {len(sheet.rows)} images by {name}, left to right"
    cost = METHODS[name].cost if name in METHODS else ""
    return Lane(name, cost, trial.trial_id, Picture.of(_png(maps), alt, "png"))


def _side_by_side(cells: list[Image.Image], *, gap: int = GAP) -> Image.Image:
    strip = Image.new("RGB", (len(cells) * (CELL + gap) - gap, CELL), "white")
    for number, cell in enumerate(cells):
        strip.paste(cell, (number * (CELL + gap), 0))
    return strip


def _few_shades(maps: Image.Image) -> Image.Image:
    """Maps that touch each other, with white between them, in so few colours that noise, too, takes little room."""
    # by what colours there are, not by how many pixels have them: a map may have one bright pixel
    few = maps.quantize(SHADES, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    count = maps.width // CELL
    spaced = Image.new("P", (count * (CELL + GAP) - GAP, CELL), SHADES)
    colours = (few.getpalette() or [])[: 3 * SHADES]
    spaced.putpalette([*colours, *[0] * (3 * SHADES - len(colours)), 255, 255, 255])
    for number in range(count):
        spaced.paste(few.crop((number * CELL, 0, (number + 1) * CELL, CELL)), (number * (CELL + GAP), 0))
    return spaced


def _ending(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
