"""Checksums: what was written passes, what was changed does not."""

import hashlib
import json
import random

import pytest

from proxy_attention.checksums import (
    ChecksumError,
    append_checksum,
    compare_appended,
    file_sha256,
    with_checksum,
    without_checksum,
)


def test_the_checksum_of_a_file_is_that_of_sha256sum(tmp_path):
    (tmp_path / "file").write_bytes(b"content")

    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


@pytest.mark.parametrize("content", [b"", b"x", b"\nsha256 ", bytes(1 << 21)], ids=["empty", "x", "mark", "2 MiB"])
def test_an_appended_checksum_is_found_and_compared(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert compare_appended(tmp_path / "file") is False

    append_checksum(tmp_path / "file")

    assert compare_appended(tmp_path / "file") is True
    assert (tmp_path / "file").read_bytes().startswith(content)


def test_a_changed_file_is_not_what_was_written(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    append_checksum(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"CONTENT" + (tmp_path / "file").read_bytes()[7:])

    with pytest.raises(ChecksumError, match="not what was written"):
        compare_appended(tmp_path / "file")


def test_values_come_back_as_they_were():
    values = {"b": [1, 2.5, None], "a": {"x": "\u00e9\udcff"}}

    read = json.loads(json.dumps(with_checksum(values)))

    assert without_checksum(read) == (values, True)
    assert without_checksum(values) == (values, False)
    assert with_checksum(with_checksum(values)) == with_checksum(values)


def test_of_500_flipped_bits_none_gives_other_values():
    values, draws = {"accuracy": 82.1, "epochs": [1, 2, 3], "name": "x"}, random.Random(0)
    content = json.dumps(with_checksum(values), indent=1).encode()

    for bit in draws.choices(range(len(content) * 8), k=500):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = without_checksum(json.loads(flipped.decode()))
        except ValueError:  # no JSON, no UTF-8, or ChecksumError
            continue
        assert found == (values, True), bit
