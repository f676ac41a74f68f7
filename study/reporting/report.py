"""Render a run as report.html: one file that needs nothing else, the same bytes for the same files.

Everything is escaped, because names of classes, arms and images, questions and errors are other people's.
"""

import logging
from collections import Counter
from pathlib import Path

import jinja2
import pandas as pd

from proxy_attention.config import DEFAULTS
from proxy_attention.files import read_regular, write_text
from study.analysis.claims import SECONDARY
from study.analysis.findings import Findings
from study.foreign_text import csv_text, printable
from study.reporting import report_figures as pictures
from study.reporting.arm_tables import accuracy_by_arm, explanations_by_arm
from study.reporting.claim_tables import claims_table, holm_count, primary_by_seed
from study.reporting.inline_image import InlineImage
from study.reporting.proxy_sheets import method_comparisons, proxy_examples
from study.reporting.run_tables import cost_by_arm, epochs_to_accuracy, facts, undone_trials
from study.reporting.summary import extensions, headline, sentences, skipped_steps
from study.results import load_results
from study.run_folder import ARMS_SVG, REPORT_HTML, RunFolder

TEMPLATE = Path(__file__).with_name("report.html.jinja")
log = logging.getLogger(__name__)
KEPT = "\t\n\N{SOFT HYPHEN}\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""The control characters that a page may show: ends of lines, and those inside of words and emoji."""

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
"""Errors that drawing may raise over files that nobody foresaw. A full disk is none: it is the run's own failure."""


def write_report(findings: Findings, *, to: Path | None = None, with_images: bool = True) -> Path:
    """Write report.html and arms.svg, each whole or not at all, and return where the former is.

    Args:
        to: another folder than that of the run.
        with_images: whether it shows images of the data set, whose licence may not allow that where others read it.
    Raises: OSError.
    """
    to = to or findings.run.path
    arms_svg = pictures.val_beside_test(findings)
    write_text(to / REPORT_HTML, _render(findings, arms_svg, with_images=with_images))
    if arms_svg is not None:  # the one picture that goes into a README
        write_text(to / ARMS_SVG, arms_svg.decode())
    return to / REPORT_HTML


def render(findings: Findings, *, with_images: bool = True) -> str:
    """Render the report as HTML."""
    return _render(findings, pictures.val_beside_test(findings), with_images=with_images)


def _render(findings: Findings, arms_svg: bytes | None, *, with_images: bool) -> str:
    environment = jinja2.Environment(
        autoescape=True, finalize=_printed, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    claims = findings.claims
    text = template.render(
        plan=findings.plan,
        counts=Counter(findings.rows["status"]),
        planned=len(findings.rows),
        leaking=[_printed(arm) for arm in findings.leaking],
        headline=headline(findings),
        sentences=[
            text
            for text in (*extensions(findings.plan), *sentences(claims), skipped_steps(findings.scope_epochs))
            if text
        ],
        pairs=primary_by_seed(claims),
        claims=claims_table(claims),
        why_no_claims=findings.why_no_claims,
        claims_picture=pictures.claims(findings),
        holm_count=holm_count(claims),
        chosen=any(claim.role == SECONDARY for claim in claims),
        other_data=any(claim.text.endswith(" data)") for claim in claims),
        facts=facts(findings),
        curves=pictures.curves(findings),
        epochs_to_accuracy=epochs_to_accuracy(findings),
        arms=accuracy_by_arm(findings.arms),
        arms_picture=arms_svg and InlineImage.of(arms_svg, "accuracy on val and on test by arm"),
        explanations=explanations_by_arm(findings),
        factors=pictures.factors(findings),
        importance=pictures.importance(findings),
        confusions=pictures.confusions(findings),
        reliability=pictures.reliability(findings),
        only_wrong=set(findings.rows["choose"].dropna()) <= {DEFAULTS["choose"]},
        proxy_examples=proxy_examples(findings) if with_images else [],
        method_comparisons=method_comparisons(findings) if with_images else [],
        with_images=with_images,
        undone=undone_trials(findings),
        cost=cost_by_arm(findings),
        study=_text_of(findings.run.study_file),
    )
    return text.encode("utf-8", "replace").decode("utf-8")  # a file name may hold bytes that are no text


def _printed(value: object) -> object:
    """Show the control characters of a text as escapes, and what is no text as ?; markup of the template stays."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return printable(value.encode("utf-8", "replace").decode("utf-8"), keep=KEPT)


def _text_of(file: Path) -> str:
    try:
        return read_regular(file).decode(errors="replace")
    except OSError:
        return ""


def write_results(folder: Path) -> pd.DataFrame:
    """Write results.csv, and return its rows.

    Raises: OSError.
    """
    results = load_results(folder)
    write_text(RunFolder(folder).results_csv, csv_text(results))
    return results


def finish(folder: Path, results: pd.DataFrame | None = None) -> Findings:
    """Write report.html at the end of every run, however it ended, and return the findings.

    Args:
        results: the rows of results.csv; None to write it first, before anything is computed that could fail.
    Raises: OSError.
    """
    run = RunFolder(folder)
    findings = Findings.of(folder, results=write_results(folder) if results is None else results)
    try:
        write_report(findings)
    except NOT_DRAWN as error:  # the run is done and its rows are written: a picture must not take that away
        run.report_html.unlink(missing_ok=True)  # an older one would be of other rows
        log.warning("report.html could not be written: %s: %s", type(error).__name__, error, exc_info=True)
    return findings
