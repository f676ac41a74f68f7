"""Command line: run a study, or finish one that was interrupted.

python study/run.py --search grid
python study/run.py --restore experiments/quick/grid
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from proxy_attention.errors import ProxyAttentionError
from study.console import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    Parser,
    PlainConsole,
    add_max_pixels,
    console,
    fail,
    share,
    shown,
    whole,
)
from study.execution.ending import Ending, end_run
from study.execution.ray_address import ClusterAddress, asked_address
from study.execution.run_lock import sole_driver
from study.execution.session import machine_at, run_in_session
from study.execution.status import status, status_lines
from study.execution.stop import ask_to_stop, stop_asked, stop_on_signals
from study.plan import SEARCHES
from study.planning.measure_cost import with_cost
from study.planning.plan_text import cost_lines, plan_lines
from study.planning.prepare import Prepared, write_plan
from study.planning.request import CACHE_GB, SPARED, SUGGESTIONS, Request, requests
from study.planning.resources import Machine
from study.run_folder import find_runs
from study.streams import run_command


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
    add(
        "--extend",
        action="store_true",
        default=None,
        help="add new seeds, values, arms or trials to a run, keep its own",
    )
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
    out = console(on_reader_gone=ask_to_stop)
    with stop_on_signals():
        try:
            args = parser().read(argv)
            if args.status is not None:
                return _show_status(Path(args.status), out)
            address = asked_address(args.address)
            asked = requests(args)
            gpus = next((request.gpus_per_trial for request in asked), None)
            machine = machine_at(address, gpus_per_trial=gpus, verbose=args.verbose)
            code = DONE
            for request in asked:
                code = max(code, _Run(request, machine, address, args, out).execute())
                if stop_asked():  # this stops all runs of a restore
                    return code if request is asked[-1] else INTERRUPTED
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

    def __init__(
        self, request: Request, machine: Machine, address: ClusterAddress | None, args: Namespace, out: PlainConsole
    ) -> None:
        self.machine, self.address, self.args, self.out = machine, address, args, out
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
        with sole_driver(self.prepared.run.path):
            write_plan(self.prepared)
            try:
                ending = self._run_missing() if self.is_incomplete else Ending()
            except KeyboardInterrupt:
                ending = Ending(interrupted=True)
            return end_run(self.prepared, ending, out=self.out, options=self._restore_options())

    def _run_missing(self) -> Ending:
        """Run the missing trials under Ray; return how that ended."""
        return run_in_session(
            self.prepared,
            self.machine,
            address=self.address,
            dashboard=not self.args.no_dashboard,
            verbose=self.args.verbose,
            out=self.out,
        )

    def _restore_options(self) -> list[str]:
        """Return the options of this command that a restore needs, too; the plan keeps the others."""
        address = ["--address", self.address.text] if self.address else []
        return address + (["--no-dashboard"] if self.args.no_dashboard else [])

    def _print_plainly(self, lines: list[str]) -> None:
        """Print lines as they are: no markup, no wrapping."""
        for line in lines:
            self.out.print(shown(line), soft_wrap=True)


if __name__ == "__main__":
    run_command(main)
