"""What a run has to say, in words and tables of plain text: read once, nothing drawn, nothing of HTML.

Negative results are told with the same care: a headline is a lead, a mean difference, its interval and n.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from study.analysis.claims import ENOUGH_SEEDS, LEVEL, PRIMARY, SECONDARY, Claim
from study.analysis.findings import Run
from study.console import duration, interval, marked_val, points, spread
from study.plan import BASELINE
from study.run_folder import COMPLETE

TARGETS = (0.9, 0.95, 1.0)
"""Parts of the baseline's final val accuracy; the report tells how soon each arm reached them."""

UNKNOWN = "–"
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Table:
    """Headings and rows of text, as the template sets them; the first column names the row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def headline(run: Run) -> str:
    """The verdict in a sentence, with its interval and n; the same care whichever way it goes."""
    claim = next((claim for claim in run.answers if claim.role == PRIMARY), None)
    if claim is None:
        if run.plan.search != "grid" and len(run.plan.seeds) < 2:
            return "No verdict: the one seed of this run chose the settings, and cannot judge them. Give it more seeds."
        return "No verdict: no proxy trial and its baseline are both complete."
    leads = {
        "higher": "Proxies helped.",
        "lower": "Proxies did harm.",
        "no difference shown": "No difference was shown.",
    }
    lead = leads.get(claim.verdict, f"{_seeds(claim)} {'is' if len(claim.seeds) == 1 else 'are'} too few to tell.")
    return f"{lead} Test accuracy with proxies minus that of the baseline: {_measured(claim)}."


def sentences(answers: Sequence[Claim]) -> list[str]:
    """What else may be said: of the setting chosen on val, of attention against controls, of rivals with proxies."""
    found = []
    for claim in answers:
        if claim.role == SECONDARY:
            setting = ", ".join(f"{name} {value}" for name, value in claim.setting)
            found.append(f"The setting that was best on val ({setting}), read on test: {_measured(claim)}.")
        elif claim.control:
            found.append(
                f"Is it the attention? The same proxies with the map minus with {claim.control}: {_measured(claim)}; "
                f"{claim.verdict}."
            )
        elif claim.question:
            found.append(f"{claim.question} {_minus(claim.text)}: {_measured(claim)}; {claim.verdict}.")
    return found


def family(answers: Sequence[Claim]) -> int:
    """Over how many p-values Holm went."""
    return sum(not math.isnan(claim.adjusted) for claim in answers)


def skipped(epochs: pd.DataFrame) -> str:
    """What became of steps that waited for a stall; empty if none was skipped.

    Args:
        epochs: ``trial_id``, ``proxy_step`` and ``step_skipped``, as ``load_epochs`` gives them.
    """
    steps = epochs.groupby("trial_id")[["proxy_step", "step_skipped"]].sum().astype(int)
    steps = steps[steps.sum(axis=1) > 0]
    left_out, taken = int(steps["step_skipped"].sum()), int(steps["proxy_step"].sum())
    if not left_out:
        return ""
    never = int((steps["proxy_step"] == 0).sum())
    return (
        f"{left_out} of {left_out + taken} proxy steps were skipped, because validation accuracy had not stalled; "
        f"{never} of {len(steps)} trials took none."
    )


def _measured(claim: Claim) -> str:
    """The mean difference, its interval, n and p, none of them cut by the end of a line."""
    test = claim.test
    parts = [f"n = {len(claim.seeds)} seed{'s' * (len(claim.seeds) != 1)}", _p_words(claim)]
    parts.insert(
        0, f"95 % interval {points(test.low)} to {points(test.high)}" if math.isfinite(test.low) else "no interval"
    )
    words = ", ".join(part.replace(" ", NO_BREAK) for part in parts)
    return signed(f"{points(test.mean)}{NO_BREAK}points ({words})")


def _p_words(claim: Claim) -> str:
    if not math.isnan(claim.adjusted):
        return f"p {_p(claim.adjusted)} after Holm"
    return "no p" if math.isnan(claim.test.p) else f"p {_p(claim.test.p)}"


def _p(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def _seeds(claim: Claim) -> str:
    return f"{len(claim.seeds)} seed{'s' * (len(claim.seeds) != 1)}"


def _minus(text: str) -> str:
    return text.replace(" - ", " \N{MINUS SIGN} ")


def signed(text: str) -> str:
    """Numbers with the sign of a minus, where a hyphen would break from them."""
    return text.replace("-", "\N{MINUS SIGN}")


def pairs(answers: Sequence[Claim]) -> Table | None:
    """The primary claim seed by seed, where seeds are too few for more."""
    claim = next((claim for claim in answers if claim.role == PRIMARY), None)
    if claim is None or len(claim.seeds) >= ENOUGH_SEEDS:
        return None
    val = "val difference, LEAKING" if claim.leaking else "val difference"
    values = zip(claim.seeds, claim.val.values, claim.test.values, strict=True)
    rows = ((str(seed), *(signed(points(value)) for value in both)) for seed, *both in values)
    return Table(("seed", val, "test difference"), tuple(rows))


def claim_rows(answers: Sequence[Claim]) -> Table:
    """Every claim but those level by level."""
    rows = [
        (
            _minus(claim.text),
            str(len(claim.seeds)),
            marked_val(signed(interval(claim.val)), claim.leaking),
            signed(interval(claim.test)),
            _p_cell(claim),
            claim.verdict,
        )
        for claim in answers
        if claim.role != LEVEL
    ]
    return Table(("difference", "seeds", "val [95 %]", "test [95 %]", "p on test", "verdict"), tuple(rows))


def level_rows(factor: str, levels: Sequence[Claim]) -> Table:
    """The levels of one factor."""
    rows = (
        (
            claim.level,
            str(len(claim.seeds)),
            marked_val(signed(points(claim.val.mean)), claim.leaking),
            signed(interval(claim.test)),
            _p(claim.adjusted).removeprefix("= "),
        )
        for claim in levels
    )
    return Table((factor, "seeds", "val", "test [95 %]", "p (Holm)"), tuple(rows))


def _p_cell(claim: Claim) -> str:
    shown = claim.test.p if math.isnan(claim.adjusted) else claim.adjusted
    return _p(shown).removeprefix("= ") + " (Holm)" * (not math.isnan(claim.adjusted))


def facts(run: Run) -> list[tuple[str, str]]:
    """What ran: the plan, the data, the code and the machine."""
    plan, about = run.plan, run.plan.about
    arms = ", ".join(f"{count} {arm}" for arm, count in Counter(run.rows["arm"].dropna()).items())
    data = _varied(run.rows, "dataset")
    if reports := [report for report in run.reports.values() if report]:
        sizes = (f"{_each(report[f'{part}_images'] for report in reports)} {part}" for part in ("train", "val", "test"))
        data += f": {_each(len(report['classes']) for report in reports)} classes, {', '.join(sizes)} images"
    found = {
        "plan": f"{plan.name}, {plan.search}, {len(run.rows)} trials ({arms})",
        "seeds": ", ".join(map(str, plan.seeds)),
        "search": f"{plan.suggestions} settings on seed {plan.seeds[0]}, the best {plan.confirm} on the others"
        if plan.search != "grid"
        else "",
        "data": data,
        "left out": f"{len(about.get('skipped_images', []))} unreadable images" * bool(about.get("skipped_images")),
        "model": f"{_varied(run.rows, 'model')} at {_varied(run.rows, 'image_size')} px",
        "schedules": _varied(run.rows, "schedule"),
        "split": _varied(run.rows, "split"),
        "measured": ", ".join(f"{name}: {value}" for name, value in plan.measured.items()),
        "command": str(about.get("command", "")),
        "commit": ", ".join(dict.fromkeys([str(about.get("commit", "")), *run.scope["commit"].astype(str)])),
        "planned": str(about.get("created", "")),
        "machine": f"{about.get('machine', '')}, {about.get('device', '')}",
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in {"python": about.get("python", ""), **about.get("versions", {})}.items()
        ),
        "fingerprint": plan.fingerprint,
    }
    return [(name, text) for name, text in found.items() if text.strip(" ,")]


def _each(counts: Iterable[int]) -> str:
    """Every count that there is, ``160 or 400``; of more than three the least and the most."""
    found = sorted(set(counts))
    return " or ".join(map(str, found)) if len(found) < 4 else f"{found[0]} to {found[-1]}"


def _varied(rows: pd.DataFrame, column: str) -> str:
    return ", ".join(str(value) for value in rows[column].dropna().unique())


def epochs_to(run: Run) -> Table | None:
    """In which epoch a trial first reached a part of the baseline's final val accuracy: median, and how many did."""
    reference = run.scope["val_accuracy"][run.scope["arm"] == BASELINE].mean()
    if run.epochs.empty or math.isnan(reference):
        return None
    rows = []
    for arm in run.arms:
        trials = run.epochs[run.epochs["arm"] == arm].groupby("trial_id")
        cells = []
        for part in TARGETS:
            soon = [_first_epoch(trial, part * reference) for _, trial in trials]
            reached = sum(map(math.isfinite, soon))
            median = float(np.median(soon))
            cells.append(
                f"{median:g} ({reached} of {len(soon)})" if math.isfinite(median) else f"{reached} of {len(soon)}"
            )
        rows.append((run.marked(arm), *cells))
    return Table(("arm", *(f"val {part * reference:.1f} %" for part in TARGETS)), tuple(rows))


def _first_epoch(trial: pd.DataFrame, target: float) -> float:
    reached = trial["epoch"][trial["val_accuracy"] >= target]
    return float(reached.min()) + 1 if len(reached) else math.inf


def undone(run: Run) -> Table:
    """Every trial that is not complete, and why."""
    rows = run.rows[run.rows["status"] != COMPLETE].to_dict("records")
    return Table(("trial", "status", "error"), tuple((r["trial_id"], r["status"], r["error"] or "") for r in rows))


def cost(run: Run) -> Table:
    """Seconds and memory of each arm's complete trials."""
    done = run.rows[run.rows["status"] == COMPLETE]
    rows = []
    for arm in [arm for arm in run.arms if arm in set(done["arm"])]:
        part = done[done["arm"] == arm]
        seconds = (_mean_of(part[f"{kind}_seconds"]) for kind in ("train", "proxy", "wall"))
        images = f"{part['proxy_images'].astype(float).mean():.0f}"
        rows.append((arm, str(len(part)), *seconds, f"{part['peak_memory_mb'].max():.0f}", images))
    total = duration(float(done["wall_seconds"].sum()))
    rows += (
        [("all", str(len(done)), "", "", f"{total} in all", f"{done['peak_memory_mb'].max():.0f}", "")] if rows else []
    )
    return Table(("arm", "trials", "training, s", "proxies, s", "wall, s", "peak MB", "proxies made"), tuple(rows))


def _mean_of(values: pd.Series) -> str:
    series = values.astype(float)
    return spread(float(series.mean()), float(series.std()))
