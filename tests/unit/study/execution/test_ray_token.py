"""The file of Ray's token: private, whole, and one for all starts of a user."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import study
from proxy_attention.errors import ConfigError
from study.execution.ray_token import ensured_token

STARTS, ROUNDS = 60, 5


def ensure_token():
    """Make sure that there is a token in the home; return where it is."""
    with ensured_token(Path("/nowhere")) as place:
        return place


@pytest.fixture
def token(monkeypatch, tmp_path):
    """Where the token lies, in a home of its own."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


@pytest.fixture
def made(token):
    """A token of mine that is there already, with these rights."""

    def make(text="mine", mode=0o600):
        token.parent.mkdir()
        token.write_text(text)
        token.chmod(mode)
        return token

    return make


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_token_is_made_that_only_its_owner_can_read(token, umask):
    token.parent.mkdir()
    before = os.umask(umask)
    try:
        ensure_token()
    finally:
        os.umask(before)

    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) == 64
    assert [file.name for file in token.parent.iterdir()] == ["auth_token"]


def test_the_folder_of_the_token_is_private_where_it_is_made(token):
    ensure_token()

    assert token.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666])
def test_a_token_that_is_there_is_kept_and_closed_to_others(made, mode):
    token = made(mode=mode)

    ensure_token()

    assert token.read_text() == "mine"
    assert token.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_no_token_is_made_where_the_user_has_set_one(token, monkeypatch, name):
    monkeypatch.setenv(name, "x")

    assert ensure_token() == name
    assert not token.exists()


@pytest.mark.parametrize("target", ["elsewhere", "gone"])
def test_a_link_is_refused_and_where_it_leads_is_left_alone(token, tmp_path, target):
    (tmp_path / "elsewhere").write_text("not a token")
    (tmp_path / "elsewhere").chmod(0o644)
    token.parent.mkdir()
    token.symlink_to(tmp_path / target)

    with pytest.raises(ConfigError, match=r"^~/.ray/auth_token must be a file of yours .*; it is a link: delete"):
        ensure_token()

    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "elsewhere").read_text() == "not a token"
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_token_is_refused(made, text):
    token = made(text)

    with pytest.raises(ConfigError, match=r"; it is empty: delete it, or set RAY_AUTH_TOKEN_PATH to another file$"):
        ensure_token()

    assert token.read_text() == text


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused(token, make):
    token.parent.mkdir()
    make(token)

    with pytest.raises(ConfigError, match="; it is none: delete it"):
        ensure_token()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_token_of_another_user_is_refused(made):
    os.chown(made(), 12345, 12345)

    with pytest.raises(ConfigError, match="; it is another user's: delete it"):
        ensure_token()


@pytest.mark.parametrize("home", ["a file", "/proc", "gone", ""])
def test_where_the_home_cannot_be_written_a_session_has_a_token_of_its_own(token, monkeypatch, tmp_path, home):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("HOME", home if home[:1] == "/" else str(tmp_path / home / "x") if home else "/proc/nowhere")
    if home == "gone":
        (tmp_path / "gone").symlink_to("gone")
    texts = []
    for number in range(2):
        folder = tmp_path / f"session{number}"
        folder.mkdir()
        with ensured_token(folder) as place:
            assert place == os.environ["RAY_AUTH_TOKEN_PATH"] == str(folder / "auth_token")
            assert Path(place).stat().st_mode & 0o777 == 0o600
            texts.append(Path(place).read_text())
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ

    assert texts[0] == texts[1]  # Ray reads it once a process
    assert len(texts[0]) == 64
    assert not token.exists()


AT_ONCE = """
import os, sys
from pathlib import Path
from study.execution.ray_token import ensured_token
home, starts = Path(sys.argv[1]), int(sys.argv[2])
os.environ["HOME"] = str(home)
wait, go = os.pipe()
children = []
for number in range(starts):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(wait, 1)  # until all are there
        with ensured_token(home):
            pass
        (home / f"{number}.seen").write_bytes((home / ".ray" / "auth_token").read_bytes())
        os._exit(0)
    children.append(child)
os.close(wait)
os.close(go)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_sixty_first_starts_at_once_read_one_and_the_same_token(token, tmp_path):
    for number in range(ROUNDS):
        home = tmp_path / str(number)
        home.mkdir()

        ended = subprocess.run(
            [sys.executable, "-c", AT_ONCE, home, str(STARTS)],
            env={**os.environ, "PYTHONPATH": str(Path(study.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )

        assert (ended.returncode, ended.stderr) == (0, "")
        seen = [file.read_text() for file in home.glob("*.seen")]
        assert len(seen) == STARTS
        assert set(seen) == {(home / ".ray" / "auth_token").read_text()}
        assert len(seen[0]) == 64
        assert [file.name for file in (home / ".ray").iterdir()] == ["auth_token"]
