import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

from study import provenance
from study.provenance import PACKAGES, about, code_digest, commit


def test_a_run_says_when_where_and_with_what_it_was_made():
    made = about("python study/run.py --search grid", "cpu")

    assert (made["command"], made["device"]) == ("python study/run.py --search grid", "cpu")
    assert made["versions"] == {name: version(name) for name in PACKAGES}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made["created"])
    assert set(made) == {"code", "command", "commit", "created", "device", "host", "machine", "python", "versions"}


def test_the_digest_of_the_code_is_of_every_source_file_of_both_packages(tmp_path):
    """Compared in copies of both packages: a changed byte, a new module and a renamed one give another digest."""
    for package in ("study", "proxy_attention"):
        shutil.copytree(provenance.ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    code = "from study.provenance import code_digest; print(code_digest())"

    def digest():
        here = {**os.environ, "PYTHONPATH": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], env=here, cwd=tmp_path, capture_output=True, check=True)
        return done.stdout.decode().strip()

    first = digest()
    (tmp_path / "study" / "notes.txt").write_text("no code")
    assert digest() == first == code_digest()
    changed = tmp_path / "proxy_attention" / "seeds.py"
    changed.write_text(changed.read_text() + "\n")
    second = digest()
    (tmp_path / "study" / "new.py").touch()
    third = digest()
    (tmp_path / "study" / "new.py").rename(tmp_path / "study" / "other.py")
    assert len({first, second, third, digest()}) == 4


def test_outside_git_the_commit_is_empty(monkeypatch, tmp_path):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert commit() == ""


def test_without_git_the_commit_is_empty(monkeypatch):
    monkeypatch.setenv("PATH", "")

    assert commit() == ""


def test_changed_code_is_told_from_committed_code(monkeypatch, tmp_path):
    def git(*words):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "run.py").write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    head = git("rev-parse", "HEAD")[:12]
    assert commit() == head

    (tmp_path / "notes.txt").write_text("no code")
    assert commit() == head
    (tmp_path / "study" / "run.py").write_text("2")
    assert commit() == f"{head}+changes"
