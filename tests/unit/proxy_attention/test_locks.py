import errno
import fcntl
import os
import subprocess
import sys
import threading

import pytest

from proxy_attention.locks import LocksRefusedError, hold_lock, try_lock

HOLD = """
import sys
from pathlib import Path
from proxy_attention.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
print("held" if lock else "refused", flush=True)
sys.stdin.read()
"""


def test_a_lock_has_one_holder(tmp_path):
    path = tmp_path / "lock"
    first = try_lock(path)

    assert first is not None
    assert try_lock(path) is None
    with pytest.raises(BlockingIOError, match="held by another process"), hold_lock(path, wait=False):
        pass

    first.release()
    with hold_lock(path, wait=False):
        assert try_lock(path) is None
    assert try_lock(path) is not None


def test_a_lock_is_waited_for(tmp_path):
    first, done = try_lock(tmp_path / "lock"), []

    def wait():
        with hold_lock(tmp_path / "lock"):
            done.append(True)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.2)
    assert done == []
    first.release()
    thread.join(10)
    assert done == [True]


def test_another_thread_may_release_a_lock(tmp_path):
    lock = try_lock(tmp_path / "lock")

    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()

    assert try_lock(tmp_path / "lock") is not None


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert try_lock(path) is None
        process.kill()

    assert try_lock(path) is not None


def test_a_removed_lock_file_locks_nothing(tmp_path):
    path = tmp_path / "lock"
    first = try_lock(path)
    path.unlink()

    second = try_lock(path)
    first.release()

    assert second is not None
    assert try_lock(path) is None


def test_a_lock_leaves_what_the_file_says(tmp_path):
    (tmp_path / "lock").write_text("pid 4711")

    with hold_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == "pid 4711"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, code):
    def refuse(descriptor, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)

    with pytest.raises(LocksRefusedError, match="file system has no locks"):
        try_lock(tmp_path / "lock")


def test_a_file_that_cannot_be_locked_is_an_error(tmp_path):
    (tmp_path / "folder").write_text("a file")

    with pytest.raises(OSError, match="folder"):
        try_lock(tmp_path / "folder" / "lock")
