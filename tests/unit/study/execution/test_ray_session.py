import time

import pytest

from proxy_attention.errors import ConfigError
from study.execution.ray_session import ENVIRONMENT, ray_session
from study.planning.resources import Machine

LAPTOP = Machine(cpus=2, gpus=0, total_cpus=2, total_gpus=0)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "[::1]:1"])
def test_a_dead_address_is_refused_in_seconds(monkeypatch, address):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # as the session would, and undone
    started = time.monotonic()

    with (
        pytest.raises(ConfigError, match="--address must be of a running Ray cluster; got "),
        ray_session(LAPTOP, address=address, dashboard=False, verbose=False),
    ):
        pass

    assert time.monotonic() - started < 20
