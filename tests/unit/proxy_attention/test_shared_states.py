"""Shared states: lent to whoever is behind, made once, given up when their maker fails, within the folder's limit."""

import fcntl
import logging
import os
import resource
import threading
import time

import pytest
import torch

from proxy_attention.shared_states import STALE_SECONDS, SharedStates, Sharing


def test_trials_that_are_not_planned_yet_share_while_no_proxy_is_in_use(config, tmp_path):
    sharing = Sharing(tmp_path, epochs=frozenset({1, 2, 3, 4, 9}))
    about = {"data": "images", "weights": None, "device": "cpu"}

    assert sharing.of(config(schedule="1,p,2"), **about).names.keys() == {1, 2}
    assert sharing.of(config(schedule="p,1,p,1"), **about).names.keys() == {1}
    assert sharing.of(config(schedule="4"), **about).names.keys() == {1, 2, 3, 4}


# ---- made once


def lane(folder, *epochs, **about):
    """Open the states that are shared after these epochs."""
    return SharedStates(Sharing(folder, **about), {n: f"state {n}" for n in epochs}, "cpu")


def in_thread(work):
    """Begin ``work`` in a thread; a list that will hold what it returns."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def test_the_furthest_state_is_taken_and_none_that_is_behind(tmp_path):
    with lane(tmp_path, 2, 4, 6) as first:
        for epochs in (2, 4):
            first.publish(epochs, {"epochs": epochs})

    with lane(tmp_path, 2, 4, 6) as second:
        assert second.borrow(after=0) == {"epochs": 4}
        assert second.borrow(after=4) is None
        assert second.borrow(after=6) is None


def test_a_trial_waits_for_the_one_that_is_making_its_state(tmp_path):
    with lane(tmp_path, 2) as maker, lane(tmp_path, 2) as waiting:
        assert maker.borrow(after=0) is None
        assert maker.borrow(after=1) is None  # its own lock does not stop it
        thread, found = in_thread(lambda: waiting.borrow(after=0))
        thread.join(0.2)
        assert found == []
        maker.publish(2, {"epochs": 2})
        thread.join(10)

    assert found == [{"epochs": 2}]
    assert not list(tmp_path.glob("*.lock"))


def just_before(monkeypatch, module, name, happens):
    """Let this happen just before the next call of this function, which is itself as it was."""
    function = getattr(module, name)

    def late(*args):
        monkeypatch.setattr(module, name, function)
        happens()
        return function(*args)

    monkeypatch.setattr(module, name, late)


def test_a_state_that_is_finished_between_the_look_and_the_lock_is_taken(tmp_path, monkeypatch):
    with lane(tmp_path, 2) as maker, lane(tmp_path, 2) as other:
        assert maker.borrow(after=0) is None
        just_before(monkeypatch, os, "open", lambda: maker.publish(2, {"epochs": 2}))

        assert other.borrow(after=0) == {"epochs": 2}
    assert not list(tmp_path.glob("*.lock"))


def test_a_lock_on_a_name_that_was_given_up_meanwhile_is_no_lock(tmp_path, monkeypatch):
    with lane(tmp_path, 2) as gives_up, lane(tmp_path, 2) as next_one, lane(tmp_path, 2) as other:
        assert gives_up.borrow(after=0) is None

        def change_hands():
            gives_up.__exit__()
            assert next_one.borrow(after=0) is None

        just_before(monkeypatch, fcntl, "flock", change_hands)
        thread, found = in_thread(lambda: other.borrow(after=0))
        thread.join(0.2)
        assert found == []
        next_one.publish(2, {"epochs": 2})
        thread.join(10)

    assert found == [{"epochs": 2}]


def test_what_is_made_from_a_state_is_made_once_and_by_its_name(tmp_path):
    made = []

    def make(value):
        made.append(value)
        return {"value": value}

    with lane(tmp_path, 2) as one, lane(tmp_path, 2) as other:
        assert one.compute_once(2, "scores a", lambda: make(1)) == {"value": 1}
        assert other.compute_once(2, "scores a", lambda: make(2)) == {"value": 1}
        assert other.compute_once(2, "scores b", lambda: make(3)) == {"value": 3}
        assert other.compute_once(3, "scores a", lambda: make(4)) == {"value": 4}
        assert one.compute_once(3, "scores a", lambda: make(5)) == {"value": 5}  # three epochs are not shared

    assert made == [1, 3, 4, 5]


def test_a_trial_that_fails_leaves_its_state_to_the_next(tmp_path):
    def fail():
        with lane(tmp_path, 2) as failing:
            assert failing.borrow(after=0) is None
            failing.compute_once(2, "scores", lambda: {"share": 1 / 0})

    with pytest.raises(ZeroDivisionError):
        fail()

    with lane(tmp_path, 2) as following:
        assert following.borrow(after=0) is None
        assert following.compute_once(2, "scores", lambda: {"of": "the next"}) == {"of": "the next"}


def test_a_trial_that_overtakes_its_own_state_leaves_it_to_the_next(tmp_path):
    with lane(tmp_path, 2, 4) as one, lane(tmp_path, 4) as ahead, lane(tmp_path, 2) as behind:
        assert one.borrow(after=0) is None  # and is the one to make the state after two epochs
        ahead.publish(4, {"epochs": 4})
        assert one.borrow(after=1) == {"epochs": 4}
        thread, found = in_thread(lambda: behind.borrow(after=0))
        thread.join(5)

        assert found == [None]


# ---- what goes wrong in the folder


def test_a_file_that_is_damaged_or_of_another_kind_is_as_if_it_were_not_there(tmp_path):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"weights": torch.arange(1000)})
    path = next(tmp_path.glob("*.pt"))
    content = path.read_bytes()
    foreign = tmp_path / "foreign"
    damages = [content[:length] for length in range(0, len(content), 397)]
    damages += [b"hello", b"{}", bytes(len(content)), b"x" * len(content), b"\x80\x02}q\x00.", b"PK\x03\x04"]
    for value in ([1, 2], {"weights": torch.zeros(3)}, {}):
        torch.save(value, foreign)
        damages.append(foreign.read_bytes())

    for damage in damages:
        path.write_bytes(damage)
        with lane(tmp_path, 2) as second:
            assert second.borrow(after=0) is None
            second.publish(2, {"epochs": 2})
            assert second.borrow(after=0) == {"epochs": 2}


def test_a_state_that_others_may_write_or_that_is_a_link_is_not_used_and_the_log_says_so(tmp_path, caplog):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"epochs": 2})
    path = next(tmp_path.glob("*.pt"))
    for make in (lambda: path.chmod(0o666), lambda: (path.rename(tmp_path / "there"), path.symlink_to("there"))):
        make()
        caplog.clear()

        with lane(tmp_path, 2) as second:
            assert second.borrow(after=0) is None

        assert "is not used: others own it or may write it" in caplog.text
        path.chmod(0o644)


def test_a_forged_state_is_not_used(tmp_path):
    """As torch writes it, under the right name, with other weights: what copies from elsewhere hold."""
    with lane(tmp_path, 2) as first:
        first.publish(2, {"epochs": 2})
    path = next(tmp_path.glob("*.pt"))
    torch.save({"of": path.name, "state": {"epochs": 2}}, path)

    with lane(tmp_path, 2) as second:
        assert second.borrow(after=0) is None


def test_a_state_under_another_ones_name_is_as_if_it_were_not_there(tmp_path):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"epochs": 2})
    next(tmp_path.glob("*.pt")).rename(Sharing(tmp_path).path("state 4", device="cpu"))

    with lane(tmp_path, 4) as second:
        assert second.borrow(after=0) is None


def test_a_state_for_which_the_disk_has_no_room_is_not_kept_and_nothing_else_happens(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with lane(tmp_path, 2) as first, lane(tmp_path, 2) as second, caplog.at_level(logging.WARNING):
        assert first.borrow(after=0) is None
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
        try:
            first.publish(2, {"weights": torch.zeros(2**18)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert second.borrow(after=0) is None

    assert "could not be written" in caplog.text
    assert not list(tmp_path.iterdir())


def test_a_state_that_cannot_be_locked_is_read_all_the_same(tmp_path):
    with lane(tmp_path, 2) as first:
        first.publish(2, {"epochs": 2})
    next(tmp_path.glob("*.pt")).with_suffix(".lock").mkdir()  # opening it to write is an error, as without permission

    with lane(tmp_path, 2) as second:
        assert second.borrow(after=0) == {"epochs": 2}


# ---- the size of the folder


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    with lane(tmp_path, 1, 2, 3, 4, limit_mb=3) as every:
        for n in (1, 2, 3):  # of 0.9 MiB each
            every.publish(n, {"epochs": n, "weights": torch.zeros(235_000)})
            path = Sharing(tmp_path).path(f"state {n}", device="cpu")
            os.utime(path, (1000 + n, 1000 + n))
        with lane(tmp_path, 1) as reader:
            assert reader.borrow(after=0)["epochs"] == 1  # used now
        every.publish(4, {"epochs": 4, "weights": torch.zeros(235_000)})

        left = [n for n in (1, 2, 3, 4) if Sharing(tmp_path).path(f"state {n}", device="cpu").exists()]
    assert left == [1, 3, 4]


def test_what_killed_writers_left_is_removed_after_an_hour(tmp_path, caplog):
    long_ago = time.time() - STALE_SECONDS - 60
    for name in (".old-state.pt.abc", ".new-state.pt.abc"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".not-ours").mkdir()
    for name in (".old-state.pt.abc", ".not-ours"):
        os.utime(tmp_path / name, (long_ago, long_ago))

    with lane(tmp_path, 1) as lent:
        lent.publish(1, {"epochs": 1})

    assert {path.name for path in tmp_path.glob(".*")} == {".new-state.pt.abc", ".not-ours"}
    assert len(list(tmp_path.glob("*-state.pt"))) == 1
    assert caplog.text == ""
