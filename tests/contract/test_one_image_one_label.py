"""A study, a check and a prediction find the same images with the same classes, and name the same other files."""

import io
import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from proxy_attention.config import TrialConfig
from proxy_attention.data.folder import list_folder
from proxy_attention.data.labels import LABEL_FUNCTIONS
from proxy_attention.errors import DataError
from study.data import main
from study.inference.user_images import find_images, true_class
from study.planning.study_data import StudyData


def encoded(form, value=0):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 10, value)).save(buffer, form)
    return buffer.getvalue()


FORMS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "PPM")
"""Formats that are read."""

CONTENTS = {form: encoded(form) for form in FORMS} | {
    "text": b"Remember.",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "nothing": b"",
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
}
FOLDERS = ("cat", "Café", unicodedata.normalize("NFD", "Café"), "in", "out", "1.dog", "train", ".cache", "caf\udce9")
FILES = ("a_1", "b_2", "Thumbs", ".hidden")
ENDINGS = (".jpg", ".jfif", ".avif", ".png", "", ".heic", ".txt", ".db", ".dat")

TREES = st.dictionaries(
    st.tuples(
        st.lists(st.sampled_from(FOLDERS), max_size=3).map(tuple), st.sampled_from(FILES), st.sampled_from(ENDINGS)
    ),
    st.sampled_from(tuple(CONTENTS)),
    min_size=1,
    max_size=9,
)


def lay(root, tree):
    """Write the files of a tree; a file whose name is a folder's is left out."""
    for (folders, stem, ending), kind in tree.items():
        folder = root.joinpath(*folders)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / (stem + ending)).is_dir():
            (folder / (stem + ending)).write_bytes(CONTENTS[kind])


def visible(root):
    """Every file that is not hidden, relative to the root."""
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return {
        path.as_posix() for path in paths if not any(part.startswith(".") or part == "Thumbs.db" for part in path.parts)
    }


def predicted(root, name):
    """(each image below the root with its class, the other files) as a prediction finds them."""
    config, others = TrialConfig(dataset="folder", label_function=name), []
    catalogue = list_folder(root, name)
    images = find_images([str(root)], others=others)
    labels = {
        image.path.relative_to(root).as_posix(): true_class(image.path, config, catalogue.classes, root)
        for image in images
    }
    return labels, {os.path.relpath(one.name, root) for one in others}


def trained(root, name):
    """The same as a study finds them."""
    config = TrialConfig(dataset="folder", label_function=name)
    catalogue = StudyData(root)._catalogue(config)
    labels = {n: catalogue.classes[i] for n, i in zip(catalogue.names, catalogue.labels, strict=True)}
    return labels, {one.name for one in catalogue.others}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tree=TREES, name=st.sampled_from(tuple(LABEL_FUNCTIONS)))
def test_any_tree_is_read_alike_by_a_study_and_a_prediction_or_refused_in_a_line(tmp_path_factory, tree, name):
    root = tmp_path_factory.mktemp("tree")
    lay(root, tree)
    try:
        labels, others = trained(root, name)
    except DataError as error:
        refused = str(error)
    else:
        assert labels.keys() | others == visible(root)
        assert not labels.keys() & others
        assert len({unicodedata.normalize("NFC", label) for label in labels.values()}) == len(set(labels.values())) >= 2
        assert (labels, others) == predicted(root, name)
        return
    assert "\n" not in refused


@pytest.fixture
def odd(tmp_path):
    """A folder of two classes with an image of every format under a wrong name, and every kind of file that is none."""
    root = tmp_path / "odd"
    for number, form in enumerate(FORMS):
        for cls in ("cat", unicodedata.normalize("NFD", "Café") if number % 2 else "Café"):
            path = root / cls / ("in" if number % 3 else "out") / f"{form}{ENDINGS[number % 5]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(form, 10 * number + len(cls)))
    for name, kind in (("a.txt", "text"), ("b.HEIC", "HEIC"), ("c", "Git LFS"), ("d.dat", "nothing")):
        (root / "cat" / "in" / name).write_bytes(CONTENTS[kind])
    for hidden in (".DS_Store", "Thumbs.db", "@eaDir/1.jpg"):
        (root / "cat" / hidden).parent.mkdir(exist_ok=True)
        (root / "cat" / hidden).write_bytes(b"of the system")
    (root / "cat" / "in" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(encoded("JPEG", 255))
    return root


def test_a_folder_with_every_oddity_is_one_to_all_three_commands(odd, capsys):
    labels, others = trained(odd, "top-folder")

    assert (labels, others) == predicted(odd, "top-folder")
    assert sorted(set(labels.values())) == ["Café", "cat"]
    assert others == {"cat/in/a.txt", "cat/in/b.HEIC", "cat/in/c", "cat/in/d.dat"}
    assert main(["check", str(odd), "--label-function", "top-folder"]) == 1
    out = capsys.readouterr().out
    assert f"{len(labels)} images read, 2 classes" in out
    assert out.count("no image  ") == len(others) == 4
    for told in ("HEIC, which is not read: convert it", "a Git LFS pointer, not the image itself: git lfs pull"):
        assert told in out


def test_a_folder_that_would_be_labelled_by_accident_is_refused_by_all_who_would_train_on_it(odd, capsys):
    with pytest.raises(DataError, match=r"'in' is '.*/in' and 'cat/in' \(label_function = top-folder would"):
        trained(odd, "parent-folder")

    assert main(["check", str(odd)]) == 1
    assert "no study trains on it as it lies: a class must lie in one place; 'in'" in capsys.readouterr().out


def test_the_top_of_images_elsewhere_is_the_nearest_folder_that_is_a_class():
    config = TrialConfig(dataset="folder", label_function="top-folder")

    assert true_class(Path("/home/dog/photos/cat/in/1.png"), config, ("cat", "dog"), Path("/data")) == "cat"
