"""What models said of images, as a table, CSV or JSON, and a line a model of how often it was right; asks none."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from study.inference.classify import Answer

DIGITS = 6
"""Of a probability, behind the point."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet may compute."""


@dataclass(frozen=True)
class Summary:
    """How often a model was right: of n images whose class is known and that could be read."""

    trial_id: str
    arm: str
    seed: int
    images: int
    errors: int
    n: int
    correct: int

    @property
    def accuracy(self) -> float | None:
        """Percent; None where no class is known."""
        return 100 * (self.correct / self.n) if self.n else None

    @property
    def line(self) -> str:
        """In words."""
        failed = f", {self.errors} without an answer" if self.errors else ""
        right = f"accuracy {self.accuracy:.2f} % (n = {self.n})" if self.n else "of none is the true class known"
        return f"{self.trial_id}: {self.images} image{'s' * (self.images != 1)}{failed}, {right}"


def summaries(answers: Sequence[Answer]) -> list[Summary]:
    """One a model, in the order in which they first answered."""
    by_model: dict[str, list[Answer]] = {}
    for answer in answers:
        by_model.setdefault(answer.trial_id, []).append(answer)
    return [
        Summary(
            trial_id=name,
            arm=given[0].arm,
            seed=given[0].seed,
            images=len(given),
            errors=sum(1 for answer in given if answer.error),
            n=sum(1 for answer in given if answer.correct is not None),
            correct=sum(1 for answer in given if answer.correct),
        )
        for name, given in by_model.items()
    ]


def as_csv(answers: Sequence[Answer], *, top: int) -> str:
    """One row an image and model, as RFC 4180 has it but with line feeds; text is quoted, what is not known empty.

    Text that a spreadsheet would compute is made harmless: a file ``=1.png`` is called ``./=1.png``, which is the same
    file; before any other such text stands an apostrophe.
    """
    further = [name for k in range(2, top + 1) for name in (f"class_{k}", f"probability_{k}")]
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    before, behind = ("image", "trial_id", "arm", "seed", "predicted", "confidence"), ("true", "correct", "error")
    rows.writerow([*before, *further, *behind])
    for answer in answers:
        ranked: list[str | float] = [
            cell for name, share in answer.top[:top] for cell in (_harmless(name), round(share, DIGITS))
        ]
        ranked += [""] * (2 * top - len(ranked))
        name = f"./{answer.image}" if answer.image.startswith(FORMULA) else answer.image
        correct = "" if answer.correct is None else answer.correct
        whose = (name, _harmless(answer.trial_id), _harmless(answer.arm), answer.seed)
        rows.writerow([*whose, *ranked, _harmless(answer.true), correct, _harmless(answer.error)])
    return out.getvalue()


def _harmless(text: str) -> str:
    """Text that no spreadsheet computes; a number stays one, as the name of a class may be."""
    if not text.startswith(FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def as_json(answers: Sequence[Answer], *, top: int) -> str:
    """An object of ``models``, a summary each, and ``predictions``; what is not known is null."""
    models = [
        {**{name: getattr(one, name) for name in one.__dataclass_fields__}, "accuracy": one.accuracy}
        for one in summaries(answers)
    ]
    return json.dumps({"models": models, "predictions": [_as_dict(one) for one in answers]}, indent=1, allow_nan=False)


def _as_dict(answer: Answer) -> dict[str, Any]:
    ranked = [{"class": name, "probability": round(share, DIGITS)} for name, share in answer.top]
    return {
        "image": answer.image,
        "trial_id": answer.trial_id,
        "arm": answer.arm,
        "seed": answer.seed,
        "predicted": answer.predicted or None,
        "confidence": ranked[0]["probability"] if ranked else None,
        "top": ranked,
        "true": answer.true or None,
        "correct": answer.correct,
        "error": answer.error or None,
    }


TEXTS: dict[str, Callable[..., str]] = {"csv": as_csv, "json": as_json}
FORMATS = ("table", *TEXTS)
"""How answers may be asked for."""


def table(answers: Sequence[Answer], *, top: int) -> Table:
    """The rows as people read them; without the columns that would be empty."""
    true, failed = any(one.true for one in answers), any(one.error for one in answers)
    found = Table(box=None, pad_edge=False)
    found.add_column("image", overflow="fold")
    found.add_column("trial_id", no_wrap=True)
    found.add_column("arm")
    found.add_column("seed", justify="right")
    found.add_column("predicted", overflow="fold")
    found.add_column("confidence", justify="right")
    for name, there in (("and then", top > 1), ("true", true), ("correct", true), ("error", failed)):
        if there:
            found.add_column(name, overflow="fold")
    for one in answers:
        cells = [shown(one.image), one.trial_id, one.arm, str(one.seed), shown(one.predicted)]
        cells.append(percent(one.top[0][1]) if one.top else "")
        if top > 1:
            cells.append(", ".join(f"{shown(name)} {percent(share)}" for name, share in one.top[1:]))
        if true:
            cells += [shown(one.true), {True: "yes", False: "no", None: ""}[one.correct]]
        if failed:
            cells.append(shown(one.error))
        found.add_row(*(Text(cell) for cell in cells))
    return found


def percent(share: float) -> str:
    """``71.3 %``."""
    return f"{100 * share:.1f} %"


def shown(text: str) -> str:
    """Text from outside on a terminal: what would steer it is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
