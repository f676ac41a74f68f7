import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from proxy_attention.errors import ConfigError
from study.execution.run_lock import driver_of, sole_driver
from study.run_folder import RunFolder

HOLD = """
import sys
from pathlib import Path
from study.execution.run_lock import sole_driver
with sole_driver(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_driver(tmp_path):
    """Another process that holds the lock of the run at ``tmp_path / "run"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        cwd=Path(__file__).parents[4],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=10)


def test_a_run_has_one_driver(other_driver, tmp_path):
    with (
        pytest.raises(ConfigError) as refused,
        sole_driver(tmp_path / "run"),
    ):
        pass

    who = f"pid {other_driver.pid} on {platform.node()}"
    assert str(refused.value) == f"another process ({who}) is running {tmp_path / 'run'}"
    assert driver_of(tmp_path / "run") == f"{other_driver.pid} on {platform.node()}"  # a refusal erases nothing


def test_the_lock_goes_with_the_process_however_that_ends(other_driver, tmp_path):
    other_driver.kill()
    other_driver.wait(timeout=10)

    with sole_driver(tmp_path / "run"):
        pass


def test_a_run_can_be_driven_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), sole_driver(tmp_path / "run"):
        _ = 1 / 0

    with sole_driver(tmp_path / "run"):
        pass


def test_storage_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "storage").write_text("")

    with (
        pytest.raises(ConfigError, match="--storage must be a folder that can be written; got "),
        sole_driver(tmp_path / "storage" / "quick" / "grid"),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs procfs")
def test_storage_that_cannot_be_written_is_refused():
    with (
        pytest.raises(ConfigError, match="--storage must be a folder that can be written; got '/proc/nowhere/run'"),
        sole_driver(Path("/proc/nowhere/run")),
    ):
        pass


def test_the_driver_is_named_while_it_lives_and_not_after(tmp_path):
    with sole_driver(tmp_path):
        assert driver_of(tmp_path).split()[0].isdigit()

    assert driver_of(tmp_path) == ""


def test_a_driver_that_was_killed_is_not_taken_for_a_live_one(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from study.execution.run_lock import sole_driver
with sole_driver(Path({str(tmp_path)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)

    assert (tmp_path / ".lock").read_bytes()
    assert driver_of(tmp_path) == ""


def test_a_driver_of_another_host_is_told_as_it_is_written(tmp_path):
    RunFolder(tmp_path).lock_file.write_text('{"pid": 4711, "host": "host-a"}')

    assert driver_of(tmp_path) == "4711 on host-a"


def test_a_lock_file_that_says_nothing_names_no_driver(tmp_path):
    pids = ("x", "1", None, True, 1.5, -1, 0, 10**30, [], {})
    damaged = ["", "{", "[]", "7", "[" * 100_000, *(json.dumps({"pid": pid, "host": "y"}) for pid in pids)]
    damaged += ['{"pid": 1, "host": 7}', '{"pid": 1}', '{"pid": 1e999, "host": "y"}', '{"pid": NaN}', "\udcff"]
    for text in damaged:
        RunFolder(tmp_path).lock_file.write_text(text, errors="surrogateescape")

        assert driver_of(tmp_path) == "", text


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_and_not_taken_for_another_process(monkeypatch, tmp_path, code):
    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with pytest.raises(ConfigError, match="--storage must be on a file system with locks"), sole_driver(tmp_path):
        pass
