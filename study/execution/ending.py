"""Ends a run: writes and shows its results, and the command that goes on, whatever has stopped it."""

import shlex
from dataclasses import dataclass

import pandas as pd

from proxy_attention.errors import ConfigError, ProxyAttentionError
from study.analysis.findings import Findings
from study.console import DONE, INTERRUPTED, SOME_FAILED, PlainConsole, fail, say, shown
from study.execution.run_lock import storage_trouble
from study.execution.stop import signals_held, stop_asked
from study.planning.plan_text import result_lines, shown_path
from study.planning.prepare import Prepared
from study.provenance import ROOT
from study.reporting.report import finish, write_results
from study.reporting.terminal_report import show
from study.results import load_results
from study.run_folder import COMPLETE, RunFolder


@dataclass(frozen=True)
class Ending:
    """How the work on a run ended.

    Attributes:
        interrupted: whether it was asked to stop.
        error: what stopped it; None if nothing did.
        trouble: that error in words, if it came from outside of the program; else empty.
    """

    interrupted: bool = False
    error: Exception | None = None
    trouble: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Ending":
        """Make the ending by an error."""
        return cls(interrupted=stop_asked(), error=error, trouble=in_words(error))


def end_run(prepared: Prepared, ending: Ending, *, out: PlainConsole, options: list[str]) -> int:
    """Write and show the results, and the command that goes on: every way out of a run passes here.

    Args:
        options: what the command that goes on needs beside the run's folder.
    Returns: the exit code.
    Raises: the error that stopped the run, if the program itself is to blame.
    """
    run, complete, storage, cut = prepared.run, False, "", False
    try:
        with signals_held():
            results, storage = _write_results(run)
        complete = bool((results["status"] == COMPLETE).all())
        if ending.interrupted or ending.error:  # a search may have trials to suggest that are no rows yet
            complete = complete and len(results) >= prepared.trial_count
            storage = storage or storage_trouble(run.path)
        storage = _show(prepared, results, out) or storage
    except (KeyboardInterrupt, BrokenPipeError) as error:
        cut = True
        out.reader_is_gone |= isinstance(error, BrokenPipeError)
    except Exception as error:
        ending = ending if ending.error else Ending.of(error)
    with signals_held():
        if not complete or storage or cut:
            _print_way_on(prepared, options, out)
        if ending.error is not None and not ending.trouble:
            raise ending.error
        if storage:
            law = f"--storage must have room and be writable; got {shown_path(run.path)!r}: {storage}"
            fail("run.py", ConfigError(law))
        elif ending.trouble:
            fail("run.py", ConfigError(ending.trouble))
    if complete and not storage:
        return INTERRUPTED if cut else DONE
    return INTERRUPTED if (ending.interrupted or cut) and not storage else SOME_FAILED


def _write_results(run: RunFolder) -> tuple[pd.DataFrame, str]:
    """Write results.csv; return the rows, and why they could not be written."""
    try:
        return write_results(run.path), ""
    except OSError as error:
        return load_results(run.path), error.strerror or str(error)


def _show(prepared: Prepared, results: pd.DataFrame, out: PlainConsole) -> str:
    """Write the report and show the results; return why the report could not be written."""
    run, trouble = prepared.run, ""
    try:
        findings = finish(run.path, results)
    except OSError as error:
        findings, trouble = Findings.of(run.path, results=results), error.strerror or str(error)
    show(findings)
    for line in ["", *result_lines(run, prepared.plan.search)]:
        out.print(shown(line), soft_wrap=True)
    return trouble


def _print_way_on(prepared: Prepared, options: list[str], out: PlainConsole) -> None:
    """Print how many trials are complete, and the command that runs the others."""
    run = prepared.run
    command = ["python", shown_path(ROOT / "study" / "run.py"), "--restore", shown_path(run.path), *options]
    lines = [
        f"{run.count_complete()} of {prepared.trial_count} trials are complete. To go on:",
        f"  {shlex.join(command)}",
    ]
    if not out.reader_is_gone:
        out.print()
    for line in lines:
        if out.reader_is_gone:
            say(line, error=True)
        else:
            out.print(shown(line), soft_wrap=True)


def in_words(error: BaseException) -> str:
    """Say in one line which error from outside of the program this is, or was caused by.

    Returns: an empty text for any other error.
    """
    from study.execution.tuner import OUTSIDE  # here, because it imports ray

    cause: BaseException | None = error
    while cause is not None:
        for kind, what in OUTSIDE:
            if isinstance(cause, kind):
                return f"{what} ({type(cause).__name__}: {' '.join(str(cause).split())[:300]})"
        cause = cause.__cause__ or cause.__context__
    return str(error) if isinstance(error, ProxyAttentionError) else ""
