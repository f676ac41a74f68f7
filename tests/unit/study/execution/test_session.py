from contextlib import contextmanager

import pytest

from proxy_attention.errors import ConfigError
from study.execution import session
from study.execution.ending import Ending
from study.execution.ray_address import ClusterAddress
from study.execution.session import machine_at
from study.planning.resources import Machine, this_machine

WITH_GPU, WITHOUT_GPU = (Machine(cpus=4, gpus=gpus, total_cpus=8, total_gpus=2 * gpus) for gpus in (1, 0))


@pytest.fixture
def cluster(monkeypatch):
    """A host with a GPU, joined to a cluster."""

    @contextmanager
    def joined(machine, **options):
        yield {"dashboard": None, "joined": options["address"]}

    monkeypatch.setattr(session, "this_machine", lambda: WITH_GPU)
    monkeypatch.setattr(session, "ray_session", joined)
    return lambda machine: monkeypatch.setattr(session, "cluster_machine", lambda: machine)


def test_without_an_address_trials_share_this_machine():
    assert machine_at(None, gpus_per_trial=None, verbose=False) == this_machine()


@pytest.mark.parametrize(("machine", "gpus"), [(WITH_GPU, None), (WITHOUT_GPU, 0.0)])
def test_trials_share_the_cluster_that_is_joined(cluster, machine, gpus):
    cluster(machine)

    assert machine_at(ClusterAddress("auto"), gpus_per_trial=gpus, verbose=False) == machine


def test_a_cluster_without_a_gpu_is_refused_on_a_host_with_one(cluster):
    cluster(WITHOUT_GPU)

    with pytest.raises(ConfigError, match="--gpus-per-trial must be > 0 on a host with a GPU; the cluster offers none"):
        machine_at(ClusterAddress("auto"), gpus_per_trial=None, verbose=False)


def test_a_run_that_an_error_stops_has_an_ending_and_what_must_be_put_right_first_is_raised(monkeypatch):
    def stopped_by(error):
        @contextmanager
        def start(*args, **options):
            raise error
            yield

        monkeypatch.setattr(session, "ray_session", start)
        return session.run_in_session(None, WITH_GPU, address=None, dashboard=False, verbose=False, out=None)

    assert stopped_by(KeyboardInterrupt()) == Ending(interrupted=True)
    assert stopped_by(SystemExit(15)) == Ending(interrupted=True)
    assert stopped_by(error := KeyError("trial")) == Ending(error=error)
    assert stopped_by(error := OSError(5, "x")) == Ending(
        error=error, trouble="the machine refused (OSError: [Errno 5] x)"
    )
    with pytest.raises(ConfigError, match="the token"):
        stopped_by(ConfigError("the token"))
