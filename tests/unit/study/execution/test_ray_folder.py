"""Where Ray's session lies: a new folder of this user alone, with room for the names of sockets."""

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from proxy_attention.errors import ConfigError
from study.execution import ray_folder as module
from study.execution.ray_folder import LONGEST, MOST_BYTES, SOCKET_BYTES, ray_folder


@pytest.fixture
def place(monkeypatch):
    """A temporary folder with a short path, named by TMPDIR."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        yield Path(name)


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_the_folder_is_of_this_user_alone_and_goes_with_its_content(place, umask):
    before = os.umask(umask)
    try:
        with ray_folder() as folder:
            outer = folder.parent
            assert outer.parent == place
            assert (outer.stat().st_mode & 0o777, outer.stat().st_uid) == (0o700, os.geteuid())
            folder.chmod(0o777)  # as Ray does
            (folder / "session" / "logs").mkdir(parents=True)
    finally:
        os.umask(before)

    assert list(place.iterdir()) == []


def test_the_longest_socket_fits_in_the_longest_place_that_is_taken(place, monkeypatch):
    deep = place / ("x" * (MOST_BYTES - len(str(place)) - 1))
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))

    with ray_folder() as folder:
        path = str(folder) + LONGEST
        assert folder.is_relative_to(deep)
        assert len(path) == SOCKET_BYTES
        Path(path).parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path)


def unsafe(place):
    place.chmod(0o777)
    return place


def anothers(place):
    os.chown(place, 12345, 12345)
    return place


def made(folder):
    folder.mkdir()
    return folder


UNFIT = {
    "too long": lambda place: made(place / ("x" * MOST_BYTES)),
    "of other letters": lambda place: made(place / "ü"),
    "gone": lambda place: place / "gone",
    "relative": lambda place: Path("tmp"),
    "a file": lambda place: Path(tempfile.mkstemp(dir=place)[1]),
    "not to be written": lambda place: Path("/proc"),
    "open to all": unsafe,
    "another user's": pytest.param(anothers, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can")),
}
UNFIT = [value if name == "another user's" else pytest.param(value, id=name) for name, value in UNFIT.items()]


@pytest.mark.parametrize("make", UNFIT)
def test_a_temporary_folder_that_does_not_do_is_passed_by_and_ray_s_own_is_refused(place, monkeypatch, make):
    unfit = make(place)
    monkeypatch.setenv("TMPDIR", str(unfit))
    with ray_folder() as folder:
        assert folder.parent.parent == Path("/tmp")
        assert os.environ["TMPDIR"] == str(folder.parent)
    assert os.environ["TMPDIR"] == str(unfit)

    monkeypatch.setenv("RAY_TMPDIR", str(unfit))
    with pytest.raises(ConfigError) as refused, ray_folder():
        pass

    assert str(refused.value).startswith(f"RAY_TMPDIR must be a folder that can hold Ray's sockets; {str(unfit)!r} ")


def test_what_another_user_has_planted_under_our_name_is_passed_by(place, monkeypatch, tmp_path):
    names = iter(["planted0", "planted1", "ours0000"])
    monkeypatch.setattr(tempfile, "_get_candidate_names", lambda: names)
    (place / "ray-planted0").symlink_to(tmp_path)
    (place / "ray-planted1").mkdir()

    with ray_folder() as folder:
        assert folder.parent == place / "ray-ours0000"

    assert stat.S_ISLNK((place / "ray-planted0").lstat().st_mode)
    assert list(tmp_path.iterdir()) == []
    assert list((place / "ray-planted1").iterdir()) == []


def test_without_any_folder_each_is_named_in_one_line(place, monkeypatch):
    monkeypatch.setattr(module, "USUAL", ("/proc", "/nowhere"))
    monkeypatch.setenv("TMPDIR", str(place / "ü"))

    with (
        pytest.raises(ConfigError, match=r"^TMPDIR must be .*ü' has letters .*, '/proc' cannot.*, '/nowhere' cannot"),
        ray_folder(),
    ):
        pass
