"""Command line: run a study, or finish one that was interrupted.

python study/run.py --search grid
python study/run.py --restore experiments/quick/grid
"""

import os
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from proxy_attention.errors import ConfigError, ProxyAttentionError
from study.analysis.findings import Findings
from study.console import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    Parser,
    add_max_pixels,
    console,
    fail,
    share,
    shown,
    whole,
)
from study.execution.run_lock import sole_driver, storage_trouble
from study.execution.session import machine_at, run_in_session, sigterm_as_ctrl_c
from study.execution.status import status, status_lines
from study.plan import SEARCHES
from study.planning.measure_cost import with_cost
from study.planning.plan_text import cost_lines, plan_lines, result_lines, shown_path
from study.planning.prepare import Prepared, write_plan
from study.planning.request import CACHE_GB, SPARED, SUGGESTIONS, Request, requests
from study.planning.resources import Machine
from study.provenance import ROOT
from study.reporting.report import finish
from study.reporting.terminal_report import show
from study.run_folder import COMPLETE, find_runs


def parser() -> Parser:
    """Build the parser of the options; one that is not given is None, to tell it from one that is given its default."""
    options = Parser(
        prog="run.py",
        description="Run a study of Proxy Attention: every trial once, its results in a folder that pandas reads.",
        epilog="exit code: 0 done, 1 a trial failed or is missing, 2 bad input, 130 interrupted",
        allow_abbrev=False,
    )
    add = options.add_argument
    add("--search", metavar="|".join(SEARCHES), help="how settings are found")
    add("--restore", metavar="PATH", help="finish a run (or the runs of a study folder), redoing nothing complete")
    add("--status", metavar="PATH", help="how far a run is, from another terminal; touches nothing")
    add("--experiment", metavar="NAME|PATH", help="a folder of experiments/, or a study.toml (default: quick)")
    add("--name", metavar="NAME", help="name of the run (default: the experiment's)")
    add(
        "--trials",
        metavar="N",
        type=whole("--trials", low=1),
        help=f"optuna, random: settings (default: {SUGGESTIONS})",
    )
    add("--confirm", metavar="K", type=whole("--confirm", low=0), help="optuna, random: best on the other seeds (1)")
    add("--seeds", metavar="0,1,2", help="instead of the study's seeds")
    add(
        "--set", metavar="KEY=VALUE", action="append", help="a field, as TOML or bare text; a list makes it a dimension"
    )
    add("--data-root", metavar="DIR", help="a folder of images, DIR/<class>/* or DIR/train|test/<class>/*")
    add("--storage", metavar="DIR", help="where runs go (default: experiments/)")
    add("--cpus-per-trial", metavar="N", type=whole("--cpus-per-trial", low=1), help="default: all cores are used")
    add(
        "--gpus-per-trial",
        metavar="F",
        type=share("--gpus-per-trial"),
        help="default: 1 where there is a GPU; 0 insists",
    )
    add(
        "--concurrency",
        metavar="N",
        type=whole("--concurrency", low=1),
        help="trials at once (default: as many as fit)",
    )
    add("--without", metavar=",".join(SPARED), help="leave out what makes a study faster; no number changes")
    add(
        "--cache-gb",
        metavar="N",
        type=whole("--cache-gb", low=1),
        help=f"disk for decoded images, and for shared states, each (default: {CACHE_GB})",
    )
    add_max_pixels(add, "counts as unreadable", default=None)
    add("--address", metavar="ADDRESS", help="join a Ray cluster (auto, or its address) instead of starting Ray")
    add("--no-dashboard", action="store_true", help="start Ray without its dashboard")
    add("--dry-run", action="store_true", help="print the plan and its cost, start nothing")
    add("--verbose", action="store_true", help="show what Ray has to say")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    out = console()
    with sigterm_as_ctrl_c():
        try:
            args = parser().read(argv)
            if args.status is not None:
                return _show_status(Path(args.status), out)
            address = args.address or os.environ.get("RAY_ADDRESS") or None
            machine = machine_at(address, gpus_per_trial=args.gpus_per_trial, verbose=args.verbose)
            code = DONE
            for request in requests(args):
                code = max(code, _Run(request, machine, args, out).execute())
                if code == INTERRUPTED:  # Ctrl-C stops all runs of a restore
                    break
            return code
        except ProxyAttentionError as error:
            fail("run.py", error)
            return BAD_INPUT
        except KeyboardInterrupt:
            out.print("interrupted before any trial began")
            return INTERRUPTED


def _show_status(path: Path, out: Console) -> int:
    for run in find_runs(path):
        for line in status_lines(status(run.path)):
            out.print(shown(line), soft_wrap=True)
    return DONE


class _Run:
    """Plans, shows, runs and reports one run of the command."""

    def __init__(self, request: Request, machine: Machine, args: Namespace, out: Console) -> None:
        self.machine, self.args, self.out = machine, args, out
        self.prepared = self._plan(request)
        self.trials_done = self.prepared.run.count_complete()
        if self.is_incomplete:
            with out.status("measuring the speed of training"):
                self.prepared = with_cost(self.prepared)

    def _plan(self, request: Request) -> Prepared:
        with self.out.status("reading the plan's images and building its models") as line:

            def tell(text: str) -> None:
                line.update(shown(text))

            def reading(what: str, done: int, total: int) -> None:
                tell(f"{what}: {done}/{total} images")

            caching = not self.args.dry_run
            return Prepared.of(request, self.machine, progress=reading, tell=tell, caching=caching)

    @property
    def is_incomplete(self) -> bool:
        """Whether trials were missing when the run was planned."""
        return self.trials_done < self.prepared.trial_count

    def execute(self) -> int:
        """Show the plan, run what is missing, show the results; return the exit code."""
        for line in plan_lines(self.prepared, self.trials_done):
            self.out.print(line, soft_wrap=True)
        if self.args.dry_run:
            self._print_plainly([*cost_lines(self.prepared.cost), "dry run: nothing was started"])
            return DONE
        run = self.prepared.run.path
        with sole_driver(run):
            write_plan(self.prepared)
            interrupted = self._run_missing()
            trouble = storage_trouble(run) if interrupted else ""
            try:
                findings = finish(run)
            except OSError as error:
                findings, trouble = Findings.of(run), error.strerror or str(error)
        show(findings)
        self._print_plainly(["", *result_lines(self.prepared.run, self.prepared.plan.search)])
        complete = int((findings.results["status"] == COMPLETE).sum())
        if complete == len(findings.results) and not trouble:
            return DONE
        self._print_way_on(complete, len(findings.results))
        if trouble:
            law = f"--storage must have room and be writable; got {shown_path(run)!r}: {trouble}"
            fail("run.py", ConfigError(law))
            return SOME_FAILED
        return INTERRUPTED if interrupted else SOME_FAILED

    def _run_missing(self) -> bool:
        """Run the missing trials under Ray; return whether that was interrupted."""
        if not self.is_incomplete:
            return False
        return run_in_session(
            self.prepared,
            self.machine,
            address=self.args.address,
            dashboard=not self.args.no_dashboard,
            verbose=self.args.verbose,
            out=self.out,
        )

    def _print_way_on(self, complete: int, planned: int) -> None:
        """Print how many trials are complete, and the command that runs the others."""
        script, run = shown_path(ROOT / "study" / "run.py"), shown_path(self.prepared.run.path)
        restore = shlex.join(["python", script, "--restore", run])
        self.out.print(f"\n{complete} of {planned} trials are complete. To go on:")
        self.out.print(shown(f"  {restore}"), soft_wrap=True)

    def _print_plainly(self, lines: list[str]) -> None:
        """Print lines as they are: no markup, no wrapping."""
        for line in lines:
            self.out.print(shown(line), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
