"""Checkpoints: written whole, read back or passed over, and copies that training cannot reach."""

import logging
import os
import random

import pytest
import torch

from proxy_attention.checkpoints import (
    KEPT,
    drop_checkpoints,
    newest_checkpoint,
    read_state,
    save_checkpoint,
    snapshot,
    write_state,
)
from proxy_attention.errors import CheckpointError


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def saved(folder, *epochs, identity="me"):
    for epoch in epochs:
        save_checkpoint(folder, epoch, {"identity": identity, "epoch": epoch, "weights": torch.full((1000,), epoch)})
    return folder


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
        "text": b"hello",
        "zeros": bytes(len(content)),
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "truncated", "without its end", "garbage", "text", "zeros"])
def test_of_a_damaged_checkpoint_the_one_before_is_used_and_the_log_says_so(tmp_path, caplog, kind):
    newest = saved(tmp_path, 1, 2) / "epoch-000002.pt"
    newest.write_bytes(damaged(newest.read_bytes(), kind))

    with caplog.at_level(logging.WARNING):
        found = newest_checkpoint(tmp_path, identity="me")

    assert found["epoch"] == 1
    assert "epoch-000002.pt is damaged" in caplog.text


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


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x80\x02]q\x00.", bytes(range(256)) * 9],
    ids=lambda content: repr(content[:8]),
)
def test_a_file_that_is_no_state_is_read_as_none(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)

    assert read_state(tmp_path / "state.pt") is None


def test_a_state_cut_anywhere_is_read_as_none(tmp_path):
    write_state(tmp_path / "whole.pt", {"weights": torch.arange(300), "epochs": 2, "parts": [1.5, (2, None)]})
    content = (tmp_path / "whole.pt").read_bytes()
    lengths = range(0, len(content), 41)

    read = []
    for length in lengths:
        (tmp_path / "cut.pt").write_bytes(content[:length])
        read.append(read_state(tmp_path / "cut.pt"))

    assert len(read) > 20
    assert read == [None] * len(read)
    assert read_state(tmp_path / "whole.pt")["parts"] == [1.5, (2, None)]


def test_of_500_flipped_bits_none_is_read_as_another_state(tmp_path):
    file, draws = tmp_path / "state.pt", random.Random(0)
    write_state(file, {"format": 3, "weights": torch.arange(300), "records": "[1, 2]"})
    content = file.read_bytes()
    end = range(len(content) * 8 - 73 * 8, len(content) * 8)  # the checksum itself

    for bit in [*draws.sample(range(len(content) * 8), 500), *draws.sample(end, 100)]:
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)

        assert read_state(file) is None, bit


def test_a_checkpoint_of_an_earlier_version_is_read_without_a_checksum_and_a_newer_one_is_not(tmp_path):
    for number in (2, 3):
        torch.save({"format": number}, tmp_path / f"{number}.pt")

    assert read_state(tmp_path / "2.pt") == {"format": 2}
    assert read_state(tmp_path / "3.pt") is None


def test_what_is_not_there_and_what_is_no_dict_is_read_as_none(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")

    assert read_state(tmp_path / "list.pt") is None
    assert read_state(tmp_path / "nowhere.pt") is None
    assert read_state(tmp_path) is None
    assert read_state(tmp_path / "list.pt" / "below a file") is None
    assert read_state(tmp_path / ("x" * 300)) is None


def test_nothing_is_run_that_a_file_asks_to_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state": Trap()}, tmp_path / "trap.pt")

    assert read_state(tmp_path / "trap.pt") is None
    assert not (tmp_path / "ran").exists()


def test_a_snapshot_keeps_what_was_there_when_it_was_taken():
    weights = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    state = {"model": {"weights": weights}, "optimizer": [{"step": torch.tensor(3.0), "betas": (0.9, 0.99)}], "n": 1}

    kept = snapshot(state)
    with torch.no_grad():
        weights.zero_()
    state["optimizer"][0]["step"] += 1
    state["optimizer"].append("more")
    state["n"] = 2

    assert kept["model"]["weights"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert kept["optimizer"] == [{"step": torch.tensor(3.0), "betas": (0.9, 0.99)}]
    assert kept["n"] == 1
    assert not kept["model"]["weights"].requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
def test_a_snapshot_keeps_type_and_value(dtype):
    tensor = (torch.arange(12) % 3).to(dtype).reshape(3, 4)

    kept = snapshot({"a": tensor, "none": tensor[:0], "scalar": tensor[2, 2]})

    for name, value in {"a": tensor, "none": tensor[:0], "scalar": tensor[2, 2]}.items():
        assert kept[name].dtype == dtype
        assert torch.equal(kept[name], value)


def test_a_snapshot_keeps_the_layout_because_it_decides_the_last_bit():
    tensor = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)

    assert snapshot(tensor).stride() == tensor.stride()


def test_a_snapshot_of_a_part_does_not_hold_the_whole():
    kept = snapshot(torch.zeros(1000, 10)[:3])

    assert kept.untyped_storage().nbytes() == 3 * 10 * 4
