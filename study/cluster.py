"""Ray, started or joined safely: on the loopback address, with a token, quiet; and what a trial gets of the machine."""

import dataclasses
import logging
import os
import secrets
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy_attention.errors import ConfigError

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer printer boxes its configuration even when it is told to be quiet
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # a trial's error is in its folder, and named at the end
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # every trial writes its own files
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "PYTHONWARNINGS": "ignore",
}
TOKEN = Path("~/.ray/auth_token")


@dataclass(frozen=True)
class Machine:
    """What there is to give: of this machine, or of a cluster.

    Attributes:
        cpus, gpus: of the largest node, which one trial cannot exceed.
        total_cpus, total_gpus: of all nodes together.
    """

    cpus: int
    gpus: int
    total_cpus: int
    total_gpus: int


@dataclass(frozen=True)
class Resources:
    """What a trial gets, and how many run at once."""

    cpus: int
    gpus: float
    concurrency: int
    device: str


def this_machine() -> Machine:
    """The CPUs that this process may use, and its GPUs."""
    import torch

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = torch.cuda.device_count()
    return Machine(cpus=cpus, gpus=gpus, total_cpus=cpus, total_gpus=gpus)


def decide(
    machine: Machine,
    *,
    trials: int,
    threads: int | None,
    cpus_per_trial: int | None,
    gpus_per_trial: float | None,
    concurrency: int | None,
) -> Resources:
    """Share the machine among the trials: a lone trial uses all cores, and a GPU is used where there is one.

    Args:
        trials: how many there are to run.
        threads: the most that any config names; None if all leave it ``auto``.
        cpus_per_trial, gpus_per_trial, concurrency: what the user asked for; None is for us to decide.
    Raises: ConfigError if more is asked for than there is.
    """
    gpus = float(gpus_per_trial if gpus_per_trial is not None else min(machine.gpus, 1))
    if cpus_per_trial is not None and cpus_per_trial > machine.cpus:
        raise ConfigError(f"--cpus-per-trial must be at most {machine.cpus}, the CPUs there are; got {cpus_per_trial}")
    if gpus > machine.gpus:
        raise ConfigError(f"--gpus-per-trial must be at most {machine.gpus}, the GPUs there are; got {gpus:g}")
    wanted = cpus_per_trial or (min(threads, machine.cpus) if threads else None)
    at_once = min(max(trials, 1), machine.total_cpus // (wanted or 1))
    if gpus > 0:
        at_once = min(at_once, int(machine.total_gpus / gpus + 1e-9))
    at_once = max(min(at_once, concurrency or at_once), 1)
    cpus = wanted or max(min(machine.total_cpus // at_once, machine.cpus), 1)
    return Resources(cpus=cpus, gpus=gpus, concurrency=at_once, device="cuda" if gpus > 0 else "cpu")


CONTEXT_MB = 600
"""What a process takes of a GPU beside its tensors: the CUDA context and its kernels."""


def packed(resources: Resources, *, peak_mb: float, memory_mb: float, cpus: int) -> Resources:
    """Several trials on one GPU, as many as fit: nine tenths of its memory, and no more than there are CPUs for.

    Args:
        peak_mb: of a trial's tensors, measured; 0 if unknown, and then nothing is packed.
        memory_mb: of the GPU.
        cpus: of the machine.
    """
    if not peak_mb or resources.gpus != 1:
        return resources
    fit = min(int(0.9 * memory_mb / (peak_mb + CONTEXT_MB)), cpus // resources.cpus)
    if fit < 2:
        return resources
    return dataclasses.replace(resources, gpus=1 / fit, concurrency=resources.concurrency * fit)


@contextmanager
def ray_session(machine: Machine, *, address: str | None, dashboard: bool, verbose: bool) -> Iterator[dict[str, Any]]:
    """Start Ray on this machine, or join the cluster at the address; leave nothing running.

    Yields: ``dashboard``: its address or None; ``joined``: the cluster's address or None.
    Raises: ConfigError if the cluster cannot be joined.
    """
    joined = address or os.environ.get("RAY_ADDRESS") or None
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not joined:  # a cluster that is joined has its own rule
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # the dashboard and the job server ask for ~/.ray/auth_token
    import ray  # after its environment is set: it is read at import

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
        packages = [str(Path(__file__).resolve().parent.parent / name) for name in ("proxy_attention", "study")]
        worker = {
            name: value for name, value in ENVIRONMENT.items() if name.startswith(("RAY_CHDIR", "TUNE", "PYTHON"))
        }
        _probe(joined)
        try:
            context = ray.init(address=joined, runtime_env={"py_modules": packages, "env_vars": worker}, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--address must be of a running Ray cluster; got {joined!r}: {reason}") from error
    else:
        _ensure_token()
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
    """Fail in seconds where nobody listens; Ray itself would try for minutes.

    Raises: ConfigError.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # auto, or a name that Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--address must be of a running Ray cluster; got {address!r}: {error}") from error


def _ensure_token() -> None:
    """A token that only this user can read, where none is set: Ray would make one that everyone can."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    token = TOKEN.expanduser()
    token.parent.mkdir(parents=True, exist_ok=True)
    if not token.exists():
        with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    token.chmod(0o600)


def cluster_machine() -> Machine:
    """The machine that was joined, for the plan."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    return Machine(cpus=max(cpus), gpus=max(gpus), total_cpus=sum(cpus), total_gpus=sum(gpus))
