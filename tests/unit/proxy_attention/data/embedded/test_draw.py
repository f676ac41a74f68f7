import gzip
import struct

import numpy as np
import pytest

from proxy_attention.data.embedded import draw


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A folder like the official one, small: image i is filled with i, and its class is i modulo 10."""
    monkeypatch.setattr(draw, "PER_CLASS", {"train": 3, "test": 2})
    for prefix, count in (("train", 60), ("t10k", 40)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28)
        header = struct.pack(">4i", 2051, count, 28, 28)
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        header = struct.pack(">2i", 2049, count)
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))
    return tmp_path


def test_the_sample_is_drawn_evenly_and_each_image_keeps_its_label_and_number(official):
    arrays = draw.draw(official)

    for split, count in (("train", 3), ("test", 2)):
        index = arrays[f"{split}_index"]
        assert np.bincount(arrays[f"{split}_labels"]).tolist() == [count] * 10
        assert (np.diff(index.astype(int)) > 0).all()
        assert (arrays[f"{split}_labels"] == index % 10).all()
        assert (arrays[f"{split}_images"] == index[:, None, None]).all()


def test_the_sample_is_the_same_whenever_it_is_drawn(official):
    first, second = draw.draw(official), draw.draw(official)

    assert all((first[name] == second[name]).all() for name in first)


def test_the_command_writes_the_arrays(official, monkeypatch, capsys):
    out = official / "sample.npz"
    monkeypatch.setattr("sys.argv", ["draw", str(official), str(out)])

    draw.main()

    assert f"{out.stat().st_size} bytes" in capsys.readouterr().out
    with np.load(out) as arrays:
        assert arrays["train_images"].shape == (30, 28, 28)
