"""Plain-text tables of arms: how accurate they are, and how well their models are explained; draws nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from study.analysis.arm_statistics import MEASURES, ArmStatistics, ExplanationStatistics, has_groups
from study.analysis.estimates import Estimate
from study.analysis.findings import Findings
from study.plan import BASELINE
from study.reporting.text_tables import TextTable, interval, marked_val, minus_signs, points, spread


def accuracy_by_arm(arms: Sequence[ArmStatistics]) -> TextTable:
    """Show accuracy, calibration, and the differences to the baseline and to the same training without proxies.

    Where images have groups, the accuracy of the worst group and its distance to the accuracy are shown, too.
    """
    grouped = has_groups(arms)
    against = {arm.baseline for arm in arms if arm.baseline}
    common = against.pop() if len(against) == 1 else BASELINE

    def other(name: str) -> str:
        return "" if name == common else name

    rows = (
        (
            arm.name,
            str(arm.trials),
            marked_val(spread(arm.val.mean, arm.val.sd), arm.leaking),
            spread(arm.test.mean, arm.test.sd),
            f"{arm.ece:.3f}",
            *([_spread_of(arm.worst_group), _spread_of(arm.group_gap)] if grouped else []),
            _against(arm.to_baseline, arm.seeds, other=other(arm.baseline), data=arm.data),
            _against(arm.to_counterpart, arm.seeds, other=other(arm.counterpart)),
        )
        for arm in arms
    )
    differences = (f"test \N{MINUS SIGN} {common} [95 %]", "test \N{MINUS SIGN} without proxies [95 %]")
    by_group = ("worst group %", "gap") if grouped else ()
    return TextTable(("arm", "trials", "val %", "test %", "test ECE", *by_group, *differences), tuple(rows))


def _spread_of(found: Estimate) -> str:
    return spread(found.mean, found.sd)


def _against(found: Estimate, seeds: int, *, other: str, data: str = "") -> str:
    """Write the interval and, in brackets, what is unusual: another arm, other data, fewer seeds."""
    if not found.n:
        return ""
    missing = f"{found.n} seed{'s' * (found.n != 1)}" if found.n < seeds else ""
    more = ", ".join(text for text in (other and f"to {other}", data, missing) if text)
    return minus_signs(interval(found)) + f" ({more})" * bool(more)


@dataclass(frozen=True)
class ExplanationTables:
    """Which methods judged the explanations, in words, and a titled table for each measure."""

    judges: str
    measures: tuple[tuple[str, TextTable], ...]


def explanations_by_arm(findings: Findings) -> ExplanationTables | None:
    """Show every measure of explanations by arm; None where no explanation was evaluated."""
    if not findings.explanations:
        return None
    rows = findings.scope[findings.scope["judged_by"].notna()]
    methods = ", ".join(map(str, rows["judged_by"].unique()))
    counts = sorted({int(count) for count in rows["judged_images"].dropna()})
    images = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else "".join(map(str, counts))
    return ExplanationTables(f"by {methods} on {images} test images a trial", tuple(_measures(findings.explanations)))


def _measures(found: Sequence[ExplanationStatistics]) -> list[tuple[str, TextTable]]:
    tables = []
    for measure in dict.fromkeys(each.measure for each in found):
        name, better = MEASURES[measure]
        rows = (
            (each.arm, _spread(each.value.mean, each.value.sd), _interval(each.to_baseline))
            for each in found
            if each.measure == measure
        )
        columns = ("arm", name, "\N{MINUS SIGN} baseline [95 %]")
        tables.append((f"{name.capitalize()}: {better}", TextTable(columns, tuple(rows))))
    return tables


def _spread(mean: float, sd: float) -> str:
    return f"{mean:.3f}" + ("" if math.isnan(sd) else f" ± {sd:.3f}")


def _interval(found: Estimate) -> str:
    if not found.n:
        return ""
    ends = "" if math.isnan(found.low) else f" [{points(found.low, digits=3)}, {points(found.high, digits=3)}]"
    return minus_signs(points(found.mean, digits=3) + ends)
