import shutil

import numpy as np
import pytest
from layout_checks import CLASSES, add_line, find_file, refusal
from layout_trees import TEST, TREES, save_dogs, split_folders, tsinghua_dogs, write
from scipy.io import savemat

from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source


@pytest.fixture
def tree(tmp_path):
    """Build a data set's tree; returns its root."""

    def build(dataset):
        TREES[dataset](tmp_path / "root")
        return tmp_path / "root"

    return build


@pytest.mark.parametrize("listed", ["../x.jpg", "/etc/passwd", "n1-a/\nb.jpg"])
def test_a_path_in_a_matlab_list_may_not_leave_the_data_root(listed, tree):
    root = tree("stanford-dogs")
    save_dogs(root / "train_list.mat", [listed])

    assert f"train_list.mat must name files below the data root; got {listed!r}" in refusal("stanford-dogs", root)


def test_a_wordnet_number_may_not_leave_the_data_root(tree):
    root = tree("tiny-imagenet")
    write(root / "tiny-imagenet-200" / "wnids.txt", ["../../x"])

    assert "wnids.txt must name files below the data root" in refusal("tiny-imagenet", root)


DAMAGED = {
    "places365, fields": ("places365", "places365_val.txt", "Places365_val_00000099.jpg", "must be <path> <class>"),
    "places365, class": ("places365", "places365_val.txt", "Places365_val_00000099.jpg 2", "class of categories"),
    "places365, number": ("places365", "places365_val.txt", "Places365_val_00000099.jpg x", "whole number"),
    "pets, fields": ("oxford-iiit-pets", "test.txt", "Abyssinian_9 1 1", "must be <image> <class>"),
    "pets, number": ("oxford-iiit-pets", "test.txt", "Abyssinian_9 one 1 1", "whole number"),
    "pets, class": ("oxford-iiit-pets", "test.txt", "Abyssinian_9 2 1 1", "<Breed>_<n> of its class"),
    "pets, name": ("oxford-iiit-pets", "test.txt", "Abyssinian 1 1 1", "<Breed>_<n> of its class"),
    "tiny, fields": ("tiny-imagenet", "val_annotations.txt", "val_99.JPEG", "must be <image> <wnid>"),
    "tiny, class": ("tiny-imagenet", "val_annotations.txt", "val_99.JPEG\tn1\t0\t0\t1\t1", "class of wnids.txt"),
    "food, class": ("food101", "test.txt", "toast/1", "class of classes.txt"),
    "cub, fields": ("cub200", "images.txt", "11", "must be <image> <path>"),
    "cub, class": ("cub200", "image_class_labels.txt", "11 3", "class of classes.txt"),
    "cub, split": ("cub200", "train_test_split.txt", "11 2", "0 or 1"),
    "cub, twice": ("cub200", "image_class_labels.txt", "1 1", "a number of its own"),
    "cub, unknown": ("cub200", "images.txt", "11 001.Black_footed_Albatross/x.jpg", "with a class and a split"),
    "cub, box": ("cub200", "bounding_boxes.txt", "11 1 2 3 wide", "four numbers"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_line_of_a_list_is_named_with_its_file_and_number(case, tree):
    dataset, file, line, law = DAMAGED[case]
    root = tree(dataset)
    path = find_file(root, file)
    number = len(path.read_text().splitlines()) + 1
    add_line(path, line)

    text = refusal(dataset, root)

    assert text.startswith(f"{file}, line {number}, must ")
    assert law in text


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_may_also_be_a_folder_of_images(dataset, tmp_path):
    split_folders(tmp_path, CLASSES[dataset])

    catalogue = open_source(dataset, tmp_path)

    assert catalogue.classes == CLASSES[dataset]
    assert sum(catalogue.own_test) == 2 * TEST


def without_test(root):
    shutil.rmtree(root / "test")


def called_val(root):
    (root / "test").rename(root / "val")


@pytest.mark.parametrize("change", [without_test, called_val])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "fer2013"])
def test_a_folder_of_images_must_not_lack_the_test_that_its_row_promises(dataset, change, tmp_path):
    split_folders(tmp_path, CLASSES[dataset][:2])
    change(tmp_path)

    assert SOURCES[dataset].split == "its own train and test"
    assert refusal(dataset, tmp_path) == f"data root must hold train and test; {str(tmp_path)!r} has no test"


def test_fer_may_also_be_a_folder_of_images(tmp_path):
    split_folders(tmp_path, ("angry", "disgust"))

    assert open_source("fer2013", tmp_path).classes == ("angry", "disgust")


def test_flowers_keep_their_own_test_and_train_on_their_validation_images_too(tree):
    catalogue = open_source("flowers102", tree("flowers102"))

    tested = {name for name, own in zip(catalogue.names, catalogue.own_test, strict=True) if own}
    assert tested == {f"jpg/image_{i:05d}.jpg" for i in range(1, 5)}


def test_a_number_of_no_image_in_the_lists_of_the_flowers_is_refused(tree):
    root = tree("flowers102")
    savemat(root / "setid.mat", {"trnid": [[1, 11]], "valid": [[2]], "tstid": [[3]]})

    assert refusal("flowers102", root) == "setid.mat must number the 10 images of imagelabels.mat; got 11"


def test_two_folders_that_differ_only_in_their_number_are_two_classes(tree):
    root = tree("caltech256")
    shutil.copytree(root / "256_ObjectCategories" / "001.ak47", root / "256_ObjectCategories" / "003.ak47")

    assert open_source("caltech256", root).classes == ("001.ak47", "003.ak47", "american-flag")


def test_places_may_lie_where_torchvision_puts_it(tree):
    root = tree("places365")
    (root / "data_256").rename(root / "data_256_standard")

    assert open_source("places365", root).names[0] == "data_256_standard/a/airfield/00000001.jpg"


@pytest.mark.parametrize("lists", ["TrainValSplit", "TrainValSplit/TrainAndValList"])
def test_the_lists_of_tsinghua_dogs_may_lie_where_their_archive_unpacks_to(lists, tmp_path):
    tsinghua_dogs(tmp_path, lists)

    assert sum(open_source("tsinghua-dogs", tmp_path).own_test) == 2 * TEST


def test_a_bounding_box_is_the_region_of_a_bird(tree):
    region = open_source("cub200", tree("cub200")).region(0)

    expected = np.zeros((30, 40), dtype=bool)
    expected[6:14, 4:14] = True
    np.testing.assert_array_equal(region, expected)


def test_birds_without_bounding_boxes_have_no_regions(tree):
    root = tree("cub200")
    path = find_file(root, "bounding_boxes.txt")
    path.write_text(path.read_text().split("\n", 1)[1])
    assert open_source("cub200", root).region(0) is None

    path.unlink()
    assert open_source("cub200", root).region is None


def test_the_pet_and_its_border_are_its_region_and_one_without_a_trimap_has_none(tree):
    catalogue = open_source("oxford-iiit-pets", tree("oxford-iiit-pets"))

    assert catalogue.region(0) is None
    region = catalogue.region(1)
    assert region[:, :21].all()
    assert not region[:, 21:].any()


def test_the_table_of_fer_may_have_either_name(tree):
    root = tree("fer2013")
    before = open_source("fer2013", root)
    (root / "fer2013.csv").rename(root / "icml_face_data.csv")

    assert open_source("fer2013", root).names == before.names
