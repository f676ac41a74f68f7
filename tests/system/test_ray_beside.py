"""A study's own Ray: beside one that is here already, in a private folder, on the loopback address."""

import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
from driving import TIMEOUT, end, left_over, start

from study.execution.ray_address import running_cluster
from study.results import load_results
from study.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]
ONE = ("--set", 'schedule=["2"]', "--seeds", "0")


@pytest.fixture
def place(monkeypatch):
    """Ray's temporary folder, short enough for its sockets."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        (Path(name) / "ray").mkdir()
        monkeypatch.setenv("RAY_TMPDIR", name)
        yield Path(name)


@pytest.fixture
def begin(place, home, image_folder, study_text, tmp_path):
    """Start a study of two trials; return its mark, its process and its run."""
    (tmp_path / "study.toml").write_text(study_text)

    def run(**environment):
        argv = ("--search", "grid", "--experiment", tmp_path, "--name", "small", "--data-root", image_folder, *ONE)
        mark, process = start(tmp_path, home, *argv, RAY_TMPDIR=str(place), **environment)
        return process, mark, tmp_path / "small" / "grid"

    return run


@pytest.fixture
def running(place):
    """A Ray that ``ray start`` has started; yields its address."""
    ray = Path(sys.executable).with_name("ray")
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        clients = f"--ray-client-server-port={free.getsockname()[1]}"
    quiet = ("--disable-usage-stats", "--include-dashboard=false")
    process = subprocess.Popen(
        [ray, "start", "--head", "--block", "--num-cpus=1", "--port=0", clients, *quiet],
        env={**kept, "HOME": str(place)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + TIMEOUT
    while not (address := running_cluster()):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.2)
    yield address
    process.terminate()
    process.wait(timeout=30)


def descendants(pid):
    """A process and those that it or they have started."""
    children = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(file.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
        children.setdefault(parent, []).append(int(file.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def listening(first):
    """The addresses on which a process and its descendants listen, with their command lines."""
    sockets = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                words = bytes.fromhex(fields[1].split(":")[0])
                raw = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                sockets[f"socket:[{fields[9]}]"] = ipaddress.ip_address(raw)
    found = {}
    for pid in descendants(first):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                if (target := str(handle.readlink())) in sockets:
                    found.setdefault(sockets[target], set()).add(command)
        except OSError:
            continue  # it has ended
    return found


def test_a_study_runs_beside_a_ray_that_was_started_here_on_loopback_alone_in_a_private_folder(begin, place, running):
    process, mark, run = begin()
    until = time.monotonic() + TIMEOUT
    found, folders = {}, set()
    while process.poll() is None and time.monotonic() < until:
        for address, commands in listening(process.pid).items():
            found.setdefault(address, set()).update(commands)
        folders |= {(path, path.stat().st_mode & 0o777) for path in place.glob("ray-*")}
        time.sleep(0.3)
    done = end(process, mark, run)

    assert (done.code, done.err) == (0, "")
    assert f"ray          its own; --address auto joins the one at {running}\n" in done.out
    assert list(load_results(run)["status"]) == ["complete"] * 2
    heard = " ".join(command for commands in found.values() for command in commands)
    for server in ("gcs_server", "raylet", "dashboard", "DashboardAgent", "RuntimeEnvAgent"):
        assert server in heard
    for address, commands in found.items():
        assert (getattr(address, "ipv4_mapped", None) or address).is_loopback, commands
    assert [mode for _, mode in folders] == [0o700]
    assert left_over(mark) == []
    assert not any(path.exists() for path, _ in folders)
    assert running_cluster() == running


def test_what_a_killed_ray_of_another_user_left_behind_is_passed_by(begin, place):
    current = place / "ray" / "ray_current_cluster"
    current.write_text("127.0.0.1:1")
    if os.geteuid() == 0:
        os.chown(current, 12345, 12345)
        os.chown(current.parent, 12345, 12345)
    current.chmod(0o000)
    current.parent.chmod(0o700)

    process, mark, run = begin()
    done = end(process, mark, run)

    assert (done.code, done.err) == (0, "")
    assert not re.search("^ray  ", done.out, re.MULTILINE)
    assert list(load_results(run)["status"]) == ["complete"] * 2


@pytest.mark.parametrize(
    ("number", "holds"),
    [(signal.SIGINT, lambda run: run.plan_file.exists()), (signal.SIGHUP, lambda run: run.ray.exists())],
    ids=["Ctrl-C while Ray starts", "a closed terminal while the first workers come up"],
)
def test_a_signal_before_the_first_trial_writes_the_rows_and_prints_the_way_on(begin, number, holds):
    process, mark, run = begin()
    until = time.monotonic() + TIMEOUT
    while not holds(RunFolder(run)) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    done = end(process, mark, run)

    assert (done.code, done.err) == (130, "")
    assert f"0 of 2 trials are complete. To go on:\n  python study/run.py --restore {run}\n" in done.out
    assert len(pd.read_csv(run / "results.csv")) == 2
    assert left_over(mark) == []
