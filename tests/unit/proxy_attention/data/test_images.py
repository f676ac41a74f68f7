import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.decoding import open_image
from proxy_attention.data.images import ImageSet, inspect, load
from proxy_attention.data.pixels import Streamed
from proxy_attention.errors import ConfigError, DataError


def png(value):
    """An image of 3 x 3 pixels of this grey, as a file."""
    buffer = io.BytesIO()
    Image.new("L", (3, 3), value).save(buffer, "PNG")
    return buffer.getvalue()


def catalogue(contents, labels=None, own_test=None):
    labels = labels or tuple(i % 2 for i in range(len(contents)))
    return Catalogue(
        names=tuple(f"{i}.png" for i in range(len(contents))),
        labels=tuple(labels),
        own_test=tuple(own_test or [False] * len(contents)),
        classes=("cat", "dog"),
        read=lambda i: contents[i],
        decode=open_image,
    )


GREY = png(7)
NO_IMAGE = b"this is text, whatever its name says"


def test_images_are_loaded_in_the_order_of_the_catalogue():
    contents = [png(value) for value in (5, 6, 7, 8)]

    loaded = load(catalogue(contents, own_test=[False, False, True, True]), 16)

    assert isinstance(loaded, ImageSet)
    assert loaded.images.shape == (4, 3, 16, 16)
    assert loaded.images.dtype == torch.uint8
    assert loaded.images[:, 0, 0, 0].tolist() == [5, 6, 7, 8]
    assert loaded.labels.tolist() == [0, 1, 0, 1]
    assert loaded.own_test.tolist() == [False, False, True, True]
    assert len(loaded) == 4


def test_a_file_that_is_no_image_is_refused_by_name():
    with pytest.raises(DataError, match=r"\(or set on_bad_image = skip\); 1 of 3 is not: 1.png \(no image of .*\)$"):
        load(catalogue([GREY, NO_IMAGE, GREY], labels=[0, 0, 1]), 16)


def test_an_image_of_more_pixels_than_allowed_is_unreadable_and_told_with_its_size():
    limited = catalogue([GREY, GREY]).with_max_pixels(8)

    with pytest.raises(DataError, match=r"2 of 2 are not: 0.png \(it has 9 pixels; max_pixels allows 8\), 1.png \("):
        load(limited, 16)


def test_a_cache_of_fewer_pixels_is_not_taken_for_one_of_more(tmp_path):
    images = catalogue([GREY, GREY])

    with pytest.raises(DataError, match="2 of 2 are not"):
        load(images.with_max_pixels(8), 16, cache=tmp_path)

    assert len(load(images, 16, cache=tmp_path)) == 2


def test_a_file_that_is_no_image_can_be_skipped_and_is_named():
    loaded = load(catalogue([GREY, NO_IMAGE, GREY], labels=[0, 0, 1]), 16, "skip")

    assert loaded.skipped == ("1.png",)
    assert loaded.names == ("0.png", "2.png")
    assert loaded.labels.tolist() == [0, 1]


def test_of_many_unreadable_images_ten_are_named_and_all_counted():
    with pytest.raises(DataError, match=r"13 of 15 are not: 2.png \(.*, 11.png \(.*\) and 3 more$"):
        load(catalogue([GREY, GREY, *[NO_IMAGE] * 13]), 16)


def test_skipping_must_leave_every_class_an_image():
    with pytest.raises(DataError, match="every class must have a readable image; none is left in dog"):
        load(catalogue([GREY, NO_IMAGE]), 16, "skip")


def test_another_way_with_bad_images_is_answered_with_those_there_are():
    with pytest.raises(ConfigError, match="on_bad_image must be one of error, skip; got 'ignore'"):
        load(catalogue([GREY, GREY]), 16, "ignore")


def test_skipping_is_told_apart_by_the_digest():
    whole = load(catalogue([GREY, GREY, GREY]), 16)
    part = load(catalogue([GREY, GREY, NO_IMAGE]), 16, "skip")

    assert whole.digest != part.digest
    assert part.digest == load(catalogue([GREY, GREY]), 16).digest


def test_an_inspection_finds_what_loading_finds():
    contents = catalogue([GREY, GREY, NO_IMAGE, GREY], own_test=[False, False, False, True])
    loaded, found = load(contents, 16, "skip"), inspect(contents, "skip")

    assert found.digest == loaded.digest
    assert found.skipped == loaded.skipped == ("2.png",)
    assert found.class_counts == (1, 2)
    assert (found.train_pool, found.own_test) == (2, 1)
    assert found.classes == loaded.classes


def test_an_inspection_reports_its_progress_to_the_end():
    seen = []

    inspect(catalogue([GREY] * 250), progress=lambda done, total: seen.append((done, total)))

    assert seen[-1] == (250, 250)
    assert 100 <= len(seen) <= 130


def test_a_set_on_a_device_is_the_same_set():
    loaded = load(catalogue([GREY, GREY]), 16)

    moved = loaded.on(torch.device("cpu"))

    assert moved.digest == loaded.digest
    assert torch.equal(moved.images, loaded.images)


@pytest.mark.parametrize("change", [{"own_test": [False, False, True, True]}, {"labels": [0, 1, 1, 0]}])
def test_the_digest_tells_apart_splits_and_labels_of_the_same_contents(change):
    fields = {"labels": [0, 1, 0, 1], "own_test": [False, False, False, True]}

    one, other = (load(catalogue([GREY] * 4, **given), 16).digest for given in (fields, {**fields, **change}))

    assert one != other


def test_the_digest_is_of_the_files_not_of_the_size_they_are_read_at():
    assert load(catalogue([GREY, png(8)]), 16).digest == load(catalogue([GREY, png(8)]), 32).digest


def test_an_inspection_with_a_size_leaves_the_images_in_the_cache(tmp_path):
    def refuse(content):
        raise AssertionError("an image was decoded")

    contents = catalogue([GREY, NO_IMAGE, png(8), GREY])
    found = inspect(contents, "skip", size=16, cache=tmp_path)

    loaded = load(dataclasses.replace(contents, decode=refuse), 16, "skip", cache=tmp_path)

    assert loaded.digest == found.digest
    assert loaded.images[:, 0, 0, 0].tolist() == [7, 8, 7]


def test_a_set_larger_than_the_limit_of_the_cache_is_streamed(tmp_path):
    contents = catalogue([GREY, NO_IMAGE, png(8), GREY])

    streamed = load(contents, 16, "skip", cache=tmp_path, limit_mb=0)

    assert isinstance(streamed.images, Streamed)
    assert torch.equal(streamed.images[torch.arange(3)], load(contents, 16, "skip").images)
    assert not list(tmp_path.rglob("*.u8"))


def test_without_an_unreadable_image_the_region_of_each_other_is_still_found():
    contents = dataclasses.replace(
        catalogue([GREY, NO_IMAGE, GREY, GREY], labels=[0, 0, 1, 1]),
        region=lambda i: None if i == 2 else np.full((3, 3), i > 0),
    )

    loaded = load(contents, 16, "skip")

    assert not loaded.region(0).any()
    assert loaded.region(1) is None
    assert loaded.region(2).all()
    assert load(catalogue([GREY, GREY]), 16).region is None
