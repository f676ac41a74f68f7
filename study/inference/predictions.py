"""Predictions of images, the accuracy of each model over them, and both as a table, CSV or JSON; runs no model."""

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from study.console import shown
from study.foreign_text import FORMULA, spreadsheet_cell

DIGITS = 6
"""Decimal places of a probability."""


@dataclass(frozen=True)
class Prediction:
    """The prediction of one model for one image.

    Attributes:
        top: classes and their probabilities, the likeliest first; empty if there is an error.
        true: the true class; empty if the image's path names none that the model knows.
        error: why the image has no prediction; empty if it has one.
    """

    image: str
    trial_id: str
    arm: str
    seed: int
    top: tuple[tuple[str, float], ...]
    true: str = ""
    error: str = ""

    @property
    def predicted(self) -> str:
        """The likeliest class; empty if there is an error."""
        return self.top[0][0] if self.top else ""

    @property
    def correct(self) -> bool | None:
        """Whether the likeliest class is the true one; None if one of them is missing."""
        return self.predicted == self.true if self.true and self.top else None


@dataclass(frozen=True)
class ModelSummary:
    """The accuracy of a model over the images that have a prediction and a true class.

    Attributes:
        images: all images.
        errors: those without a prediction.
        n: those with a prediction and a true class.
    """

    trial_id: str
    arm: str
    seed: int
    images: int
    errors: int
    n: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """Percent; None if no true class is known."""
        return 100 * (self.correct / self.n) if self.n else None

    @property
    def line(self) -> str:
        """The summary in words."""
        failed = f", {self.errors} without a prediction" if self.errors else ""
        accuracy = f"accuracy {self.accuracy:.2f} % (n = {self.n})" if self.n else "no true class is known"
        return f"{self.trial_id}: {self.images} image{'s' * (self.images != 1)}{failed}, {accuracy}"


def summarise(predictions: Sequence[Prediction]) -> list[ModelSummary]:
    """Summarise the predictions of each model, in the order in which the models first occur."""
    by_model: dict[str, list[Prediction]] = {}
    for prediction in predictions:
        by_model.setdefault(prediction.trial_id, []).append(prediction)
    return [
        ModelSummary(
            trial_id=name,
            arm=own[0].arm,
            seed=own[0].seed,
            images=len(own),
            errors=sum(1 for prediction in own if prediction.error),
            n=sum(1 for prediction in own if prediction.correct is not None),
            correct=sum(1 for prediction in own if prediction.correct),
        )
        for name, own in by_model.items()
    ]


# ---- CSV


def as_csv(predictions: Sequence[Prediction], *, top: int) -> str:
    """Write a row for each prediction, as in RFC 4180 but with line feeds; text is quoted, what is unknown is empty.

    Text that a spreadsheet would compute is made harmless: a file ``=1.png`` is called ``./=1.png``, which is the same
    file; any other such text has an apostrophe before it.
    """
    next_classes = [name for k in range(2, top + 1) for name in (f"class_{k}", f"probability_{k}")]
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    first, last = ("image", "trial_id", "arm", "seed", "predicted", "confidence"), ("true", "correct", "error")
    rows.writerow([*first, *next_classes, *last])
    for prediction in predictions:
        ranked: list[str | float] = [
            cell for name, share in prediction.top[:top] for cell in (spreadsheet_cell(name), round(share, DIGITS))
        ]
        ranked += [""] * (2 * top - len(ranked))
        image = f"./{prediction.image}" if prediction.image.startswith(FORMULA) else prediction.image
        correct = "" if prediction.correct is None else prediction.correct
        model = (spreadsheet_cell(prediction.trial_id), spreadsheet_cell(prediction.arm), prediction.seed)
        rows.writerow(
            [image, *model, *ranked, spreadsheet_cell(prediction.true), correct, spreadsheet_cell(prediction.error)]
        )
    return out.getvalue()


# ---- JSON


def as_json(predictions: Sequence[Prediction], *, top: int) -> str:
    """Write an object of ``models``, a summary each, and ``predictions``; what is unknown is null."""
    models = [{**dataclasses.asdict(summary), "accuracy": summary.accuracy} for summary in summarise(predictions)]
    values = [_as_dict(prediction, top=top) for prediction in predictions]
    return json.dumps({"models": models, "predictions": values}, indent=1, allow_nan=False)


def _as_dict(prediction: Prediction, *, top: int) -> dict[str, Any]:
    ranked = [{"class": name, "probability": round(share, DIGITS)} for name, share in prediction.top[:top]]
    return {
        "image": prediction.image,
        "trial_id": prediction.trial_id,
        "arm": prediction.arm,
        "seed": prediction.seed,
        "predicted": prediction.predicted or None,
        "confidence": ranked[0]["probability"] if ranked else None,
        "top": ranked,
        "true": prediction.true or None,
        "correct": prediction.correct,
        "error": prediction.error or None,
    }


AS_TEXT: dict[str, Callable[..., str]] = {"csv": as_csv, "json": as_json}
FORMATS = ("table", *AS_TEXT)
"""The formats in which predictions are printed."""


# ---- table


def as_table(predictions: Sequence[Prediction], *, top: int) -> Table:
    """Build a table for the terminal, without the columns that would be empty."""
    any_true, any_error = any(one.true for one in predictions), any(one.error for one in predictions)
    table = Table(box=None, pad_edge=False)
    table.add_column("image", overflow="fold")
    table.add_column("trial_id", no_wrap=True)
    table.add_column("arm")
    table.add_column("seed", justify="right")
    table.add_column("predicted", overflow="fold")
    table.add_column("confidence", justify="right")
    for name, wanted in (("and then", top > 1), ("true", any_true), ("correct", any_true), ("error", any_error)):
        if wanted:
            table.add_column(name, overflow="fold")
    for one in predictions:
        cells = [one.image, one.trial_id, one.arm, str(one.seed), one.predicted]
        cells.append(percent(one.top[0][1]) if one.top else "")
        if top > 1:
            cells.append(", ".join(f"{name} {percent(share)}" for name, share in one.top[1:top]))
        if any_true:
            cells += [one.true, {True: "yes", False: "no", None: ""}[one.correct]]
        if any_error:
            cells.append(one.error)
        table.add_row(*map(shown, cells))
    return table


def percent(share: float) -> str:
    """Write a share in [0, 1] as ``71.3 %``."""
    return f"{100 * share:.1f} %"
