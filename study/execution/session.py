"""Runs a prepared run under Ray, with a progress line; plans nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from proxy_attention.errors import ConfigError
from study.execution.ray_session import cluster_machine, ray_session
from study.execution.runner import run_missing_trials
from study.planning.measure_cost import progress_of
from study.planning.prepare import Prepared
from study.planning.resources import Machine, this_machine
from study.progress import RunProgress


def machine_at(address: str | None, *, gpus_per_trial: float | None, verbose: bool) -> Machine:
    """Return the machine that trials share: this one, or the cluster at the address as one machine.

    Args:
        gpus_per_trial: what the user asked for; None if nothing.
    Raises: ConfigError if this machine has a GPU and the cluster has none, unless the user asked for 0 GPUs.
    """
    here = this_machine()
    if not address:
        return here
    with ray_session(here, address=address, dashboard=False, verbose=verbose):
        machine = cluster_machine()
    if here.gpus and not machine.gpus and gpus_per_trial is None:
        raise ConfigError(
            "--gpus-per-trial must be > 0 on a host with a GPU; the cluster offers none (0 insists on the CPU)"
        )
    return machine


def run_in_session(
    prepared: Prepared, machine: Machine, *, address: str | None, dashboard: bool, verbose: bool, out: Console
) -> bool:
    """Start or join Ray and run the missing trials; return whether the run was interrupted."""
    expected = progress_of(prepared)
    try:
        with (
            ray_session(machine, address=address, dashboard=dashboard, verbose=verbose) as session,
            sigterm_as_ctrl_c(),  # again, because Ray has just set a handler of its own
            RunProgress(
                out,
                trials=prepared.trial_count,
                epochs=expected.epochs,
                trials_done=prepared.run.count_complete(),
                seconds_per_epoch=expected.seconds_per_epoch,
                beside=expected.extra_epochs,
            ) as progress,
        ):
            if session["dashboard"]:
                out.print(f"dashboard    http://{session['dashboard']}   (it asks for the token in ~/.ray/auth_token)")
            if session["joined"]:
                out.print(f"cluster      {session['joined']}")
            return run_missing_trials(prepared, progress)
    except KeyboardInterrupt:
        return True


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C during a ``with`` block; by itself it would lose what Ray has not yet written."""

    def interrupt(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell starts a program in the background so
            signal.signal(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
