"""Draw what the positive control measured: a panel a planted set, a row a difference; judges nothing."""

from collections.abc import Mapping

import matplotlib
from matplotlib.figure import Figure

from study.analysis.claims import Claim
from study.analysis.control import MARGIN, RULE
from study.analysis.findings import Findings
from study.reporting.figures import OKABE_ITO, STYLE, svg
from study.reporting.text_tables import minus

JUDGED, OTHER = OKABE_ITO[1], "#777777"
ROW, WIDTH = 0.27, 7.2
"""Inches."""


def control_figure(found: Mapping[str, Findings]) -> bytes:
    """Draw the differences in test accuracy on each planted set, with their 95 % intervals, as SVG.

    Args:
        found: the findings of each planted set, by its name, in the order of the panels.
    """
    shown = {name: [claim for claim in findings.claims if claim.test.n > 1] for name, findings in found.items()}
    heights = [max(len(claims), 1) for claims in shown.values()]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, ROW * sum(heights) + 0.55 * len(heights) + 0.4), layout="constrained")
        panels = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
        for axes, (name, claims) in zip(panels[:, 0], shown.items(), strict=True):
            axes.axvspan(-MARGIN, MARGIN, color="#f0f0f0", zorder=0)
            axes.axvline(0, color="#444444", linewidth=0.8)
            for row, claim in enumerate(reversed(claims)):
                colour = JUDGED if _is_judged(name, claim) else OTHER
                axes.plot([claim.test.low, claim.test.high], [row, row], color=colour, linewidth=2)
                axes.plot(claim.test.mean, row, "o", color=colour, markersize=5)
            axes.set_yticks(range(len(claims)), [minus(claim.text) for claim in reversed(claims)], fontsize=8)
            axes.set_ylim(-0.6, len(claims) - 0.4)
            axes.set_title(name, loc="left")
            axes.grid(visible=False, axis="y")
        panels[-1, 0].set_xlabel("points of test accuracy; blue: judged by the rule; grey band: the margin")
        return svg(figure)


def _is_judged(dataset: str, claim: Claim) -> bool:
    return any((rule.dataset, rule.claim) == (dataset, claim.text) for rule in RULE)
