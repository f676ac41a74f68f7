import dataclasses
import io
import random

import cv2
import numpy as np
import pytest
from layout_trees import TREES
from PIL import Image

from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.folder import list_all, list_folder
from proxy_attention.data.sources import open_source
from proxy_attention.data.tools.integrity import (
    BROKEN,
    CONFLICT,
    DUPLICATE,
    FAULTS,
    FLAT,
    KINDS,
    LEAK,
    NO_IMAGE,
    POSSIBLE_LEAK,
    Issue,
    check,
    stray_files,
    unlisted_images,
)


def found_in(root):
    return check(list_folder(root), stray_files(root))


def encoded(image, form, **options):
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


@pytest.fixture
def picture(own_images):
    """A real image, large enough to be cut in many places."""
    with Image.open(next(own_images.rglob("*.png"))) as image:
        return image.convert("RGB").resize((96, 96), Image.Resampling.BICUBIC)


@pytest.fixture
def one_class(own_images):
    """(root, a folder of training images, one of its files)."""
    file = sorted(own_images.glob("train/*/*.png"))[0]
    return own_images, file.parent, file


def test_nothing_is_found_where_nothing_is_wrong(image_folder):
    assert found_in(image_folder) == []


def test_an_image_of_sixteen_bits_that_comes_out_flat_is_told_and_none_of_eight_bits(image_folder):
    names = [f"{number}.png" for number in range(4)]
    values = np.resize(np.arange(200), (16, 16))
    colours = cv2.imencode(".png", np.repeat(values[:, :, None] + 300, 3, axis=2).astype(np.uint16))[1].tobytes()
    contents = [encoded(Image.fromarray(part.astype(kind)), "PNG") for part, kind in (
        (values, np.uint16), (values + 60000, np.uint16), (values // 20, np.uint8)
    )]  # fmt: skip
    catalogue = dataclasses.replace(
        list_folder(image_folder),
        names=tuple(names),
        labels=(0, 1, 0, 1),
        own_test=(False,) * 4,
        read=lambda i: [*contents, colours][i],
    )

    found = check(catalogue.with_white_level(65535.0))

    assert found == [
        Issue(FLAT, "0.png", "values of 0 to 0 of 255"),
        Issue(FLAT, "1.png", "values of 233 to 234 of 255"),
        Issue(FLAT, "3.png", "values of 1 to 1 of 255"),
    ]


def test_nothing_is_found_in_the_embedded_sample():
    assert check(open_sample()) == []


def test_what_can_be_found_is_told_and_the_faults_come_first():
    assert tuple(KINDS)[: len(FAULTS)] == FAULTS
    assert {BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK, DUPLICATE, CONFLICT, FLAT} == set(KINDS)


@pytest.mark.parametrize(
    "options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("GIF", {}), ("WEBP", {})]
)
def test_a_file_that_ends_too_early_is_broken_wherever_it_was_cut(options, one_class, picture):
    form, more = options
    root, folder, _ = one_class
    whole = encoded(picture, form, **more)
    cuts = {1, 2, 4, 8, 12, 13, 16, 20, *random.Random(0).sample(range(1, len(whole) - 20), 20)}
    for cut in cuts:
        (folder / f"cut_{cut}.jpg").write_bytes(whole[:-cut])

    found = found_in(root)

    assert [(one.kind, one.file) for one in found] == sorted(
        (BROKEN, f"train/{folder.name}/cut_{cut}.jpg") for cut in cuts
    )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_of_which_the_header_alone_is_left_is_broken_and_no_text(form, one_class, picture):
    root, folder, _ = one_class
    (folder / "cut.png").write_bytes(encoded(picture, form)[:30])

    assert [one.kind for one in found_in(root)] == [BROKEN]


def test_a_whole_file_with_something_behind_its_end_is_whole(one_class, picture):
    root, folder, _ = one_class
    (folder / "more.jpg").write_bytes(encoded(picture, "JPEG") + b"\0" * 9)
    (folder / "more.png").write_bytes(encoded(picture.rotate(90), "PNG") + b"camera notes")
    (folder / "more.gif").write_bytes(encoded(picture.rotate(180), "GIF") + b"\0")

    assert found_in(root) == []


def test_a_thumbnail_inside_a_photo_does_not_end_it(one_class, picture):
    root, folder, _ = one_class
    thumbnail = encoded(picture.resize((16, 16)), "JPEG")
    exif = b"Exif\0\0" + thumbnail
    content = encoded(picture, "JPEG", exif=exif)
    (folder / "photo.jpg").write_bytes(content)
    assert found_in(root) == []

    (folder / "photo.jpg").write_bytes(content[:-400])
    assert [one.kind for one in found_in(root)] == [BROKEN]


def test_a_changed_byte_among_the_pixels_of_a_png_file_is_found(one_class, picture):
    root, folder, _ = one_class
    content = bytearray(encoded(picture, "PNG", compress_level=0))
    content[5000] ^= 1
    (folder / "changed.png").write_bytes(content)

    (found,) = found_in(root)

    assert found.kind == BROKEN


@pytest.mark.parametrize("name", ["notes.txt", "picture.jpg"])
def test_text_among_the_images_is_found_whatever_it_is_called(name, one_class):
    root, folder, _ = one_class
    (folder / name).write_text("Remember to buy milk.\n")

    (found,) = found_in(root)

    assert (found.kind, found.file) == (NO_IMAGE, f"train/{folder.name}/{name}")


def test_an_empty_image_is_broken(one_class):
    root, folder, _ = one_class
    (folder / "empty.png").touch()

    assert found_in(root) == [Issue(BROKEN, f"train/{folder.name}/empty.png", "empty")]


def test_a_file_beside_the_folders_or_a_hidden_one_does_not_lie_among_the_images(one_class):
    root, folder, _ = one_class
    (root / "LICENSE.txt").write_text("free")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_text("x")
    for name in ("__MACOSX", "@eaDir"):
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("x")

    assert found_in(root) == []


def test_a_data_set_of_its_own_layout_is_searched_where_its_images_lie(tmp_path):
    for name in ("set/images/a.jpg", "set/images/a.mat", "set/lists/train.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert stray_files(tmp_path, ["images/a.jpg"]) == ["images/a.mat"]
    assert stray_files(tmp_path, ["set/images/a.jpg"]) == ["set/images/a.mat"]
    assert stray_files(tmp_path, ["data_batch_1/00000"]) == []
    assert stray_files(tmp_path / "set" / "images", ["images/a.jpg"]) == ["images/a.mat"]
    assert stray_files(tmp_path, ["images/a.jpg"], shipped=["*.mat"]) == []


def test_the_same_pixels_in_train_and_test_are_a_leak_in_whatever_format(one_class):
    root, folder, file = one_class
    with Image.open(file) as image:
        image.convert("RGB").save(root / "test" / folder.name / "other.bmp")

    assert found_in(root) == [
        Issue(LEAK, f"test/{folder.name}/other.bmp", file.relative_to(root).as_posix()),
    ]


def test_the_same_bytes_in_another_shape_are_another_image(tmp_path):
    pixels = bytes(range(24))
    for cls, size in (("a", (2, 4)), ("b", (4, 2))):
        (tmp_path / cls).mkdir()
        Image.frombytes("RGB", size, pixels).save(tmp_path / cls / "x.png")

    assert found_in(tmp_path) == []


def test_the_same_image_twice_within_a_split_is_for_information(one_class):
    root, folder, file = one_class
    (folder / "zz.png").write_bytes(file.read_bytes())

    (found,) = found_in(root)

    assert found == Issue(DUPLICATE, f"train/{folder.name}/zz.png", file.relative_to(root).as_posix())
    assert DUPLICATE not in FAULTS


def test_without_a_split_of_its_own_every_duplicate_may_leak(one_class):
    root, folder, file = one_class
    (folder / "zz.png").write_bytes(file.read_bytes())

    found = found_in(root / "train")

    assert found == [Issue(POSSIBLE_LEAK, f"{folder.name}/zz.png", file.relative_to(root / "train").as_posix())]


def test_the_same_image_under_two_classes_is_told_once_as_the_worst_that_it_is(one_class):
    root, folder, file = one_class
    train, test = (
        next(place for place in sorted((root / split).iterdir()) if place.name != folder.name)
        for split in ("train", "test")
    )
    (test / "zz.png").write_bytes(file.read_bytes())
    first, leaked = file.relative_to(root).as_posix(), f"test/{test.name}/zz.png"
    assert found_in(root) == [Issue(LEAK, leaked, first)]

    (train / "zz.png").write_bytes(file.read_bytes())
    (test / "zzz.png").write_bytes(file.read_bytes())

    assert found_in(root) == [
        Issue(LEAK, leaked, first),
        Issue(LEAK, f"test/{test.name}/zzz.png", first),
        Issue(CONFLICT, f"train/{train.name}/zz.png", first),
    ]


def test_without_a_split_of_its_own_the_same_image_under_two_classes_is_told_once(one_class):
    root, folder, file = one_class
    other = next(place for place in sorted((root / "train").iterdir()) if place.name != folder.name)
    (other / "zz.png").write_bytes(file.read_bytes())

    assert [one.kind for one in found_in(root / "train")] == [POSSIBLE_LEAK]


def test_of_three_splits_each_two_may_leak(one_class):
    root, folder, file = one_class
    own = sorted((root / "test" / folder.name).iterdir())[0]
    (root / "val").mkdir()
    for name, content in (("a.png", file), ("b.png", own)):
        (root / "val" / name).write_bytes(content.read_bytes())
    catalogue, splits = list_all(root)

    found = check(catalogue, splits=splits)

    names = [path.relative_to(root).as_posix() for path in (file, own)]
    assert found == [Issue(LEAK, names[1], "val/b.png"), Issue(LEAK, "val/a.png", names[0])]


def test_an_image_that_cannot_be_opened_is_broken(one_class):
    root, folder, _ = one_class
    (folder / "gone.png").symlink_to("nowhere.png")

    assert found_in(root) == [Issue(BROKEN, f"train/{folder.name}/gone.png", "No such file or directory")]


def test_progress_ends_at_the_number_of_images(image_folder):
    seen = []

    check(list_folder(image_folder), progress=lambda done, total: seen.append((done, total)))

    assert seen == [(32, 56), (56, 56)]


@pytest.mark.parametrize("below", ["", "a", "a/b", "a/b/c"])
def test_images_of_a_named_data_set_are_searched_as_deep_as_a_layout_may_lie(below, tmp_path):
    top = tmp_path / below
    for name in ("images/a.jpg", "images/a.txt"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()

    assert stray_files(tmp_path, ["images/a.jpg"]) == ["images/a.txt"]


def test_an_animation_is_whole_up_to_its_trailer(one_class, picture):
    root, folder, _ = one_class
    moving = {"save_all": True, "append_images": [picture.rotate(30), picture.rotate(60)], "comment": b"three"}
    content = encoded(picture, "GIF", **moving)
    (folder / "moving.gif").write_bytes(content)
    assert found_in(root) == []

    (folder / "moving.gif").write_bytes(content[:-1])
    assert found_in(root) == [
        Issue(BROKEN, f"train/{folder.name}/moving.gif", "truncated: a GIF file without its trailer")
    ]


def test_of_images_that_no_list_names_only_the_broken_are_told(tmp_path, picture):
    root = tmp_path / "pets"
    TREES["oxford-iiit-pets"](root)
    catalogue = open_source("oxford-iiit-pets", root)
    assert unlisted_images(root, catalogue, catalogue.names) is None
    content = encoded(picture, "JPEG")
    for name, found in (("again_1", (root / catalogue.names[0]).read_bytes()), ("cut_1", content[:-9])):
        (root / "images" / f"{name}.jpg").write_bytes(found)

    found = check(catalogue, unlisted=unlisted_images(root, catalogue, catalogue.names))

    assert [(one.kind, one.file) for one in found] == [(BROKEN, "images/cut_1.jpg")]
