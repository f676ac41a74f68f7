"""Runs a prepared run under Ray, with a progress line; plans nothing."""

from typing import Any

from rich.console import Console

from proxy_attention.errors import ConfigError, ProxyAttentionError
from study.console import shown
from study.execution.ending import Ending
from study.execution.ray_address import ClusterAddress
from study.execution.ray_session import cluster_machine, ray_session
from study.execution.runner import run_missing_trials
from study.execution.stop import hear_again, stop_asked
from study.planning.measure_cost import progress_of
from study.planning.prepare import Prepared
from study.planning.resources import Machine, this_machine
from study.progress import RunProgress


def machine_at(address: ClusterAddress | None, *, gpus_per_trial: float | None, verbose: bool) -> Machine:
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
    prepared: Prepared,
    machine: Machine,
    *,
    address: ClusterAddress | None,
    dashboard: bool,
    verbose: bool,
    out: Console,
) -> Ending:
    """Start or join Ray and run the missing trials; return how that ended, whatever stopped it.

    Raises: ConfigError for what must be put right before any trial can run.
    """
    try:
        with ray_session(machine, address=address, dashboard=dashboard, verbose=verbose) as session:
            hear_again()  # because Ray has just set a handler of its own
            _show_session(session, out)
            return _run(prepared, out)
    except (KeyboardInterrupt, SystemExit):  # the latter by Ray's own handler of SIGTERM, while it starts
        return Ending(interrupted=True)
    except ProxyAttentionError:
        raise
    except Exception as error:
        return Ending.of(error)
    finally:
        hear_again()


def _run(prepared: Prepared, out: Console) -> Ending:
    expected = progress_of(prepared)
    progress = RunProgress(
        out,
        trials=prepared.trial_count,
        epochs=expected.epochs,
        trials_done=prepared.run.count_complete(),
        seconds_per_epoch=expected.seconds_per_epoch,
        beside=expected.extra_epochs,
    )
    try:
        with progress:
            interrupted = run_missing_trials(prepared, progress)
    except Exception as error:
        return Ending.of(error)
    return Ending(interrupted or stop_asked())


def _show_session(session: dict[str, Any], out: Console) -> None:
    if session["dashboard"]:
        out.print(shown(f"dashboard    http://{session['dashboard']}   (it asks for the token in {session['token']})"))
    if session["joined"]:
        out.print(shown(f"cluster      {session['joined']}"))
    if session["beside"]:
        out.print(shown(f"ray          its own; --address auto joins the one at {session['beside']}"))
