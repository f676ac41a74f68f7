"""Say what a run shows in sentences, each with a mean difference, its interval and n; draws nothing, knows no HTML.

Negative results are told with the same care.
"""

import math
from collections.abc import Sequence

import pandas as pd

from study.analysis.claims import PRIMARY, SECONDARY, Claim
from study.analysis.findings import Findings
from study.plan import Plan
from study.reporting.claim_tables import p_text
from study.reporting.text_tables import minus, minus_signs, points

NO_BREAK = "\N{NO-BREAK SPACE}"


def headline(findings: Findings) -> str:
    """Say the verdict on the primary claim in a sentence, with its interval and n."""
    claim = next((claim for claim in findings.claims if claim.role == PRIMARY), None)
    if claim is None:
        if findings.plan.search != "grid" and len(findings.plan.seeds) < 2:
            return "No verdict: the one seed of this run chose the settings, and cannot judge them. Give it more seeds."
        return "No verdict: no proxy trial and its baseline are both complete."
    leads = {
        "higher": "Proxies helped.",
        "lower": "Proxies did harm.",
        "no difference shown": "No difference was shown.",
    }
    lead = leads.get(claim.verdict, f"{_seeds(claim)} {'is' if len(claim.seeds) == 1 else 'are'} too few to tell.")
    return f"{lead} Test accuracy with proxies minus that of the baseline: {_measured(claim)}."


def sentences(claims: Sequence[Claim]) -> list[str]:
    """Say the rest: the setting chosen on val, attention against its controls, proxies on top of rivals."""
    found = []
    for claim in claims:
        if claim.role == SECONDARY:
            setting = ", ".join(f"{name} {value}" for name, value in claim.setting)
            found.append(f"The setting that was best on val ({setting}), read on test: {_measured(claim)}.")
        elif claim.control:
            found.append(
                f"Is it the attention? The same proxies with the map minus with {claim.control}: {_measured(claim)}; "
                f"{claim.verdict}."
            )
        elif claim.question:
            found.append(f"{claim.question} {minus(claim.text)}: {_measured(claim)}; {claim.verdict}.")
    return found


def extensions(plan: Plan) -> list[str]:
    """Say when the study was extended and after how many seeds, because a look at results before that matters."""
    found = []
    for step in plan.extensions:
        seeds = f"{step.seeds_before} seed{'s' * (step.seeds_before != 1)}"
        look = (
            f"{step.complete_before} of its {step.trials_before} trials were complete and could be looked at: the "
            "intervals and p values here take no account of that look"
            if step.complete_before
            else "no trial was complete, so that nothing could be looked at"
        )
        added = ", ".join(step.added)
        found.append(f"This study was extended on {step.created[:10]}, after {seeds}, by {added}, when {look}.")
    return found


def skipped_steps(epochs: pd.DataFrame) -> str:
    """Say how many proxy steps were skipped because accuracy had not stalled; empty if none was.

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
    """Write the mean difference, its interval, n and p, each unbroken by the end of a line."""
    test = claim.test
    parts = [f"n = {len(claim.seeds)} seed{'s' * (len(claim.seeds) != 1)}", _p_words(claim)]
    parts.insert(
        0, f"95 % interval {points(test.low)} to {points(test.high)}" if math.isfinite(test.low) else "no interval"
    )
    words = ", ".join(part.replace(" ", NO_BREAK) for part in parts)
    return minus_signs(f"{points(test.mean)}{NO_BREAK}points ({words})")


def _p_words(claim: Claim) -> str:
    if not math.isnan(claim.adjusted):
        return f"p {p_text(claim.adjusted)} after Holm"
    return "no p" if math.isnan(claim.test.p) else f"p {p_text(claim.test.p)}"


def _seeds(claim: Claim) -> str:
    return f"{len(claim.seeds)} seed{'s' * (len(claim.seeds) != 1)}"
