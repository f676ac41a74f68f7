"""Which cluster is joined, by which name it is blamed, and whether one runs here."""

import os
import socket
import time

import pytest

from proxy_attention.errors import ConfigError
from study.execution.ray_address import ClusterAddress, asked_address, running_cluster


@pytest.mark.parametrize(
    ("option", "variable", "found"),
    [
        (None, None, None),
        (None, "", None),
        ("local", None, None),
        (None, "local", None),
        ("auto", None, ("auto", "--address")),
        ("10.0.0.1:6379", "10.0.0.2:6379", ("10.0.0.1:6379", "--address")),
        ("local", "10.0.0.2:6379", None),
        (None, "10.0.0.2:6379", ("10.0.0.2:6379", "RAY_ADDRESS")),
        ("auto", "10.0.0.2:6379", ("10.0.0.2:6379", "RAY_ADDRESS")),
    ],
)
def test_the_option_comes_before_the_variable_and_each_has_its_name(monkeypatch, option, variable, found):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)

    asked = asked_address(option)

    assert (asked and (asked.text, asked.named_by)) == found


@pytest.mark.parametrize("text", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999", "[::1]:1", f"{'x' * 70}:1"])
def test_a_dead_address_is_refused_in_seconds_by_the_name_of_what_gave_it(text):
    started = time.monotonic()

    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS must be of a running Ray cluster; got "):
        ClusterAddress(text, "RAY_ADDRESS").probe()

    assert time.monotonic() - started < 20


@pytest.fixture
def current(monkeypatch, tmp_path):
    """The file in which ``ray start`` writes its address down."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_cluster_that_is_alive_is_found_where_ray_writes_its_address(current, monkeypatch, tmp_path, variable):
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv(variable, str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        current.write_text(address + "\n")

        assert running_cluster() == address

    assert running_cluster() == ""  # a killed one leaves its address behind


STALE = ["", "127.0.0.1:1", "127.0.0.1:99999", "x" * 5000, "\x1b[31m:1", "127.0.0.1:²", "ü:1", "a..b:1", "[::1]:1"]


def test_a_file_that_says_nothing_or_cannot_be_read_is_no_cluster(current):
    for text in STALE:
        current.write_text(text)
        assert running_cluster() == "", text
    current.write_bytes(b"\xff:1")
    assert running_cluster() == ""
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)):
        current.unlink()
        make(current)
        assert running_cluster() == ""
        if current.is_dir():
            current.rmdir()
            current.touch()
