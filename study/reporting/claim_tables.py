"""Plain-text tables of claims: seed by seed, all of them, and level by level."""

import math
from collections.abc import Sequence

from study.analysis.claims import ENOUGH_SEEDS, LEVEL, PRIMARY, Claim
from study.reporting.text_tables import TextTable, interval, marked_val, minus, minus_signs, points

UNKNOWN = "–"


def primary_by_seed(claims: Sequence[Claim]) -> TextTable | None:
    """Show the primary claim seed by seed; None where the seeds are enough for an interval."""
    claim = next((claim for claim in claims if claim.role == PRIMARY), None)
    if claim is None or len(claim.seeds) >= ENOUGH_SEEDS:
        return None
    val = "val difference, LEAKING" if claim.leaking else "val difference"
    values = zip(claim.seeds, claim.val.values, claim.test.values, strict=True)
    rows = ((str(seed), *(minus_signs(points(value)) for value in both)) for seed, *both in values)
    return TextTable(("seed", val, "test difference"), tuple(rows))


def claims_table(claims: Sequence[Claim]) -> TextTable:
    """Show every claim but those of levels."""
    rows = [
        (
            minus(claim.text),
            str(len(claim.seeds)),
            marked_val(minus_signs(interval(claim.val)), claim.leaking),
            minus_signs(interval(claim.test)),
            _p_cell(claim),
            claim.verdict,
        )
        for claim in claims
        if claim.role != LEVEL
    ]
    return TextTable(("difference", "seeds", "val [95 %]", "test [95 %]", "p on test", "verdict"), tuple(rows))


def levels_table(factor: str, levels: Sequence[Claim]) -> TextTable:
    """Show the claims of the levels of one factor."""
    rows = (
        (
            claim.level,
            str(len(claim.seeds)),
            marked_val(minus_signs(points(claim.val.mean)), claim.leaking),
            minus_signs(interval(claim.test)),
            p_text(claim.adjusted).removeprefix("= "),
        )
        for claim in levels
    )
    return TextTable((factor, "seeds", "val", "test [95 %]", "p (Holm)"), tuple(rows))


def holm_count(claims: Sequence[Claim]) -> int:
    """Count the p-values that Holm adjusted."""
    return sum(not math.isnan(claim.adjusted) for claim in claims)


def _p_cell(claim: Claim) -> str:
    shown = claim.test.p if math.isnan(claim.adjusted) else claim.adjusted
    return p_text(shown).removeprefix("= ") + " (Holm)" * (not math.isnan(claim.adjusted))


def p_text(value: float) -> str:
    """Write p as ``= 0.023`` or ``< 0.001``; a dash for NaN."""
    if math.isnan(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"
