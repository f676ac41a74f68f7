"""Threads and processes that want the same images at one time decode them once."""

import dataclasses
import os
import signal
import threading
import time
from contextlib import suppress

import pytest
from forks import exit_code, fork
from grey_images import CATALOGUE, CONTENTS, arrays, decode, decode_grey, same, undecodable


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_threads_that_build_at_once_decode_every_image_once(cache):
    calls, found, barrier = [], [], threading.Barrier(4)
    counting = dataclasses.replace(CATALOGUE, decode=lambda raw: calls.append(raw) or decode_grey(raw))

    def work():
        barrier.wait()
        found.append(decode(counting, cache=cache))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(calls) == CONTENTS
    assert all(same(one, decode()) for one in found)
    assert len(arrays(cache)) == 1


@pytest.fixture
def builder(cache, tmp_path):
    """Another process, in the middle of building; it goes on when the file ``go`` is there."""

    def decode_at_the_gate(content):
        (tmp_path / "building").touch()
        while not (tmp_path / "go").exists():
            time.sleep(0.005)
        return decode_grey(content)

    def build():
        decode(dataclasses.replace(CATALOGUE, decode=decode_at_the_gate), cache=cache)

    child = fork(build)
    while not (tmp_path / "building").exists():
        time.sleep(0.005)
    yield child
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)


def waiting(catalogue, cache):
    """A thread that wants the same images, and the list in which it will put them."""
    found = []
    thread = threading.Thread(target=lambda: found.append(decode(catalogue, cache=cache)))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    return thread, found


def test_who_comes_second_waits_for_the_process_that_builds(builder, cache, tmp_path):
    thread, found = waiting(undecodable(CATALOGUE), cache)

    (tmp_path / "go").touch()
    thread.join()

    assert exit_code(builder) == 0
    assert same(found[0], decode())


def test_a_killed_builder_is_followed_by_the_next_and_leaves_nothing(builder, cache):
    assert len(list(cache.glob("images/*/*.part"))) == 1
    thread, found = waiting(CATALOGUE, cache)

    os.kill(builder, signal.SIGKILL)
    assert exit_code(builder) == -signal.SIGKILL
    thread.join()

    assert same(found[0], decode())
    assert list(cache.glob("images/*/*.part")) == []
    assert len(arrays(cache)) == 1
