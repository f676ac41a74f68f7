import time

import pytest

from proxy_attention.errors import ConfigError
from study.execution.ray_session import ENVIRONMENT, _ensure_token, ray_session
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


@pytest.fixture
def token(monkeypatch, tmp_path):
    """Where the token lies, in a home of its own."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def test_a_token_is_made_that_only_its_owner_can_read(token):
    _ensure_token()

    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) == 64


def test_a_token_that_is_there_is_kept_and_closed_to_others(token):
    token.parent.mkdir()
    token.write_text("mine")
    token.chmod(0o644)

    _ensure_token()

    assert token.read_text() == "mine"
    assert token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_no_token_is_made_where_the_user_has_set_one(token, monkeypatch, name):
    monkeypatch.setenv(name, "x")

    _ensure_token()

    assert not token.exists()
