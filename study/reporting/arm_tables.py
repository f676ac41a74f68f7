"""The arms side by side as tables of plain text: how accurate they are, and how well explained; draws nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.arms import MEASURES, ArmStatistics, Judged, arm_statistics, judged
from study.analysis.estimates import Estimate
from study.analysis.findings import Run
from study.console import interval, marked_val, points, spread
from study.plan import BASELINE
from study.reporting.summary import Table, signed


def by_arm(run: Run) -> Table:
    """The arms of a run side by side."""
    return side_by_side(arm_statistics(run.rows, run.scope))


def side_by_side(found: Sequence[ArmStatistics]) -> Table:
    """Accuracy of each arm, how well it knows itself, and how far it is from the baseline and from its own twin."""
    against = {side.baseline for side in found if side.baseline}
    common = against.pop() if len(against) == 1 else BASELINE

    def other(name: str) -> str:
        return "" if name == common else name

    rows = (
        (
            side.name,
            str(side.trials),
            marked_val(spread(side.val.mean, side.val.sd), side.leaking),
            spread(side.test.mean, side.test.sd),
            f"{side.ece:.3f}",
            _against(side.to_baseline, side.seeds, other=other(side.baseline), data=side.data),
            _against(side.to_twin, side.seeds, other=other(side.twin)),
        )
        for side in found
    )
    differences = (f"test \N{MINUS SIGN} {common} [95 %]", "test \N{MINUS SIGN} without proxies [95 %]")
    return Table(("arm", "trials", "val %", "test %", "test ECE", *differences), tuple(rows))


def _against(found: Estimate, seeds: int, *, other: str, data: str = "") -> str:
    """The interval, and what a reader would not guess: what it is against, other data, and how many seeds it is of."""
    if not found.n:
        return ""
    missing = f"{found.n} seed{'s' * (found.n != 1)}" if found.n < seeds else ""
    more = ", ".join(text for text in (other and f"to {other}", data, missing) if text)
    return signed(interval(found)) + f" ({more})" * bool(more)


@dataclass(frozen=True)
class Explained:
    """How well the trained models explain themselves: who judged it, and a table a measure, under its name."""

    judges: str
    measures: tuple[tuple[str, Table], ...]


def explained(run: Run) -> Explained | None:
    """Every measure of explanations by arm; None where no model was judged."""
    found = judged(run.rows, run.scope)
    if not found:
        return None
    rows = run.scope[run.scope["judged_by"].notna()]
    methods = ", ".join(map(str, rows["judged_by"].unique()))
    counts = sorted({int(count) for count in rows["judged_images"].dropna()})
    images = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))
    return Explained(f"by {methods} on {images} test images a trial", tuple(_measures(found)))


def _measures(found: Sequence[Judged]) -> list[tuple[str, Table]]:
    tables = []
    for measure in dict.fromkeys(each.measure for each in found):
        name, better = MEASURES[measure]
        rows = (
            (each.name, _three(each.value.mean, each.value.sd), _three_ends(each.to_baseline))
            for each in found
            if each.measure == measure
        )
        columns = ("arm", name, "\N{MINUS SIGN} baseline [95 %]")
        tables.append((f"{name.capitalize()}: {better}", Table(columns, tuple(rows))))
    return tables


def _three(mean: float, sd: float) -> str:
    return f"{mean:.3f}" + ("" if math.isnan(sd) else f" ± {sd:.3f}")


def _three_ends(found: Estimate) -> str:
    if not found.n:
        return ""
    ends = "" if math.isnan(found.low) else f" [{points(found.low, digits=3)}, {points(found.high, digits=3)}]"
    return signed(points(found.mean, digits=3) + ends)
