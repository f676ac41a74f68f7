"""A run as report.html: one file that needs nothing else, the same bytes for the same files; draws through figures.py.

Everything that is shown is escaped: names of classes, arms and images, questions and errors are other people's.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from proxy_attention.config import LEAKING
from proxy_attention.files import write_text
from study.analysis.claims import LEVEL, SECONDARY
from study.analysis.findings import Run
from study.analysis.importance import importances
from study.analysis.pairs import SETTING, sides
from study.console import points
from study.plan import BASELINE, PROXY
from study.reporting import figures
from study.reporting import summary as evidence
from study.reporting.arm_tables import by_arm, explained
from study.reporting.proxy_sheets import Picture, line_ups, rows_of
from study.reporting.summary import Table
from study.results import load_results
from study.run_folder import ARMS_SVG, COMPLETE, REPORT_HTML, RunFolder

TEMPLATE = Path(__file__).with_name("report.html.jinja")
MOST_SHEETS = 4
log = logging.getLogger(__name__)

NOT_DRAWN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    jinja2.TemplateError,
)
"""What drawing may raise over files that nobody foresaw. No room on the disk is the run's own matter, and not here."""


def write_report(folder: Path, *, to: Path | None = None, with_images: bool = True) -> Path:
    """Write report.html and arms.svg, each whole or not at all, and return where the former is.

    Args:
        to: another folder than that of the run.
        with_images: whether it shows images of the data set, whose licence may not allow that where others read it.
    Raises: ConfigError if there is no run; OSError.
    """
    to = to or folder
    run = Run.read(folder)
    write_text(to / REPORT_HTML, _render(run, with_images=with_images))
    if len(run.scope):  # the one picture that goes into a README
        write_text(to / ARMS_SVG, _val_beside_test(run).decode())
    return to / REPORT_HTML


def render(folder: Path) -> str:
    """The report of a run, as HTML.

    Raises: ConfigError if there is no run.
    """
    return _render(Run.read(folder))


def _render(run: Run, *, with_images: bool = True) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        plan=run.plan,
        counts=Counter(run.rows["status"]),
        planned=len(run.rows),
        leaking=run.leaking,
        headline=evidence.headline(run),
        sentences=[text for text in (*evidence.sentences(run.answers), evidence.skipped(run.epochs)) if text],
        pairs=evidence.pairs(run.answers),
        claims=evidence.claim_rows(run.answers),
        family=evidence.family(run.answers),
        chosen=any(claim.role == SECONDARY for claim in run.answers),
        other_data=any(claim.text.endswith(" data)") for claim in run.answers),
        facts=evidence.facts(run),
        curves=curves(run),
        soon=evidence.epochs_to(run),
        arms=by_arm(run),
        arms_picture=arms(run),
        explained=explained(run),
        control=control(run),
        factors=factors(run),
        importance=importance(run),
        confusions=confusions(run),
        reliability=reliability(run),
        sheets=sheets(run) if with_images else [],
        line_ups=line_ups(run) if with_images else [],
        with_images=with_images,
        undone=evidence.undone(run),
        cost=evidence.cost(run),
        study=_text_of(RunFolder(run.folder).study_file),
    )
    return text.encode("utf-8", "replace").decode("utf-8")  # a file name may hold bytes that are no text


def _val_beside_test(run: Run) -> bytes:
    """Of every arm, and of every level where one compared field was searched."""
    parts, labels = [], {}
    for side in sides(run.rows):
        part = run.scope[run.scope["trial_id"].isin(side.rows["trial_id"])]
        if len(part):
            parts.append(part.assign(arm=side.name))
            labels[side.name] = f"{side.name} (LEAKING)" if not LEAKING.isdisjoint(part["split"]) else side.name
    return figures.val_beside_test(pd.concat(parts), labels=labels)


def arms(run: Run) -> Picture | None:
    """Val and test accuracy of each arm, side by side."""
    return Picture.of(_val_beside_test(run), "accuracy on val and on test by arm") if len(run.scope) else None


def curves(run: Run) -> Picture | None:
    """Val accuracy by epoch."""
    if run.epochs.empty:
        return None
    labels = {arm: run.marked(arm) for arm in run.arms}
    return Picture.of(
        figures.curves(run.epochs, labels=labels), f"val accuracy by epoch of {', '.join(labels.values())}"
    )


def control(run: Run) -> Picture | None:
    """The proxies, the controls, and the one minus the other."""
    shown = [claim for claim in run.answers if claim.role != LEVEL]
    if not shown:
        return None
    words = "; ".join(f"{claim.text}: {points(claim.test.mean)}" for claim in shown)
    return Picture.of(figures.forest(shown), f"differences in test accuracy, points. {words}")


def factors(run: Run) -> list[tuple[str, Picture, Table]]:
    """Of each factor that varies, its levels against the baselines."""
    found = []
    levels = [claim for claim in run.answers if claim.role == LEVEL]
    for factor in dict.fromkeys(claim.factor for claim in levels):
        shown = [claim for claim in levels if claim.factor == factor]
        alt = f"difference in test accuracy to the baseline by {factor}"
        found.append((factor, Picture.of(figures.forest(shown, title=factor), alt), evidence.level_rows(factor, shown)))
    return found


def importance(run: Run) -> tuple[Picture, int] | None:
    """How much each searched field mattered for val accuracy, and over how many trials."""
    values, count = importances(run.folder, run.plan)
    if not values:
        return None
    return Picture.of(figures.importance(values), f"importance of {', '.join(values)} for val accuracy"), count


def confusions(run: Run) -> list[Picture]:
    """The confusion matrices of baseline and proxies, each over all its trials of one list of classes."""
    arms = [arm for arm in run.arms if arm in (BASELINE, PROXY)] or run.arms[:1]
    classes: list[str] = next((report["classes"] for report in run.reports.values()), [])
    found = []
    for arm in arms:
        reports = [report for report in _reports(run, arm) if report["classes"] == classes]
        if reports:
            counts = np.sum([report["confusion"] for report in reports], axis=0)
            title = f"{arm}: {len(reports)} trial{'s' * (len(reports) != 1)}, % of each true class"
            found.append(Picture.of(figures.confusion(counts, classes, title=title), f"confusion matrix of {title}"))
    return found


def reliability(run: Run) -> Picture | None:
    """The reliability diagram, an arm a line; None where no report has kept it."""
    bins = {}
    for arm in run.arms:
        kept = [np.array(report["calibration"]) for report in _reports(run, arm) if report.get("calibration")]
        if kept:
            counts = np.sum([rows[:, 0] for rows in kept], axis=0)
            sums = np.sum([rows[:, :1] * rows[:, 1:] for rows in kept], axis=0)
            bins[arm] = np.column_stack([counts, sums / np.maximum(counts, 1)[:, None]])
    if not bins:
        return None
    return Picture.of(figures.reliability(bins), f"accuracy against confidence of {', '.join(bins)}")


def _reports(run: Run, arm: str) -> list[dict[str, Any]]:
    return [run.reports[name] for name in run.scope["trial_id"][run.scope["arm"] == arm]]


def sheets(run: Run) -> list[dict[str, Any]]:
    """Real wrong images of one trial an arm: of each its row of original, map and proxy, and what it was taken for.

    Of the proxies it is the setting that the first control differs from in the mask alone, if there is one.
    """
    found: list[dict[str, Any]] = []
    rows = run.rows[run.rows["threshold"].notna()].to_dict("records")
    control = next((row for row in rows if row["mask"] != "saliency"), {})
    fields = [name for name in SETTING if control and name != "mask"]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        own.sort(key=lambda row: (row["status"] != COMPLETE, sum(row[name] != control[name] for name in fields)))
        sheet = next((sheet for row in own if (sheet := rows_of(run.folder, row["trial_id"], arm))), None)
        found += [sheet] if sheet else []
    return found[:MOST_SHEETS]


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def finish(run: Path) -> pd.DataFrame:
    """The audit at the end of every run, however it ended: write results.csv and report.html, and return the rows."""
    results = load_results(run)
    write_text(RunFolder(run).results_csv, results.to_csv(index=False))
    try:
        write_report(run)
    except NOT_DRAWN as error:  # the run is done and its rows are written: a picture must not take that away
        RunFolder(run).report_html.unlink(missing_ok=True)  # an older one would be of other rows
        log.warning("report.html could not be written: %s: %s", type(error).__name__, error, exc_info=True)
    return results
