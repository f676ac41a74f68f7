import signal
from contextlib import contextmanager

import pytest

from proxy_attention.errors import ConfigError
from study.execution import session
from study.execution.session import machine_at, sigterm_as_ctrl_c
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

    assert machine_at("auto", gpus_per_trial=gpus, verbose=False) == machine


def test_a_cluster_without_a_gpu_is_refused_on_a_host_with_one(cluster):
    cluster(WITHOUT_GPU)

    with pytest.raises(ConfigError, match="--gpus-per-trial must be > 0 on a host with a GPU; the cluster offers none"):
        machine_at("auto", gpus_per_trial=None, verbose=False)


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def ctrl_c(request):
    """Handle SIGINT as a program in the foreground does, or ignore it as one that a shell starts in the background."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_sigterm_interrupts_as_ctrl_c_does_and_its_handler_is_given_back():
    before = signal.getsignal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
        signal.raise_signal(signal.SIGTERM)

    assert signal.getsignal(signal.SIGTERM) == before
