import io
import random

import pytest
from PIL import Image

from proxy_attention.data.folder import list_folder
from proxy_attention.data.integrity import (
    BROKEN,
    CONFLICT,
    DUPLICATE,
    FAULTS,
    KINDS,
    LEAK,
    NO_IMAGE,
    POSSIBLE_LEAK,
    Finding,
    check,
    stray_files,
)
from proxy_attention.data.sources import open_sample


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


def test_nothing_is_found_in_the_embedded_sample():
    assert check(open_sample()) == []


def test_what_can_be_found_is_told_and_the_faults_come_first():
    assert tuple(KINDS)[: len(FAULTS)] == FAULTS
    assert {BROKEN, NO_IMAGE, LEAK, POSSIBLE_LEAK, DUPLICATE, CONFLICT} == set(KINDS)


@pytest.mark.parametrize("options", [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})])
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

    assert found_in(root) == [Finding(BROKEN, f"train/{folder.name}/empty.png", "empty")]


def test_a_file_beside_the_folders_or_a_hidden_one_does_not_lie_among_the_images(one_class):
    root, folder, _ = one_class
    (root / "LICENSE.txt").write_text("free")
    (folder / ".DS_Store").write_text("x")

    assert found_in(root) == []


def test_a_data_set_of_its_own_layout_is_searched_where_its_images_lie(tmp_path):
    for name in ("set/images/a.jpg", "set/images/a.mat", "set/lists/train.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert stray_files(tmp_path, ["images/a.jpg"]) == ["images/a.mat"]
    assert stray_files(tmp_path, ["set/images/a.jpg"]) == ["set/images/a.mat"]
    assert stray_files(tmp_path, ["data_batch_1/00000"]) == []


def test_the_same_pixels_in_train_and_test_are_a_leak_in_whatever_format(one_class):
    root, folder, file = one_class
    with Image.open(file) as image:
        image.convert("RGB").save(root / "test" / folder.name / "other.bmp")

    assert found_in(root) == [
        Finding(LEAK, f"test/{folder.name}/other.bmp", file.relative_to(root).as_posix()),
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

    assert found == Finding(DUPLICATE, f"train/{folder.name}/zz.png", file.relative_to(root).as_posix())
    assert DUPLICATE not in FAULTS


def test_without_a_split_of_its_own_every_duplicate_may_leak(one_class):
    root, folder, file = one_class
    (folder / "zz.png").write_bytes(file.read_bytes())

    found = found_in(root / "train")

    assert found == [Finding(POSSIBLE_LEAK, f"{folder.name}/zz.png", file.relative_to(root / "train").as_posix())]


def test_the_same_image_under_two_classes_is_told_beside_what_else_it_is(one_class):
    root, folder, file = one_class
    other = next(place for place in sorted((root / "test").iterdir()) if place.name != folder.name)
    (other / "zz.png").write_bytes(file.read_bytes())
    name, first = f"test/{other.name}/zz.png", file.relative_to(root).as_posix()

    assert found_in(root) == [Finding(LEAK, name, first), Finding(CONFLICT, name, first)]


def test_an_image_that_cannot_be_opened_is_broken(one_class):
    root, folder, _ = one_class
    (folder / "gone.png").symlink_to("nowhere.png")

    assert found_in(root) == [Finding(BROKEN, f"train/{folder.name}/gone.png", "No such file or directory")]


def test_progress_ends_at_the_number_of_images(image_folder):
    seen = []

    check(list_folder(image_folder), progress=lambda done, total: seen.append((done, total)))

    assert seen == [(32, 56), (56, 56)]
