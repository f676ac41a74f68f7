"""Which images are found, how they are named and decoded, and what their paths tell of their class."""

import shutil

import numpy as np
import pytest
from layout_trees import TREES
from PIL import Image

from proxy_attention.config import TrialConfig
from proxy_attention.data.sources import open_source
from proxy_attention.errors import ConfigError
from study.inference.user_images import ImageFile, decode_images, find_images, true_class, with_white_level

# ---- find


def test_folders_are_searched_in_order_without_what_is_hidden_and_each_image_once(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a.jpeg", ".hidden.png", ".cache/1.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "again").symlink_to(tmp_path)

    found = find_images([str(tmp_path / "b" / "2.png"), str(tmp_path)])

    assert [image.name.removeprefix(f"{tmp_path}/") for image in found] == ["b/2.png", "a.jpeg", "b/10.JPG"]


def test_a_file_that_is_named_is_taken_whatever_its_ending(tmp_path):
    (tmp_path / "photo").touch()

    assert [image.path for image in find_images([str(tmp_path / "photo")])] == [tmp_path / "photo"]


def test_under_a_root_images_are_found_and_named_from_there(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").touch()

    for asked in ("cat", "cat/1.png", "."):
        (image,) = find_images([asked], tmp_path)
        assert (image.name, image.path.samefile(tmp_path / "cat" / "1.png")) == ("cat/1.png", True)


def test_a_name_that_is_no_text_is_still_shown(tmp_path):
    (tmp_path / "gr\udce4n.png").touch()

    (image,) = find_images([str(tmp_path)])

    assert image.name.encode().decode().endswith("gr\\xe4n.png")


def test_a_tilde_is_the_home_folder_only_where_it_was_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("home/mine.png", "images/~/1.png", "images/~nobody-here/2.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "images")

    found = {image.name: image.path for given in (".", "~", "./~") for image in find_images([given])}

    assert list(found) == ["~/1.png", "~nobody-here/2.png", "~/mine.png"]
    assert found["~/mine.png"] == tmp_path / "home" / "mine.png"
    assert found["~/1.png"].samefile(tmp_path / "images" / "~" / "1.png")
    assert found["~nobody-here/2.png"].is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gone.png", "IMAGES must be files or folders; there is no 'gone.png'"),
        ("x" * 300, "IMAGES must be files or folders; there is no 'xxx"),
        ("empty", r"the folder 'empty' holds no images \(\.bmp, "),
    ],
)
def test_a_path_without_an_image_is_refused(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match=message):
        find_images([given])


# ---- decode


def test_an_image_is_decoded_once_for_every_size(tmp_path):
    Image.new("L", (7, 5), 90).save(tmp_path / "grey.png")

    (image,) = decode_images([ImageFile("grey.png", tmp_path / "grey.png")], [8, 4, 8])

    assert {size: pixels.shape for size, pixels in image.pixels.items()} == {4: (3, 4, 4), 8: (3, 8, 8)}
    assert all(pixels.dtype == np.uint8 and (pixels == 90).all() for pixels in image.pixels.values())
    assert image.error == ""


def test_an_unreadable_image_has_the_reason_and_the_others_keep_their_places(image_folder, tmp_path):
    sound = next((image_folder / "test" / "dress").iterdir())
    shutil.copy(sound, tmp_path / "1.png")
    (tmp_path / "2.png").touch()
    (tmp_path / "3.png").write_text("no image")
    (tmp_path / "4.png").write_bytes(sound.read_bytes()[:200])
    shutil.copy(sound, tmp_path / "5.png")
    names = [f"{n}.png" for n in range(1, 7)]

    found = list(decode_images([ImageFile(name, tmp_path / name) for name in names], [32]))

    assert [item.image.name for item in found] == names
    assert [bool(item.pixels) for item in found] == [True, False, False, False, True, False]
    errors = [item.error for item in found]
    assert errors[:3] == ["", "the file is empty", "the file is no image, or a damaged one"]
    assert errors[3] == "image file is truncated"
    assert errors[4:] == ["", "FileNotFoundError: No such file or directory"]


def test_an_image_of_more_pixels_than_allowed_has_the_option_as_its_reason(image_folder):
    images = find_images([str(image_folder / "test" / "dress")], max_pixels=1023)

    assert {item.error for item in decode_images(images, [32])} == {"it has 1,024 pixels; --max-pixels allows 1,023"}


def deep(path, highest, kind=np.uint16):
    Image.fromarray(np.resize(np.array([0, highest], kind), (8, 8))).save(path)
    return ImageFile(path.name, path)


def test_an_image_of_sixteen_bits_is_decoded_with_the_white_of_the_training_images(tmp_path):
    (image,) = decode_images([deep(tmp_path / "1.png", 4095)], [8], 65535.0)

    assert image.pixels[8].max() == 15


def test_where_training_images_had_no_white_it_is_that_of_all_images_given(tmp_path):
    images = [deep(tmp_path / "1.png", 4095), deep(tmp_path / "2.png", 273), ImageFile("gone.png", tmp_path / "gone")]

    images, note = with_white_level(images)

    assert [item.pixels[8].max() for item in decode_images(images[:2], [8])] == [255, 17]
    assert note.startswith("4095 (12 bits) is white in the 2 images of 16 or 32 bits")


def test_images_whose_values_do_not_tell_their_white_are_named_and_the_others_decoded(tmp_path):
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
    images = [deep(tmp_path / "1.tif", -5, np.float32), ImageFile("grey.png", tmp_path / "grey.png")]

    images, note = with_white_level(images)
    found = list(decode_images(images, [8]))

    assert [item.error for item in found] == ["its values do not tell which of them is white", ""]
    assert note.endswith("in 1.tif, lie below and reach -5")
    assert with_white_level(images[1:])[1] == ""


# ---- true class

LISTED = {"places365": "Places365_val_", "flowers102": "image_", "tiny-imagenet": ("n0", "val_"), "waterbirds": ""}
"""How the names of files begin whose class stands in a list of the publisher's alone."""

IN_TABLES = {"cifar10", "cifar100", "fer2013"}
"""Data sets that are tables of pixels, without a file for each image."""


@pytest.mark.parametrize("dataset", sorted(set(TREES) - IN_TABLES))
def test_the_class_of_an_image_is_told_by_its_folder_or_name_as_its_publisher_has_it(dataset, tmp_path):
    TREES[dataset](tmp_path)
    catalogue = open_source(dataset, tmp_path)
    config = TrialConfig(dataset=dataset)
    files = {path.as_posix(): path for path in tmp_path.rglob("*.*")}

    for name, label in zip(catalogue.names, catalogue.labels, strict=True):
        (file,) = [path for text, path in files.items() if text.endswith(f"/{name}")]
        listed = file.name.startswith(LISTED.get(dataset, "/"))
        assert true_class(file, config, catalogue.classes) == ("" if listed else catalogue.classes[label])


def test_in_a_folder_data_set_the_label_function_tells_the_class(tmp_path):
    by_folder, by_name = (
        TrialConfig(dataset="folder", label_function=name) for name in ("parent-folder", "file-prefix")
    )
    file = tmp_path / "dogs" / "cats_12.png"

    assert true_class(file, by_folder, ["cats", "dogs"]) == "dogs"
    assert true_class(file, by_name, ["cats", "dogs"]) == "cats"
    assert true_class(file, by_folder, ["birds"]) == ""
