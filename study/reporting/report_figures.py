"""Draw the figures of a report from findings; each is None or empty where there is nothing to show."""

from typing import Any

import numpy as np
import pandas as pd

from proxy_attention.config import LEAKING
from study.analysis.arms import arms_of
from study.analysis.claims import LEVEL
from study.analysis.findings import Findings
from study.analysis.importance import importances
from study.plan import BASELINE, PROXY
from study.reporting import figures
from study.reporting.claim_tables import levels_table
from study.reporting.inline_image import InlineImage
from study.reporting.text_tables import TextTable, points


def val_beside_test(findings: Findings) -> bytes | None:
    """Draw val and test accuracy of every arm, and of every level where one compared field was searched."""
    if findings.scope.empty:
        return None
    parts, labels = [], {}
    for arm in arms_of(findings.rows):
        part = findings.scope[findings.scope["trial_id"].isin(arm.rows["trial_id"])]
        if len(part):
            parts.append(part.assign(arm=arm.name))
            labels[arm.name] = f"{arm.name} (LEAKING)" if not LEAKING.isdisjoint(part["split"]) else arm.name
    return figures.val_beside_test(pd.concat(parts), labels=labels)


def curves(findings: Findings) -> InlineImage | None:
    """Draw val accuracy by epoch."""
    if findings.scope_epochs.empty:
        return None
    labels = {arm: findings.marked(arm) for arm in findings.arm_names}
    return InlineImage.of(
        figures.curves(findings.scope_epochs, labels=labels), f"val accuracy by epoch of {', '.join(labels.values())}"
    )


def claims(findings: Findings) -> InlineImage | None:
    """Draw every claim but those of levels."""
    shown = [claim for claim in findings.claims if claim.role != LEVEL]
    if not shown:
        return None
    words = "; ".join(f"{claim.text}: {points(claim.test.mean)}" for claim in shown)
    return InlineImage.of(figures.forest(shown), f"differences in test accuracy, points. {words}")


def factors(findings: Findings) -> list[tuple[str, InlineImage, TextTable]]:
    """For each factor that varies, draw and list its levels against the baselines."""
    found = []
    levels = [claim for claim in findings.claims if claim.role == LEVEL]
    for factor in dict.fromkeys(claim.factor for claim in levels):
        shown = [claim for claim in levels if claim.factor == factor]
        alt = f"difference in test accuracy to the baseline by {factor}"
        found.append((factor, InlineImage.of(figures.forest(shown, title=factor), alt), levels_table(factor, shown)))
    return found


def importance(findings: Findings) -> tuple[InlineImage, int] | None:
    """Draw how much each searched field mattered for val accuracy, with the number of trials used."""
    values, count = importances(findings.run.path, findings.plan)
    if not values:
        return None
    return InlineImage.of(figures.importance(values), f"importance of {', '.join(values)} for val accuracy"), count


def confusions(findings: Findings) -> list[InlineImage]:
    """Draw the confusion matrices of baseline and proxies, each over its trials with the first list of classes."""
    arms = [arm for arm in findings.arm_names if arm in (BASELINE, PROXY)] or findings.arm_names[:1]
    classes: list[str] = next((report["classes"] for report in findings.reports.values()), [])
    found = []
    for arm in arms:
        reports = [report for report in _reports(findings, arm) if report["classes"] == classes]
        if reports:
            counts = np.sum([report["confusion"] for report in reports], axis=0)
            title = f"{arm}: {len(reports)} trial{'s' * (len(reports) != 1)}, % of each true class"
            found.append(
                InlineImage.of(figures.confusion(counts, classes, title=title), f"confusion matrix of {title}")
            )
    return found


def reliability(findings: Findings) -> InlineImage | None:
    """Draw the reliability diagram, an arm a line; None where no report holds the bins."""
    bins = {}
    for arm in findings.arm_names:
        kept = [np.array(report["calibration"]) for report in _reports(findings, arm) if report.get("calibration")]
        if kept:
            counts = np.sum([rows[:, 0] for rows in kept], axis=0)
            sums = np.sum([rows[:, :1] * rows[:, 1:] for rows in kept], axis=0)
            bins[arm] = np.column_stack([counts, sums / np.maximum(counts, 1)[:, None]])
    if not bins:
        return None
    return InlineImage.of(figures.reliability(bins), f"accuracy against confidence of {', '.join(bins)}")


def _reports(findings: Findings, arm: str) -> list[dict[str, Any]]:
    return [findings.reports[name] for name in findings.scope["trial_id"][findings.scope["arm"] == arm]]
