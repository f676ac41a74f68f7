"""Starts or joins Ray: on the loopback address, with a token, quiet; reads what machines a cluster has."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any

import proxy_attention
from study.execution.ray_address import OWN, ClusterAddress, running_cluster
from study.execution.ray_folder import ray_folder
from study.execution.ray_token import ensured_token
from study.planning.resources import Machine

ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints its configuration even at verbose=0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # a trial's error is in its folder, and named at the end
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # its own would stay, and swallow the next Ctrl-C; stop.py passes them on
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # every trial writes its own files
    "TUNE_GLOBAL_CHECKPOINT_S": "5",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "PYTHONWARNINGS": "ignore",
}

OF_OUR_OWN = {
    "RAY_AUTH_MODE": "token",  # everything that acts asks for ~/.ray/auth_token
    # documented for macOS and Windows, where it is the default: every port is opened on the loopback address alone
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}
"""The environment of a Ray that we start; a cluster that is joined has set its own."""

STUDY = Path(__file__).resolve().parent.parent
"""The folder of this package. Ray puts the directory in which it is started first on its workers' path: it is started
here, so that a ``timm.py`` in the folder where the user stands is not what they import."""


@contextmanager
def ray_session(
    machine: Machine, *, address: ClusterAddress | None, dashboard: bool, verbose: bool
) -> Iterator[dict[str, Any]]:
    """Start Ray on this machine, beside any other, or join the cluster at the address, during a ``with`` block.

    Yields: ``dashboard``: its address or None; ``joined``: the cluster's address or None; ``beside``: the address of
        another Ray on this machine that could have been joined, or an empty text; ``token``: where its token is.
    Raises: ConfigError if the cluster cannot be joined, the file of the token must not be used, or there is no folder
        for Ray's sockets.
    """
    for name, value in (ENVIRONMENT if address else ENVIRONMENT | OF_OUR_OWN).items():
        os.environ.setdefault(name, value)
    beside = "" if address else running_cluster()
    token = ""
    with ExitStack() as stack:
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
        if address:
            context = _join(address, options)
        else:
            folder = stack.enter_context(ray_folder())
            token = stack.enter_context(ensured_token(folder.parent))
            with chdir(STUDY):
                context = ray.init(
                    address=OWN,  # else Ray would join the one whose address lies in its temporary folder
                    num_cpus=machine.cpus,
                    num_gpus=machine.gpus,
                    include_dashboard=dashboard,
                    dashboard_host="127.0.0.1",
                    _temp_dir=str(folder),
                    **options,
                )
        stack.callback(ray.shutdown)
        yield {
            "dashboard": context.dashboard_url or None,
            "joined": address.text if address else None,
            "beside": beside,
            "token": token,
        }


def _join(address: ClusterAddress, options: dict[str, Any]) -> Any:
    """Join a cluster, and ship both packages to its workers.

    Raises: ConfigError if it cannot be joined.
    """
    import ray

    packages = [str(Path(proxy_attention.__file__).parent), str(STUDY)]
    worker = {name: value for name, value in ENVIRONMENT.items() if name.startswith(("RAY_CHDIR", "TUNE", "PYTHON"))}
    address.probe()
    try:
        with chdir(STUDY):
            return ray.init(address=address.text, runtime_env={"py_modules": packages, "env_vars": worker}, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        asks = "" if os.environ.get("RAY_AUTH_MODE") else " (one that asks for a token needs RAY_AUTH_MODE=token)"
        raise address.refuse(f"{error}{asks}") from error


def cluster_machine() -> Machine:
    """Return the joined cluster as one machine, for the plan."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    return Machine(cpus=max(cpus), gpus=max(gpus), total_cpus=sum(cpus), total_gpus=sum(gpus))
