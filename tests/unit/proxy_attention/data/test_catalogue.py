import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from grey_images import CATALOGUE, CONTENTS, COUNT
from PIL import Image

from proxy_attention.data.catalogue import Catalogue, OtherFile, others_line, white_level_of
from proxy_attention.data.decoding import open_image
from proxy_attention.data.images import inspect, load
from proxy_attention.errors import DataError
from proxy_attention.files import write_json


def file(values, form="TIFF"):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(values)).save(buffer, form)
    return buffer.getvalue()


def catalogue(*contents):
    count = len(contents)
    return Catalogue(
        names=tuple(f"{i}.tif" for i in range(count)),
        labels=tuple(i % 2 for i in range(count)),
        own_test=(False,) * count,
        classes=("cat", "dog"),
        read=lambda i: contents[i],
        decode=open_image,
    )


def grey(kind, *rows):
    """An image of 16 x 16 pixels, of these values in turn."""
    return file(np.resize(np.asarray(rows, dtype=kind), (16, 16)))


def first_pixels(images):
    return images.images[torch.arange(len(images))][:, 0, 0, 0].tolist()


TWELVE = [grey(np.uint16, 4095, 0), grey(np.uint16, 273, 1000), grey(np.uint16, 2000, 4000)]


@pytest.mark.parametrize("cached", [False, True])
def test_all_images_have_one_scale_whether_decoded_in_memory_cached_streamed_or_found_again(cached, tmp_path):
    contents = catalogue(*TWELVE, file(np.full((16, 16), 77, np.uint8), "PNG"))
    cache = tmp_path if cached else None

    seen = [load(contents, 16, cache=cache, limit_mb=mb) for mb in (1, 1, 0)]
    inspected = inspect(contents, cache=cache)
    known = load(contents.with_white_level(4095.0), 16, cache=cache)

    assert [first_pixels(images) for images in (*seen, known)] == [[255, 17, 124, 77]] * 4
    assert (inspected.white.value, inspected.white.images, inspected.white.highest) == (4095.0, 3, 4095.0)
    assert inspected == inspect(contents, cache=cache)


def test_another_white_is_no_image_of_the_cache(tmp_path):
    contents = catalogue(*TWELVE)

    pixels = [first_pixels(load(contents.with_white_level(white), 16, cache=tmp_path)) for white in (None, 65535.0)]

    assert pixels == [[255, 17, 124], [15, 1, 7]]
    assert first_pixels(load(contents, 16, cache=tmp_path)) == pixels[0]


@pytest.mark.parametrize(
    "change",
    [{"value": 0.0}, {"value": "9"}, {"value": True}, {"images": 1.5}, {"highest": None}, {"flat": [1]}, {"flat": 3}],
    ids=str,
)
def test_a_damaged_note_of_the_white_is_found_again(change, tmp_path):
    contents = catalogue(*TWELVE)
    load(contents, 16, cache=tmp_path)
    (note,) = tmp_path.glob("images/*/white_level.json")
    write_json(note, {"value": 9.0, "images": 3, "highest": 9.0, "flat": []} | change)

    assert first_pixels(load(contents, 16, cache=tmp_path)) == [255, 17, 124]


def test_images_of_eight_bits_need_no_white_and_keep_their_pixels(tmp_path):
    contents = catalogue(*(file(np.full((16, 16), value, np.uint8), "PNG") for value in (3, 250)))

    for each in (contents, contents.with_white_level(1.0)):
        assert first_pixels(load(each, 16, cache=tmp_path)) == [3, 250]
    assert inspect(contents).white is None
    assert not list(tmp_path.glob("images/*/white_level.json"))


def test_an_image_with_a_value_that_is_no_number_is_unreadable_and_spoils_no_other():
    good, bad = grey(np.float32, 0.5, 1), grey(np.float32, 0.5, np.nan)

    with pytest.raises(DataError, match=r"1 of 3 is not: 1\.tif \(128 of its 256 values are NaN or infinite"):
        load(catalogue(good, bad, good), 16)
    assert first_pixels(load(catalogue(good, bad, good, good), 16, "skip")) == [127, 127, 127]


def test_values_that_do_not_tell_are_refused_by_name():
    with pytest.raises(DataError, match=r"pixels, in 1\.tif, lie below"):
        load(catalogue(grey(np.float32, 0.5), grey(np.float32, -1, 1)), 16)


def test_a_damaged_image_of_sixteen_bits_alone_tells_no_white():
    cut = grey(np.uint16, *range(256))[:300]

    with pytest.raises(DataError, match="2 of 2 are not"):
        load(catalogue(cut, cut), 16)


def test_other_files_are_counted_and_those_of_which_more_is_known_come_first():
    notes = OtherFile("notes.txt", "")

    assert others_line([notes]) == "1 is no image: notes.txt"
    assert others_line([notes, OtherFile("a.heic", "HEIC")]) == "2 are no images: a.heic (HEIC), notes.txt"
    assert others_line([notes] * 12).endswith("notes.txt and 2 more")


def test_images_of_another_form_have_no_white():
    assert CATALOGUE.with_white_level(1.0) is CATALOGUE
    assert not CATALOGUE.of_files
    assert white_level_of(catalogue(*CONTENTS[:2])).images == 0


def test_an_image_is_of_the_own_test_the_own_val_or_train():
    parted = replace(CATALOGUE, own_test=(True,) + (False,) * (COUNT - 1))

    assert [parted.own_split(image) for image in (0, 1)] == ["test", "train"]
    assert replace(parted, own_val=(False, True) + (False,) * (COUNT - 2)).own_split(1) == "val"
