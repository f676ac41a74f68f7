"""Starts or joins Ray: on the loopback address, with a token, quiet; reads what machines a cluster has."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import proxy_attention
from proxy_attention.errors import ConfigError
from study.execution.ray_token import ensure_token
from study.planning.resources import Machine

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints its configuration even at verbose=0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # a trial's error is in its folder, and named at the end
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # every trial writes its own files
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "PYTHONWARNINGS": "ignore",
}


STUDY = Path(__file__).resolve().parent.parent
"""The folder of this package. Ray puts the directory in which it is started first on its workers' path: it is started
here, so that a ``timm.py`` in the folder where the user stands is not what they import."""


@contextmanager
def ray_session(machine: Machine, *, address: str | None, dashboard: bool, verbose: bool) -> Iterator[dict[str, Any]]:
    """Start Ray on this machine, or join the cluster at the address, during a ``with`` block.

    Yields: ``dashboard``: its address or None; ``joined``: the cluster's address or None.
    Raises: ConfigError if the cluster cannot be joined, or the file of the token must not be used.
    """
    joined = address or os.environ.get("RAY_ADDRESS") or None
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not joined:  # a joined cluster has set how it authenticates
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # the dashboard and the job server ask for ~/.ray/auth_token
    import ray  # imported here, because ray reads the environment at import

    if not verbose:
        logging.getLogger("ray").setLevel(logging.ERROR)
        for name in ("ray.tune", "ray.train", "ray.air", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module=r"ray\..*")
    options: dict[str, Any] = {
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.ERROR,
        "configure_logging": verbose,
    }
    if joined:
        packages = [str(Path(proxy_attention.__file__).parent), str(STUDY)]
        worker = {
            name: value for name, value in ENVIRONMENT.items() if name.startswith(("RAY_CHDIR", "TUNE", "PYTHON"))
        }
        _probe(joined)
        try:
            with chdir(STUDY):
                context = ray.init(address=joined, runtime_env={"py_modules": packages, "env_vars": worker}, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--address must be of a running Ray cluster; got {joined!r}: {reason}") from error
    else:
        ensure_token()
        with chdir(STUDY):
            context = ray.init(
                num_cpus=machine.cpus,
                num_gpus=machine.gpus,
                include_dashboard=dashboard,
                dashboard_host="127.0.0.1",
                **options,
            )
    try:
        yield {"dashboard": context.dashboard_url or None, "joined": joined}
    finally:
        ray.shutdown()


def _probe(address: str) -> None:
    """Check that something listens at the address; Ray itself would try for minutes.

    Raises: ConfigError if nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # auto, or a name that Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--address must be of a running Ray cluster; got {address!r}: {error}") from error


def cluster_machine() -> Machine:
    """Return the joined cluster as one machine, for the plan."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    return Machine(cpus=max(cpus), gpus=max(gpus), total_cpus=sum(cpus), total_gpus=sum(gpus))
