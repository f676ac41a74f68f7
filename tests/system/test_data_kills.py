"""``study/data.py`` as a process of its own: as a command, and killed while it prepares a data set."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import exit_code, fork
from published_archives import archives_of, publish, row, serve, tree

from proxy_attention.data.registry import SOURCES
from study.data import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.utime")
"""Events of Python's audit hooks that change a disk, or may."""

STEP = 5
"""A process is killed at every so many changes of its data root."""


def begin(root, kill_at=None):
    """Prepare the data set ``two`` in a process that is killed at this change of its data root."""

    def prepare():
        left = kill_at

        def count(event, arguments):
            nonlocal left
            if event in CHANGES and arguments and str(root) in str(arguments[0]):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        if kill_at is not None:
            sys.addaudithook(count)
        return main(["prepare", "two", "--root", str(root)])

    return fork(prepare)


def complete(root):
    """Prepare to the end; returns what lies there then."""
    assert exit_code(begin(root)) == 0
    return tree(root)


def test_a_kill_in_the_middle_of_a_download_loses_nothing_and_the_next_call_completes(tmp_path, monkeypatch):
    with serve() as server:
        expected = publish(server)
        monkeypatch.setitem(SOURCES, "two", row(archives_of(server)))
        server.silent = 1
        child = begin(tmp_path / "two")
        partial = tmp_path / "two" / ".preparing" / "download" / "images.tgz"
        while not partial.exists() or not partial.stat().st_size:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)

        assert exit_code(child) == -signal.SIGKILL
        assert not (tmp_path / "two" / "images.tgz").exists()
        assert complete(tmp_path / "two") == expected


def test_a_kill_at_any_change_of_the_disk_loses_nothing_and_the_next_call_completes(tmp_path, monkeypatch):
    with serve() as server:
        expected = publish(server)
        monkeypatch.setitem(SOURCES, "two", row(archives_of(server)))
        for kill_at in range(1, 1000, STEP):
            root = tmp_path / str(kill_at)
            code = exit_code(begin(root, kill_at))
            assert code in (0, -signal.SIGKILL)

            assert (tree(root) if code == 0 else complete(root)) == expected, f"killed at change {kill_at}"

            shutil.rmtree(root)
            if code == 0:
                break
        assert 50 < kill_at < 1000 - STEP


def test_the_file_runs_as_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "study" / "data.py", "check", tmp_path / "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"data.py: DIR must be an existing folder; got '{tmp_path / 'nowhere'}'\n"
