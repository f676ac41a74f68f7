"""What is missing or damaged in the layout of a data set is named in one line, whichever data set it is."""

import shutil

import pytest
from layout_checks import CLASSES, add_line, find_file, refusal
from layout_trees import TRAIN, TREES, write

from proxy_attention.data.sources import open_source

LISTS = {
    "cifar10": ["batches.meta.txt", "data_batch_3.bin", "test_batch.bin"],
    "cifar100": ["fine_label_names.txt", "test.bin"],
    "places365": ["categories_places365.txt", "places365_train_standard.txt", "places365_val.txt"],
    "stanford-dogs": ["train_list.mat", "test_list.mat"],
    "tsinghua-dogs": ["train.lst", "validation.lst"],
    "oxford-iiit-pets": ["trainval.txt", "test.txt"],
    "tiny-imagenet": ["wnids.txt", "words.txt", "val_annotations.txt"],
    "food101": ["classes.txt", "train.txt", "test.txt"],
    "flowers102": ["imagelabels.mat", "setid.mat"],
    "fer2013": ["fer2013.csv"],
    "waterbirds": ["metadata.csv"],
    "cub200": ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"],
}
"""The label files of each data set that has any."""

FILES = [(dataset, file) for dataset, files in LISTS.items() for file in files]
RECORDS = {"cifar10", "cifar100", "fer2013"}
"""Not a file an image."""
ESCAPES = {
    "places365": ("places365_train_standard.txt", "{} 0"),
    "tsinghua-dogs": ("train.lst", "{}"),
    "oxford-iiit-pets": ("trainval.txt", "{} 1 1 1"),
    "tiny-imagenet": ("val_annotations.txt", "{}\tn01443537\t0\t0\t1\t1"),
    "food101": ("train.txt", "{}"),
    "cub200": ("images.txt", "11 {}"),
    "waterbirds": ("metadata.csv", "17,{},0,0,0,/o/ocean/00000000.jpg"),
}
"""Of each data set whose lists hold paths: a list, and a line of it for a path."""

EMPTIED = {
    "caltech101": "101_ObjectCategories/airplanes",
    "caltech256": "256_ObjectCategories/002.american-flag",
    "imagenette": "imagenette2-320/val/n02102040",
    "imagewoof": "imagewoof2-320/train/n02087394",
    "tiny-imagenet": "tiny-imagenet-200/train/n02012849/images",
    "asl-alphabet": "asl_alphabet_train/asl_alphabet_train/del",
    "plant-village": "raw/color/Apple___Apple_scab",
    "folder": "train/cat",
}


@pytest.fixture
def tree(tmp_path):
    """Build a data set's tree; returns its root."""

    def build(dataset):
        TREES[dataset](tmp_path / "root")
        return tmp_path / "root"

    return build


@pytest.mark.parametrize(("dataset", "file"), FILES)
def test_a_missing_label_file_is_named(dataset, file, tree):
    root = tree(dataset)
    find_file(root, file).unlink()

    assert file in refusal(dataset, root)


@pytest.mark.parametrize(("dataset", "file"), [pair for pair in FILES if not pair[1].endswith(".bin")])
def test_a_label_file_that_is_no_text_and_no_matlab_file_is_named(dataset, file, tree):
    root = tree(dataset)
    find_file(root, file).write_bytes(b"\xff\xfe\x00\x01 not what it should be \xff")

    assert file in refusal(dataset, root)


@pytest.mark.parametrize("listed", ["../x", "images/../../x", "a\\..\\x"])
@pytest.mark.parametrize("dataset", ESCAPES)
def test_a_listed_path_that_leaves_the_data_root_is_refused(dataset, listed, tree):
    root = tree(dataset)
    file, line = ESCAPES[dataset]
    add_line(find_file(root, file), line.format(listed))

    assert f"{file}, line " in (text := refusal(dataset, root))
    assert "must name files below the data root" in text
    assert listed.replace("\\", "\\\\") in text


@pytest.mark.parametrize("dataset", sorted(set(ESCAPES) - {"places365"}))  # its own paths start so, below its folder
def test_an_absolute_listed_path_is_refused(dataset, tree):
    root = tree(dataset)
    file, line = ESCAPES[dataset]
    add_line(find_file(root, file), line.format("/etc/passwd"))

    assert "must name files below the data root; got '/etc/passwd" in refusal(dataset, root)


@pytest.mark.parametrize("dataset", sorted(set(LISTS) - RECORDS))
def test_a_listed_image_that_is_missing_is_named(dataset, tree):
    root = tree(dataset)
    catalogue = open_source(dataset, root)
    (file,) = (path for path in root.rglob("*") if path.as_posix().endswith(f"/{catalogue.names[-1]}"))
    file.unlink()

    text = refusal(dataset, root)

    assert f"1 of {len(catalogue.names)} is missing" in text
    assert text.endswith(catalogue.names[-1])


@pytest.mark.parametrize("dataset", EMPTIED)
def test_an_empty_class_folder_is_named(dataset, tree):
    root = tree(dataset)
    shutil.rmtree(root / EMPTIED[dataset])
    (root / EMPTIED[dataset]).mkdir()

    assert "a class folder must hold at least one image" in (text := refusal(dataset, root))
    assert EMPTIED[dataset].rpartition("/")[2] in text


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("places365", "places365_train_standard.txt"),
        ("tsinghua-dogs", "train.lst"),
        ("oxford-iiit-pets", "trainval.txt"),
        ("food101", "train.txt"),
    ],
)
def test_a_class_that_is_only_in_the_test_list_is_named(dataset, file, tree):
    root = tree(dataset)
    path = find_file(root, file)
    write(path, path.read_text(encoding="utf-8-sig").splitlines()[:TRAIN])

    assert f"none is listed for {CLASSES[dataset][1]}" in refusal(dataset, root)
