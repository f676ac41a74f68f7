"""Plain-text tables of a run: its plan and machine, epochs to an accuracy, failures, seconds and memory."""

import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from study.analysis.findings import Findings
from study.console import duration
from study.plan import BASELINE
from study.reporting.text_tables import TextTable, spread
from study.run_folder import COMPLETE

TARGETS = (0.9, 0.95, 1.0)
"""Fractions of the baseline's final val accuracy; the report tells how soon each arm reached them."""


def facts(findings: Findings) -> list[tuple[str, str]]:
    """List what ran, as (name, text): the plan, the data, the code and the machine."""
    plan, about = findings.plan, findings.plan.about
    arms = ", ".join(f"{count} {arm}" for arm, count in Counter(findings.rows["arm"].dropna()).items())
    data = _varied(findings.rows, "dataset")
    if reports := [report for report in findings.reports.values() if report]:
        sizes = (f"{_each(report[f'{part}_images'] for report in reports)} {part}" for part in ("train", "val", "test"))
        data += f": {_each(len(report['classes']) for report in reports)} classes, {', '.join(sizes)} images"
    found = {
        "plan": f"{plan.name}, {plan.search}, {len(findings.rows)} trials ({arms})",
        "seeds": ", ".join(map(str, plan.seeds)),
        "search": f"{plan.suggestions} settings on seed {plan.seeds[0]}, the best {plan.confirm} on the others"
        if plan.search != "grid"
        else "",
        "data": data,
        "left out": f"{len(about.get('skipped_images', []))} unreadable images" * bool(about.get("skipped_images")),
        "model": f"{_varied(findings.rows, 'model')} at {_varied(findings.rows, 'image_size')} px",
        "schedules": _varied(findings.rows, "schedule"),
        "split": _varied(findings.rows, "split"),
        "measured": ", ".join(f"{name}: {value}" for name, value in plan.measured.items()),
        "command": str(about.get("command", "")),
        "commit": ", ".join(dict.fromkeys([str(about.get("commit", "")), *findings.scope["commit"].astype(str)])),
        "planned": str(about.get("created", "")),
        "extended": "; ".join(f"{step} ({step.command})" for step in plan.extensions),
        "machine": f"{about.get('machine', '')}, {about.get('device', '')}",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"python": about.get("python", ""), **about.get("versions", {})}.items()
        ),
        "fingerprint": plan.fingerprint,
    }
    return [(name, text) for name, text in found.items() if text.strip(" ,")]


def _each(counts: Iterable[int]) -> str:
    """Write the distinct counts, as in ``160 or 400``; of more than three the least and the most."""
    found = sorted(set(counts))
    return " or ".join(map(str, found)) if len(found) < 4 else f"{found[0]} to {found[-1]}"


def _varied(rows: pd.DataFrame, column: str) -> str:
    return ", ".join(str(value) for value in rows[column].dropna().unique())


def epochs_to_accuracy(findings: Findings) -> TextTable | None:
    """Show the epoch in which trials first reached a fraction of the baseline's final val accuracy.

    A cell holds the median over trials, and how many reached it.
    """
    reference = findings.scope["val_accuracy"][findings.scope["arm"] == BASELINE].mean()
    if findings.scope_epochs.empty or math.isnan(reference):
        return None
    rows = []
    for arm in findings.arm_names:
        trials = findings.scope_epochs[findings.scope_epochs["arm"] == arm].groupby("trial_id")
        cells = []
        for part in TARGETS:
            soon = [_first_epoch(trial, part * reference) for _, trial in trials]
            reached = sum(map(math.isfinite, soon))
            median = float(np.median(soon))
            cells.append(
                f"{median:g} ({reached} of {len(soon)})" if math.isfinite(median) else f"{reached} of {len(soon)}"
            )
        rows.append((findings.marked(arm), *cells))
    return TextTable(("arm", *(f"val {part * reference:.1f} %" for part in TARGETS)), tuple(rows))


def _first_epoch(trial: pd.DataFrame, target: float) -> float:
    reached = trial["epoch"][trial["val_accuracy"] >= target]
    return float(reached.min()) + 1 if len(reached) else math.inf


def undone_trials(findings: Findings) -> TextTable:
    """Show every trial that is not complete, with its status and error."""
    rows = findings.rows[findings.rows["status"] != COMPLETE].to_dict("records")
    return TextTable(("trial", "status", "error"), tuple((r["trial_id"], r["status"], r["error"] or "") for r in rows))


def cost_by_arm(findings: Findings) -> TextTable:
    """Show seconds and memory of each arm's complete trials."""
    done = findings.rows[findings.rows["status"] == COMPLETE]
    rows = []
    for arm in [arm for arm in findings.arm_names if arm in set(done["arm"])]:
        part = done[done["arm"] == arm]
        seconds = (_mean_of(part[f"{kind}_seconds"]) for kind in ("train", "proxy", "wall"))
        images = f"{part['proxy_images'].astype(float).mean():.0f}"
        rows.append((arm, str(len(part)), *seconds, f"{part['peak_memory_mb'].max():.0f}", images))
    total = duration(float(done["wall_seconds"].sum()))
    rows += (
        [("all", str(len(done)), "", "", f"{total} in all", f"{done['peak_memory_mb'].max():.0f}", "")] if rows else []
    )
    return TextTable(("arm", "trials", "training, s", "proxies, s", "wall, s", "peak MB", "proxies made"), tuple(rows))


def _mean_of(values: pd.Series) -> str:
    series = values.astype(float)
    return spread(float(series.mean()), float(series.std()))
