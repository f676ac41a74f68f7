import os
import time

import pytest

from proxy_attention.errors import ConfigError
from study.execution.ray_address import ClusterAddress
from study.execution.ray_session import ENVIRONMENT, OF_OUR_OWN, ray_session
from study.planning.resources import Machine

LAPTOP = Machine(cpus=2, gpus=0, total_cpus=2, total_gpus=0)


def test_a_dead_address_is_refused_in_seconds_and_nothing_of_our_own_ray_is_set(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)  # as the session would, and undone
    for name in OF_OUR_OWN:
        monkeypatch.delenv(name, raising=False)
    started = time.monotonic()

    with (
        pytest.raises(ConfigError, match=r"^RAY_ADDRESS must be of a running Ray cluster; got '127\.0\.0\.1:1': "),
        ray_session(LAPTOP, address=ClusterAddress("127.0.0.1:1", "RAY_ADDRESS"), dashboard=False, verbose=False),
    ):
        pass

    assert time.monotonic() - started < 20
    assert not {*OF_OUR_OWN} & {*os.environ}
