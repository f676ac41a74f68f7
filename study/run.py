"""Command line: run a study, or finish one that was interrupted.

python study/run.py --search grid
python study/run.py --restore experiments/quick/grid
"""

import math
import os
import shlex
import signal
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from proxy_attention.config import LEAKING
from proxy_attention.data.images import MAX_NAMED
from proxy_attention.errors import ConfigError, ProxyAttentionError
from proxy_attention.schedule import Schedule
from study.console import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    SOME_FAILED,
    Parser,
    console,
    duration,
    fail,
    share,
    whole,
)
from study.execution.ray_session import cluster_machine, ray_session
from study.execution.run_lock import sole_driver, storage_trouble
from study.execution.runner import run_missing_trials
from study.execution.status import Status, status
from study.plan import SEARCHES
from study.planning.cost import WRONG, Price
from study.planning.plan_check import changes_since
from study.planning.prepare import Prepared, begin, complete_trials, prepare, priced
from study.planning.request import CACHE_GB, SPARED, SUGGESTIONS, Request, requests
from study.planning.resources import Machine, this_machine
from study.progress import RunProgress
from study.provenance import ROOT
from study.reporting.report import finish
from study.reporting.terminal_report import show
from study.results import load_results
from study.run_folder import COMPLETE, RunFolder, find_runs

MOST_METHODS = 6
"""Methods whose price a dry run tells one by one; of more it tells the range."""


def parser() -> Parser:
    """The options; what is left out is None, so that a default is told from a wish."""
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
        help=f"disk for decoded images, and for shared sharing, each (default: {CACHE_GB})",
    )
    add("--address", metavar="ADDRESS", help="join a Ray cluster (auto, or its address) instead of starting Ray")
    add("--no-dashboard", action="store_true", help="start Ray without its dashboard")
    add("--dry-run", action="store_true", help="print the plan and its price, start nothing")
    add("--verbose", action="store_true", help="show what Ray has to say")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    out = console()
    with _sigterm_as_ctrl_c():
        try:
            args = parser().read(argv)
            if args.status is not None:
                for run in find_runs(Path(args.status)):
                    _show_status(status(run.path), out)
                return DONE
            joined = args.address or os.environ.get("RAY_ADDRESS") or None
            machine = _machine(joined, args)
            code = DONE
            for request in requests(args):
                code = max(code, _run(request, machine, args, out))
                if code == INTERRUPTED:  # Ctrl-C means all the runs of a restore
                    break
            return code
        except ProxyAttentionError as error:
            fail("run.py", error)
            return BAD_INPUT
        except KeyboardInterrupt:
            out.print("interrupted before any trial began")
            return INTERRUPTED


def _show_status(found: Status, out: Console) -> None:
    driver = f"run by process {found.driver}" if found.driver else "nobody runs it now"
    left = f", {duration(found.seconds_left)} left" if found.driver and found.complete < found.planned else ""
    out.print(f"{found.name} · {found.search} · {found.complete} of {found.planned} trials complete{left} · {driver}")
    for trial in found.running:
        val = "" if math.isnan(trial.val_accuracy) else f", val {trial.val_accuracy:.1f} %"
        word = "running" if found.driver else "interrupted"
        out.print(f"{trial.trial_id} {word}: epoch {trial.epochs_done}/{trial.epochs}{val}", markup=False)
    for trial_id, error in found.failed:
        out.print(f"{trial_id} failed: {error}", markup=False)


def _machine(joined: str | None, args: Namespace) -> Machine:
    """What there is to share among trials: this machine, or the cluster's nodes.

    Raises: ConfigError where trials without a GPU would run beside one, and the user did not insist.
    """
    here = this_machine()
    if not joined:
        return here
    with ray_session(here, address=joined, dashboard=False, verbose=args.verbose):
        machine = cluster_machine()
    if here.gpus and not machine.gpus and args.gpus_per_trial is None:
        raise ConfigError(
            "--gpus-per-trial must be > 0 on a host with a GPU; the cluster offers none (0 insists on the CPU)"
        )
    return machine


def _run(request: Request, machine: Machine, args: Namespace, out: Console) -> int:
    """One run: plan, show, conduct, audit."""
    with out.status("reading the plan's images and building its models") as status:

        def reading(what: str, done: int, total: int) -> None:
            status.update(f"{what}: {done}/{total} images")

        prepared = prepare(request, machine, progress=reading, tell=status.update, caching=not args.dry_run)
        trials_done = complete_trials(prepared)
        if trials_done < prepared.trial_count:
            status.update("measuring the speed of training")
            prepared = priced(prepared)
    _show_plan(prepared, out, trials_done)
    if args.dry_run:
        _show_price(prepared, out)
        out.print("dry run: nothing was started")
        return DONE
    with sole_driver(request.run):
        begin(prepared)
        interrupted = False
        if trials_done < prepared.trial_count:
            interrupted = _conduct(prepared, machine, args, out)
        trouble = storage_trouble(request.run) if interrupted else ""
        try:
            results = finish(request.run)
        except OSError as error:
            results, trouble = load_results(request.run), error.strerror or str(error)
    show(request.run)
    _show_places(prepared, out)
    undone = results[results["status"] != COMPLETE]
    if not len(undone) and not trouble:
        return DONE
    restore = shlex.join(["python", _short(ROOT / "study" / "run.py"), "--restore", _short(request.run)])
    out.print(
        f"\n{len(results) - len(undone)} of {len(results)} trials are complete. To go on:\n  {restore}", soft_wrap=True
    )
    if trouble:
        fail("run.py", ConfigError(f"--storage must have room and be writable; got {_short(request.run)!r}: {trouble}"))
        return SOME_FAILED
    return INTERRUPTED if interrupted else SOME_FAILED


def _conduct(prepared: Prepared, machine: Machine, args: Namespace, out: Console) -> bool:
    """Start or join Ray and run what is missing; returns whether it was interrupted."""
    price = prepared.price
    beside: dict[str, float] = {}
    if price:
        left = RunFolder(prepared.request.run).missing_trials(prepared.plan.trials)
        passes, judging = prepared.planner.models.explanation_passes, prepared.planner.judge_passes
        beside = {
            trial.trial_id: price.epochs_worth(trial.config, passes(trial.config), judging=judging(trial.config))
            for trial in left
        }
    work = (price.work.epochs if price else 0) + sum(beside.values())
    try:
        with (
            ray_session(
                machine, address=args.address, dashboard=not args.no_dashboard, verbose=args.verbose
            ) as session,
            _sigterm_as_ctrl_c(),  # again: Ray has just put a handler of its own in its place
            RunProgress(
                out,
                trials=prepared.trial_count,
                epochs=price.work.epochs if price else 0,
                trials_done=complete_trials(prepared),
                seconds_per_epoch=price.seconds() / max(work, 1) if price else math.nan,
                beside=beside,
            ) as line,
        ):
            if session["dashboard"]:
                out.print(f"dashboard    http://{session['dashboard']}   (it asks for the token in ~/.ray/auth_token)")
            if session["joined"]:
                out.print(f"cluster      {session['joined']}")
            return run_missing_trials(prepared, line)
    except KeyboardInterrupt:
        return True


def _show_plan(prepared: Prepared, out: Console, trials_done: int) -> None:
    plan, request, resources = prepared.plan, prepared.request, prepared.resources
    first = prepared.first
    train, val = prepared.planner.data.train_and_val_images(first)
    data = prepared.planner.data.inspection(first)
    out.print(f"[bold]{plan.name}[/bold] · {plan.search} · seeds {', '.join(map(str, plan.seeds))}")
    if plan.question:
        out.print(plan.question, style="italic", markup=False)
    if plan.search == "grid":
        arms = Counter(trial.arm for trial in plan.trials)
        what = " + ".join(f"{count} {arm}" for arm, count in arms.items())
    else:
        what = f"{plan.suggestions} on seed {plan.seeds[0]}"
        if len(plan.seeds) > 1:
            what += f", then the best {plan.confirm}, the baseline and the arms on the others"
    out.print(f"trials       {prepared.trial_count}: {what}", markup=False)
    price = prepared.price
    cost = f"{price.work.epochs} to train, about {duration(price.seconds())}" if price else "0 to train"
    out.print(
        f"epochs       {prepared.epoch_count} ({first.planned.total_epochs} a trial), {cost}; "
        f"{resources.concurrency} at once on {resources.cpus} CPU{'s' * (resources.cpus != 1)}"
        + (f" and {resources.gpus:g} GPU" if resources.gpus else "")
        + " each"
    )
    tested = f"{data.own_test} test (its own)" if data.own_test else f"{first.test_fraction:.0%} test"
    out.print(
        f"data         {first.dataset}: {len(data.classes)} classes, {train} train, {val} val, {tested}", markup=False
    )
    if data.skipped:
        named = ", ".join(data.skipped[:MAX_NAMED]) + (", …" if len(data.skipped) > MAX_NAMED else "")
        out.print(f"left out     {len(data.skipped)} unreadable (all in plan.json): {named}", markup=False)
    leaking = sorted({trial.config.split for trial in plan.trials} & LEAKING)
    if leaking:
        out.print(f"LEAKING      split = {', '.join(leaking)} trains on validation images: an audit, not a result")
    notes = prepared.planner.models.notes.items()
    for text in dict.fromkeys(f"{model} at {size} px: {note}" for (model, size, *_), note in notes):
        out.print(f"model        {text}")  # once, whatever the weights are
    for schedule, patience in sorted({(trial.config.schedule, trial.config.patience) for trial in plan.trials}):
        if Schedule.parse(schedule).never_stalls(patience):
            out.print(f"never        p? of {schedule}: with patience = {patience} no epoch is left to compare with")
    for model, methods in prepared.planner.models.equal_methods:
        same = f"{', '.join(methods)} are one method under {model}'s linear head: their rows will be equal"
        out.print(f"the same     {same}", soft_wrap=True)
    for name, value in plan.measured.items():
        if name != "batch_size":
            out.print(f"measured     {name}: {value}")
    if prepared.batch is not None:
        out.print(f"batch size   {prepared.batch.size}, {prepared.batch.why}")
    folder = RunFolder(request.run)
    if folder.has_plan:
        for change in changes_since(folder.read_plan(), plan):
            out.print(f"changed      since the plan was made: {change}", markup=False, soft_wrap=True)
    if trials_done:
        out.print(f"done before  {trials_done} of {prepared.trial_count} trials")
    out.print(f"run          {_short(request.run)}", soft_wrap=True)


def _show_price(prepared: Prepared, out: Console) -> None:
    """What the run will take, beyond what its plan says."""
    price = prepared.price
    if price is None:
        return
    work, speed = price.work, price.speed
    shared = f"{work.nominal - work.epochs} of {work.nominal} epochs are shared; " if work.nominal > work.epochs else ""
    steps = f"{'up to ' if work.may_skip else ''}{work.steps} proxy steps"
    out.print(f"sharing      {shared}{steps} need {work.scorings} passes over the training images")
    out.print(
        f"speed        {1 / speed.train_seconds:.0f} images/s trained, {1 / speed.look_seconds:.0f} images/s scored "
        f"and explained, {price.seconds_per_epoch:.1f} s an epoch, measured now"
    )
    if work.explanations:
        out.print(_explaining(price), soft_wrap=True)
    out.print(
        f"disk         about {price.disk_mb:.0f} MB of weights and shared states, {prepared.images_mb:.0f} MB of images"
    )
    more = ", ".join(f"{duration(price.seconds(machines))} on {machines}" for machines in (2, 4, 8))
    out.print(f"wall time    {duration(price.seconds())} on this machine; {more} like it")


def _explaining(price: Price) -> str:
    """What methods cost whose maps come with no pass that scores."""
    costs = dict.fromkeys((each.saliency, each.passes) for each in price.work.explanations)
    methods = ", ".join(f"{name} takes {passes} pass{'es' * (passes != 1)} an image" for name, passes in costs)
    if len(costs) > MOST_METHODS:
        fewest, most = min(passes for _, passes in costs), max(passes for _, passes in costs)
        methods = f"{len(costs)} methods take {fewest} to {most} passes an image"
    return f"explaining   {methods}: about {duration(price.explaining_seconds)} in all, at {WRONG:.0%} wrong"


def _show_places(prepared: Prepared, out: Console) -> None:
    run = RunFolder(prepared.request.run)
    out.print()
    if run.report_html.is_file():
        out.print(f"report       {_short(run.report_html)}", soft_wrap=True)
    out.print(f"rows         {_short(run.results_csv)}", soft_wrap=True)
    path = shlex.quote(_short(run.path))
    out.print(f"tables       python {_short(ROOT / 'study' / 'analyse.py')} {path}", soft_wrap=True)
    out.print(f"curves       tensorboard --logdir {shlex.quote(_short(run.trials))}", soft_wrap=True)
    if prepared.plan.search == "optuna":
        out.print(f"search       optuna-dashboard sqlite:///{_short(run.optuna_db)}", soft_wrap=True)


def _short(path: Path) -> str:
    """Relative to the working directory where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM would lose what Ray has not yet written; Ctrl-C does not."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
