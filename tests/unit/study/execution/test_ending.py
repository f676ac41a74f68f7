"""However a run ends: results.csv is written, the results are shown, and the command that goes on is printed."""

import dataclasses
import shutil

import pytest
import ray
import ray.tune
from sqlalchemy.exc import OperationalError

from proxy_attention.errors import ConfigError
from study.analysis.findings import Findings
from study.console import console
from study.execution import ending as module
from study.execution.ending import Ending, end_run, in_words
from study.execution.stop import ask_to_stop, stop_on_signals
from study.provenance import ROOT
from study.run_folder import RunFolder


@pytest.fixture(scope="module")
def planned(prepared_run, finished_run):
    """The plan of the small study, as its run in ``finished_run`` has it."""
    return prepared_run(finished_run, write=False)


@pytest.fixture
def begun(planned, finished_run, tmp_path):
    """A run that lacks one of its eight trials."""
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "small" / "grid"))
    shutil.rmtree(run.trial(planned.plan.trials[3].trial_id).path)
    run.results_csv.unlink()
    return dataclasses.replace(planned, run=run)


@pytest.fixture
def end(begun, capsys, monkeypatch):
    """End the run so, without drawing a report; return the exit code, what was printed, and the errors."""
    monkeypatch.setattr(module, "finish", lambda run, results: Findings.of(run, results=results))

    def call(ending, options=(), prepared=begun):
        code = end_run(prepared, ending, out=console(), options=list(options))
        return code, *capsys.readouterr()

    return call


def goes_on(text, prepared, *options, count="7 of 8"):
    """Whether a text holds the command that goes on, after a count of trials."""
    command = " ".join([f"python {ROOT / 'study' / 'run.py'} --restore {prepared.run.path}", *options])
    return f"{count} trials are complete. To go on:\n  {command}\n" in text


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Stand where every path is shown in full."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")


ENDINGS = {
    "a trial failed": (Ending(), 1, ""),
    "asked to stop": (Ending(interrupted=True), 130, ""),
    "Ray died": (Ending(error=OSError(), trouble="Ray has stopped"), 1, "run.py: Ray has stopped\n"),
    "asked to stop while a database is locked": (Ending(True, OSError(), "locked"), 130, "run.py: locked\n"),
}


@pytest.mark.parametrize(("how", "code", "line"), ENDINGS.values(), ids=ENDINGS.keys())
def test_every_ending_writes_the_rows_shows_the_results_and_prints_the_way_on(end, begun, how, code, line):
    found, out, err = end(how, ["--address", "a b:1"])

    assert (found, err) == (code, line)
    assert "small · grid · 7 of 8 trials complete" in out
    assert goes_on(out, begun, "--address", "'a b:1'")
    assert begun.run.results_csv.exists()


def test_a_run_that_is_complete_has_no_way_on_whatever_came_after(end, planned, finished_run, tmp_path):
    run = RunFolder(shutil.copytree(finished_run, tmp_path / "whole" / "grid"))
    whole = dataclasses.replace(planned, run=run)

    for how in (Ending(), Ending(interrupted=True), Ending(error=OSError(), trouble="Ray has stopped")):
        code, out, _ = end(how, prepared=whole)
        assert code == 0
        assert "To go on" not in out

    code, out, _ = end(Ending(interrupted=True), prepared=dataclasses.replace(whole, trial_count=20))
    assert code == 130  # a search has suggested only some of its trials
    assert goes_on(out, whole, count="8 of 20")


def test_an_error_of_the_program_is_raised_after_the_rows_and_the_way_on(end, begun, capsys):
    with pytest.raises(KeyError, match="trial"):
        end(Ending(error=KeyError("trial")))

    assert goes_on(capsys.readouterr().out, begun)
    assert begun.run.results_csv.exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), BrokenPipeError()])
def test_what_stops_the_report_takes_neither_the_rows_nor_the_way_on(end, begun, capsys, monkeypatch, error):
    def stopped(*args):
        raise error

    monkeypatch.setattr(module, "show", stopped)
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            end(Ending(interrupted=True))
        out, err = capsys.readouterr()
    else:
        code, out, err = end(Ending(interrupted=True))
        assert code == 130

    assert goes_on(err if isinstance(error, BrokenPipeError) else out, begun)  # where nobody reads, as an error
    assert begun.run.results_csv.exists()


def test_a_full_disk_is_named_and_a_signal_while_rows_are_written_is_heard_afterwards(end, begun, monkeypatch):
    def full(run):
        ask_to_stop()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_results", full)

    with stop_on_signals():
        code, out, err = end(Ending())

    assert code == 1
    assert goes_on(out, begun)
    assert err.endswith("/small/grid': No space left on device\n")


def raised(error, cause):
    try:
        raise error from cause
    except Exception as found:
        return found


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(5, "Input/output error"), "the machine refused (OSError: [Errno 5] Input/output error)"),
        (ray.exceptions.RayActorError(), "Ray has stopped (RayActorError: "),
        (OperationalError("SELECT 1", {}, Exception("database is locked")), "optuna.db could not be used (Oper"),
        (raised(RuntimeError("x"), raised(OSError(5, "y"), None)), "the machine refused (OSError: "),
        (ConfigError("plan.json must be whole"), "plan.json must be whole"),
        (KeyError("trial"), ""),
        (raised(ray.tune.TuneError("x"), KeyError("trial")), ""),
    ],
)
def test_what_stops_a_run_from_outside_is_said_in_a_line_and_an_error_of_the_program_is_not(error, words):
    assert in_words(error).startswith(words)
    assert bool(in_words(error)) == bool(words)
