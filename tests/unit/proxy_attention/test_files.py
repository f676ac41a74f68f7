"""Files are written whole or not at all, and jobs of the background writer in their order."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from proxy_attention.files import (
    BackgroundWriter,
    find_link,
    is_own_file,
    load_json,
    read_json,
    write_atomic,
    write_json,
    write_text,
)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_is_written_whole_and_readable_by_others(tmp_path):
    write_text(tmp_path / "deep" / "file.txt", "Köln\n")

    assert (tmp_path / "deep" / "file.txt").read_text(encoding="utf-8") == "Köln\n"
    assert files(tmp_path / "deep") == ["file.txt"]
    assert (tmp_path / "deep" / "file.txt").stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "file.txt", "old")

    def fail(path):
        path.write_text("half of the n")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "file.txt", fail)

    assert files(tmp_path) == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "old"


def test_the_file_is_flushed_before_it_takes_its_name(tmp_path, monkeypatch):
    seen = []
    original = os.fsync

    def watch(handle):
        seen.append((str(Path(f"/proc/self/fd/{handle}").readlink()), (tmp_path / "file.txt").exists()))
        original(handle)

    monkeypatch.setattr(os, "fsync", watch)
    write_text(tmp_path / "file.txt", "new")

    assert [(name.startswith(str(tmp_path / ".file.txt.")), existed) for name, existed in seen] == [(True, False)]


def test_json_that_other_readers_would_refuse_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"loss": float("nan")})

    assert files(tmp_path) == []


def test_json_is_read_as_it_was_written(tmp_path):
    write_json(tmp_path / "file.json", {"a": [1, 2.5, None]})

    assert load_json(tmp_path / "file.json") == {"a": [1, 2.5, None]}
    assert json.loads((tmp_path / "file.json").read_text())["a"] == [1, 2.5, None]


@pytest.mark.parametrize("damage", [lambda text: text.replace("2.5", "2.6"), lambda text: text[:-9], lambda _: "{"])
def test_json_that_is_not_what_was_written_is_an_error_and_read_as_none(tmp_path, damage):
    file = tmp_path / "file.json"
    write_json(file, {"a": [1, 2.5, None]})
    file.write_text(damage(file.read_text()))

    with pytest.raises(ValueError, match=r"SHA-256|Expecting|Unterminated"):
        load_json(file)
    assert read_json(file) is None


def test_json_without_a_checksum_is_read_as_it_is(tmp_path):
    (tmp_path / "file.json").write_text('{"a": 1}')

    assert load_json(tmp_path / "file.json") == {"a": 1}


def test_json_is_read_from_regular_files_only_and_through_no_link(tmp_path):
    write_json(tmp_path / "file.json", {"a": 1})
    (tmp_path / "link").symlink_to("file.json")
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match=r"link|pipe|directory"):
            load_json(tmp_path / name)
        assert read_json(tmp_path / name) is None


def test_what_is_written_is_as_private_as_the_umask_asks(tmp_path):
    code = "import sys, pathlib, proxy_attention.files as f; f.write_text(pathlib.Path(sys.argv[1]), 'x')"

    for umask, mode in ((0o022, 0o644), (0o077, 0o600), (0o000, 0o644)):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], check=True, umask=umask)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_only_regular_files_of_this_user_that_no_one_else_may_write_are_ones_own(tmp_path):
    (tmp_path / "own").touch(0o644)
    (tmp_path / "shared").touch()
    (tmp_path / "shared").chmod(0o664)
    (tmp_path / "link").symlink_to("own")

    assert [is_own_file(tmp_path / name) for name in ("own", "shared", "link", "nowhere", ".")] == [True, *[False] * 4]


def test_the_one_who_hands_over_a_job_goes_on_meanwhile():
    going_on, done = threading.Event(), []

    def job():
        assert going_on.wait(10)
        done.append(threading.current_thread())

    with BackgroundWriter() as writer:
        writer.submit(job)
        assert done == []
        going_on.set()
        writer.wait()
        assert len(done) == 1
        assert done[0] is not threading.current_thread()
        writer.wait()  # there is nothing more to wait for


def test_jobs_are_done_one_at_a_time_and_in_their_order():
    told = []

    def job(number):
        told.append(f"{number} begins")
        threading.Event().wait(0.01)
        told.append(f"{number} ends")

    with BackgroundWriter() as writer:
        for number in range(3):
            writer.submit(lambda number=number: job(number))

    assert told == [f"{number} {what}" for number in range(3) for what in ("begins", "ends")]


def full():
    raise OSError("disk full")


def test_a_job_that_failed_is_told_by_the_next_one_which_is_not_begun():
    done = []

    with BackgroundWriter() as writer:
        writer.submit(full)
        with pytest.raises(OSError, match="disk full"):
            writer.submit(lambda: done.append(1))
        writer.submit(lambda: done.append(2))  # told once

    assert done == [2]


def test_the_last_job_that_failed_is_told_on_leaving():
    def leave():
        with BackgroundWriter() as writer:
            writer.submit(full)

    with pytest.raises(OSError, match="disk full"):
        leave()


def test_a_generator_that_is_closed_waits_for_its_last_job():
    done = []

    def work():
        with BackgroundWriter() as writer:
            writer.submit(lambda: (threading.Event().wait(0.05), done.append(1)))
            yield

    running = work()
    next(running)
    running.close()

    assert done == [1]


def test_an_error_between_jobs_is_the_one_that_is_told_and_the_job_is_ended():
    done = []

    def leave():
        with BackgroundWriter() as writer:
            writer.submit(lambda: (threading.Event().wait(0.05), done.append(1), full()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert done == [1]


def test_a_link_or_a_pipe_is_found_wherever_it_lies(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").write_text("")
    assert find_link(tmp_path) is None
    assert find_link(tmp_path / "nothing") is None

    link, pipe = tmp_path / "a" / "b" / "link", tmp_path / "pipe"
    link.symlink_to(tmp_path / "nothing")
    assert find_link(tmp_path) == find_link(link) == link
    assert find_link(tmp_path, without=(tmp_path / "a" / "b",)) is None

    os.mkfifo(pipe)
    assert find_link(tmp_path) == pipe
    (tmp_path / "other").symlink_to(tmp_path / "a")
    assert find_link(tmp_path / "other") == tmp_path / "other"
