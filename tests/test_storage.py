import json
import logging
import os
from pathlib import Path

import pytest
import torch

from proxy_attention.errors import CheckpointError
from proxy_attention.storage import (
    KEPT,
    drop_checkpoints,
    newest_checkpoint,
    save_checkpoint,
    write_atomic,
    write_json,
    write_text,
)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def saved(folder, *epochs, identity="me"):
    for epoch in epochs:
        save_checkpoint(folder, epoch, {"identity": identity, "epoch": epoch, "weights": torch.full((1000,), epoch)})
    return folder


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

    assert json.loads((tmp_path / "file.json").read_text()) == {"a": [1, 2.5, None]}


def test_the_newest_two_checkpoints_are_kept(tmp_path):
    saved(tmp_path, 8, 9, 10, 11)

    assert KEPT == 2
    assert files(tmp_path) == ["epoch-000010.pt", "epoch-000011.pt"]


def test_the_newest_checkpoint_is_read(tmp_path):
    found = newest_checkpoint(saved(tmp_path, 9, 10), identity="me")

    assert found["epoch"] == 10
    assert torch.equal(found["weights"], torch.full((1000,), 10))


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert newest_checkpoint(tmp_path, identity="me") is None
    assert newest_checkpoint(tmp_path / "nowhere", identity="me") is None


def damaged(content, kind):
    return {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "without its end": content[:-10],
        "garbage": b"x" * len(content),
        "zeros": bytes(len(content)),
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "truncated", "without its end", "garbage", "zeros"])
def test_of_a_damaged_checkpoint_the_one_before_is_used_and_the_log_says_so(tmp_path, caplog, kind):
    newest = saved(tmp_path, 1, 2) / "epoch-000002.pt"
    newest.write_bytes(damaged(newest.read_bytes(), kind))

    with caplog.at_level(logging.WARNING):
        found = newest_checkpoint(tmp_path, identity="me")

    assert found["epoch"] == 1
    assert "epoch-000002.pt is unreadable" in caplog.text


def test_if_every_checkpoint_is_damaged_there_is_none(tmp_path):
    for path in saved(tmp_path, 1, 2).iterdir():
        path.write_bytes(b"")

    assert newest_checkpoint(tmp_path, identity="me") is None


def test_a_checkpoint_of_another_trial_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"epoch-000001.pt belongs to another trial; move its folder away"):
        newest_checkpoint(saved(tmp_path, 1, identity="other"), identity="me")


def test_dropping_checkpoints_deletes_them_and_their_folder(tmp_path):
    drop_checkpoints(saved(tmp_path / "checkpoints", 1, 2))

    assert files(tmp_path) == []
    drop_checkpoints(tmp_path / "checkpoints")  # a second time does no harm


def test_dropping_checkpoints_deletes_nothing_else(tmp_path):
    saved(tmp_path, 1)
    for name in ("weights.pt", "epoch-1.txt", "notes"):
        (tmp_path / name).touch()

    drop_checkpoints(tmp_path)

    assert files(tmp_path) == ["epoch-1.txt", "notes", "weights.pt"]
