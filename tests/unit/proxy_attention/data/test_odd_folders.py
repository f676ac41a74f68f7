"""What is an image, what is none and what class it has in folders as they come: any ending, any spelling of a name."""

import io
import os
import unicodedata

import pytest
from PIL import Image

from proxy_attention.data.folder import label_below, list_all, list_folder
from proxy_attention.data.images import load
from proxy_attention.errors import DataError


def put(root, *paths):
    """A small image at each path."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (9, 100, 200)).save(root / path)
    return root


def encoded(form):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, 10)).save(buffer, form)
    return buffer.getvalue()


IMAGES = {
    "1.jfif": "JPEG", "2.jpe": "JPEG", "3.JPG": "JPEG", "4.avif": "AVIF", "5": "PNG", "6.dat": "GIF", "7.jpg": "PNG",
    "8.tmp": "PPM", "9.raw": "TIFF", "10.mpo": "JPEG", "11.x": "WEBP", "12.bin": "BMP", "13.apng": "PNG",
}  # fmt: skip
OTHERS = {
    "a.txt": (b"Remember.", ""),
    "b.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which is not read: convert it to JPEG or PNG"),
    "c.bin": (b"BM is how a letter may begin", ""),
    "d.ppm.txt": (b"P3 of the plan", ""),
    "e.psd": (b"8BPS\0\1", "a Photoshop file, which is not read: export it as PNG"),
    "f": (b"", "the file is empty"),
    "g.svg": (b"<svg/>", "SVG, which has no pixels: export it as PNG"),
}


@pytest.fixture
def odd(tmp_path):
    """A folder of two classes with images of every ending and files that are none."""
    put(tmp_path / "odd", "dog/1.png")
    for name, form in IMAGES.items():
        (tmp_path / "odd" / "cat").mkdir(exist_ok=True)
        (tmp_path / "odd" / "cat" / name).write_bytes(encoded(form))
    for name, (content, _) in OTHERS.items():
        (tmp_path / "odd" / "dog" / name).write_bytes(content)
    return tmp_path / "odd"


@pytest.mark.parametrize("look", [list_folder, lambda root: list_all(root)[0]], ids=["to train on", "to look at"])
def test_what_pillow_reads_is_an_image_whatever_its_name_and_the_rest_is_named(look, odd):
    catalogue = look(odd)

    assert sorted(catalogue.names) == sorted([f"cat/{name}" for name in IMAGES] + ["dog/1.png"])
    assert {one.name: one.reason for one in catalogue.others} == {f"dog/{n}": text for n, (_, text) in OTHERS.items()}
    assert load(catalogue, 16).skipped == ()


def test_a_damaged_image_is_an_image_that_cannot_be_read_whatever_its_name(odd):
    (odd / "cat" / "cut").write_bytes(encoded("PNG")[:40])
    os.mkfifo(odd / "cat" / "pipe")

    with pytest.raises(DataError, match=r"1 of 15 is not: cat/cut \("):
        load(list_folder(odd), 16)
    assert "no regular file" in {one.reason for one in list_folder(odd).others}


def test_a_class_folder_of_other_files_alone_names_them(tmp_path):
    root = put(tmp_path, "cat/1.png", "dog/1.png")
    (root / "eel").mkdir()
    (root / "eel" / "1.heic").write_bytes(OTHERS["b.heic"][0])

    with pytest.raises(DataError, match=r"eel' holds none: 1\.heic \(HEIC, which is not read: convert"):
        list_folder(root)


def test_a_name_is_one_however_train_and_test_spell_it(tmp_path):
    names = [unicodedata.normalize(form, "Café") for form in ("NFC", "NFD")]

    catalogue = list_folder(put(tmp_path, f"train/{names[0]}/1.png", f"test/{names[1]}/1.png", "train/tea/1.png"))

    assert catalogue.classes == (names[0], "tea")
    assert catalogue.labels == (0, 1, 0)


def test_a_class_folder_whose_name_is_no_utf8_is_refused_to_train_on_and_can_be_looked_at(tmp_path):
    root = put(tmp_path, os.fsdecode(b"caf\xe9/1.png"), "tea/1.png")

    with pytest.raises(DataError, match=r"in UTF-8; got 'caf.udce9': rename"):
        list_folder(root)
    assert len(list_all(root)[0].names) == 2


def test_an_image_below_the_root_has_the_label_that_it_is_trained_with(tmp_path):
    flat = put(tmp_path / "flat", "cat/in/1.png", "dog/in/1.png")
    split = put(tmp_path / "split", "train/cat/1.png", "train/dog/1.png", "test/cat/2.png")

    for root, function in ((flat, "top-folder"), (split, "parent-folder"), (split, "top-folder")):
        catalogue = list_folder(root, function)
        for name, label in zip(catalogue.names, catalogue.labels, strict=True):
            assert label_below(root, root / name, function) == catalogue.classes[label]
    assert label_below(flat, split / "train" / "cat" / "1.png", "top-folder") is None
    assert label_below(tmp_path / "gone", split, "top-folder") is None
