"""Images of any depth, range and kind of number are scaled alike over a data set, or refused in one line."""

import io
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.decoding import open_image
from proxy_attention.data.images import inspect, load
from proxy_attention.data.white_level import USUAL
from proxy_attention.errors import DataError

SIDE = 16
KINDS = (np.uint16, np.int32, np.float32)
HIGHEST = (0.5, 1.0, 1.001, 100.0, 250.0, 255.0, 256.0, 700.0, 4000.0, 4095.0, 16000.0, 65535.0)


def tiff(values):
    """An uncompressed grey TIFF, written by hand."""
    bits, form = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    (height, width), data = values.shape, values.tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data)), (339, form)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def catalogue(arrays):
    contents = [tiff(array) for array in arrays]
    count = len(contents)
    labels, names = tuple(i % 2 for i in range(count)), tuple(f"{i}.tif" for i in range(count))
    return Catalogue(names, labels, (False,) * count, ("cat", "dog"), contents.__getitem__, open_image)


@st.composite
def data_sets(draw):
    """Some images of one kind of number, each up to a part of one highest value, perhaps with an outlier or a NaN."""
    kind = draw(st.sampled_from(KINDS))
    highest = draw(
        st.sampled_from([0.5, 1.0, 1.001, 100.0, 250.0, 255.0, 256.0, 700.0, 4000.0, 4095.0, 16000.0, 65535.0])
    )
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    arrays = []
    for part in draw(st.lists(st.floats(0.05, 1.0), min_size=2, max_size=6)):
        values = rng.uniform(0, highest * part, (SIDE, SIDE))
        if rng.random() < 0.5:
            values[0, 0] = highest
        arrays.append(values.astype(kind))
    if (odd := draw(st.sampled_from([None, None, -1, 10, np.nan]))) is not None and (odd == odd or kind is np.float32):
        arrays[0][3, 3] = odd * highest if kind is np.float32 or odd > 0 else 0
    return arrays


@settings(max_examples=80, deadline=None, derandomize=True)
@given(data_sets())
def test_every_image_is_scaled_by_one_usual_white_or_one_line_names_the_images(arrays):
    finite = [np.isfinite(array).all() for array in arrays]
    images = catalogue(arrays)
    try:
        loaded, white = load(images, SIDE, "skip"), inspect(images, "skip").white
    except DataError as error:
        refused = str(error)
    else:
        values = np.stack([array for array, good in zip(arrays, finite, strict=True) if good]).astype(float)
        assert white.value in USUAL
        assert np.count_nonzero(values > white.value) <= 1e-3 * values.size
        assert (loaded.images[:, 0].numpy() == (values * 255 / white.value).clip(0, 255).astype(np.uint8)).all()
        assert loaded.skipped == tuple(f"{i}.tif" for i, good in enumerate(finite) if not good)
        assert values.max() > white.value / 64 or white.value == 255 or white.value == 1
        return
    assert "\n" not in refused
    assert ".tif" in refused or "none is left in" in refused


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 65535), min_size=4, max_size=64), st.sampled_from(["PNG", "TIFF", "PPM"]))
def test_sixteen_bits_that_reach_the_top_are_the_high_byte_as_every_viewer_shows_them(values, form):
    array = np.resize(np.array([*values, 65535, 60000, 50000], np.uint16), (SIDE, SIDE))
    buffer = io.BytesIO()
    (Image.fromarray(array.astype(np.int32)) if form == "PPM" else Image.fromarray(array)).save(buffer, form)
    images = Catalogue(("a", "b"), (0, 1), (False, False), ("cat", "dog"), lambda i: buffer.getvalue(), open_image)

    assert (load(images, SIDE).images[0, 0].numpy() == array // 257).all()
