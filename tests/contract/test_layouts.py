"""Every data set is opened from a small tree in its publisher's layout, whole and damaged in each way there is."""

import re
import shutil

import layout_trees
import numpy as np
import pytest
from layout_trees import TEST, TRAIN, TREES, picture, save_dogs, write
from PIL import Image
from scipy.io import savemat

from proxy_attention.data.images import load
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from proxy_attention.errors import DataError

ROWS = [name for name, source in SOURCES.items() if source.needs_root]

CLASSES = {
    "cifar10": ("airplane", "automobile"),
    "cifar100": ("apple", "aquarium_fish"),
    "caltech101": ("accordion", "airplanes"),
    "caltech256": ("ak47", "american-flag"),
    "places365": ("airfield", "apartment_building/outdoor"),
    "stanford-dogs": ("Chihuahua", "soft-coated_wheaten_terrier"),
    "tsinghua-dogs": ("Shiba_Dog", "flat_coated-retriever"),
    "oxford-iiit-pets": ("Abyssinian", "american_bulldog"),
    "imagenette": ("English springer", "tench"),
    "imagewoof": ("Rhodesian ridgeback", "Shih-Tzu"),
    "tiny-imagenet": ("crane (n02012849)", "crane (n03126707)", "goldfish"),
    "food101": ("apple_pie", "baby_back_ribs"),
    "flowers102": ("001", "002"),
    "asl-alphabet": ("A", "del"),
    "plant-village": ("Apple___Apple_scab", "Corn_(maize)___healthy"),
    "fer2013": ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    "cub200": ("Black_footed_Albatross", "Laysan_Albatross"),
    "folder": ("cat", "dog"),
}
"""What the trees hold."""

IN_PATH = {
    "caltech101": "/{}/",
    "caltech256": ".{}/",
    "stanford-dogs": "-{}/",
    "tsinghua-dogs": "-{}/",
    "oxford-iiit-pets": "/{}_",
    "food101": "/{}/",
    "asl-alphabet": "/{}/",
    "plant-village": "/{}/",
    "cub200": ".{}/",
    "folder": "/{}/",
}
"""How an image's class stands in its path."""

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
WNIDS = {
    "imagenette": {"n01440764": "tench", "n02102040": "English springer"},
    "imagewoof": {"n02086240": "Shih-Tzu", "n02087394": "Rhodesian ridgeback"},
    "tiny-imagenet": {
        "n01443537": "goldfish",
        "n02012849": "crane (n02012849)",
        "n03126707": "crane (n03126707)",
    },
}


def number_in(name):
    """The last number of a name."""
    return int(re.findall(r"\d+", name)[-1])


def of_place(name):
    """Places tells the class of a validation image in its list alone: the tree numbers those of each class by tens."""
    listed = CLASSES["places365"][number_in(name) // 10]
    return listed if name.startswith("val_256/") else name.split("/", 2)[2].rpartition("/")[0]


def of_tiny(name):
    """As Places."""
    words = WNIDS["tiny-imagenet"]
    return list(words.values())[number_in(name) // 10] if name.startswith("val/") else words[name.split("/")[1]]


CLASS_OF = {
    "cifar10": lambda name: CLASSES["cifar10"][number_in(name) % 2],
    "cifar100": lambda name: CLASSES["cifar100"][number_in(name) % 2],
    "places365": of_place,
    "imagenette": lambda name: WNIDS["imagenette"][name.split("/")[1]],
    "imagewoof": lambda name: WNIDS["imagewoof"][name.split("/")[1]],
    "tiny-imagenet": of_tiny,
    "flowers102": lambda name: ("001", "002")[(number_in(name) - 1) % 2],
    "fer2013": lambda name: EMOTIONS[(number_in(name) - 2) // 5],
}
"""From an image's name in the tree to its class, where that does not stand in its path as it is called."""

WITH_REGIONS = {"oxford-iiit-pets", "cub200"}
RECORDS = {"cifar10", "cifar100", "fer2013"}
"""Not a file an image."""


@pytest.fixture
def tree(tmp_path):
    """Build a data set's tree; returns its root."""

    def build(dataset):
        root = tmp_path / "root"
        TREES[dataset](root)
        return root

    return build


def refusal(dataset, root):
    """What a data set that is not as it should be says: one line."""
    with pytest.raises(DataError) as refused:
        open_source(dataset, root)
    text = str(refused.value)
    assert "\n" not in text
    assert len(text) < 900
    return text


# ---- every row


def test_there_is_a_tree_for_every_data_set_that_lies_elsewhere():
    assert len(ROWS) == 18
    assert set(TREES) == set(CLASSES) == set(ROWS) == {*IN_PATH, *CLASS_OF}
    assert not set(IN_PATH) & set(CLASS_OF)


@pytest.mark.parametrize("dataset", ROWS)
def test_every_image_of_every_layout_has_the_class_that_its_publisher_gives_it(dataset, tree):
    catalogue = open_source(dataset, tree(dataset))

    for name, label in zip(catalogue.names, catalogue.labels, strict=True):
        cls = catalogue.classes[label]
        if dataset in IN_PATH:
            assert IN_PATH[dataset].format(cls) in f"/{name}"
        else:
            assert CLASS_OF[dataset](name) == cls, name


@pytest.mark.parametrize("dataset", ROWS)
def test_every_layout_opens_with_its_classes_and_the_split_that_its_row_states(dataset, tree):
    catalogue = open_source(dataset, tree(dataset))

    assert catalogue.classes == CLASSES[dataset]
    assert len(set(catalogue.names)) == len(catalogue.names)
    drawn = SOURCES[dataset].split.startswith("none")
    train = [label for label, own in zip(catalogue.labels, catalogue.own_test, strict=True) if not own]
    test = [label for label, own in zip(catalogue.labels, catalogue.own_test, strict=True) if own]
    of_each = (TRAIN + TEST, 0) if drawn else (5, 2) if dataset == "cifar10" else (TRAIN, TEST)
    assert np.bincount(train, minlength=len(catalogue.classes)).tolist() == [of_each[0]] * len(catalogue.classes)
    assert np.bincount(test, minlength=len(catalogue.classes)).tolist() == [of_each[1]] * len(catalogue.classes)


@pytest.mark.parametrize("dataset", ROWS)
def test_every_layout_loads_with_every_image_once(dataset, tree):
    loaded = load(open_source(dataset, tree(dataset)), 16)

    assert loaded.images.shape[1:] == (3, 16, 16)
    assert not loaded.skipped
    assert len({image.numpy().tobytes() for image in loaded.images}) == len(loaded)


@pytest.mark.parametrize("dataset", ROWS)
def test_opening_a_data_set_decodes_no_image(dataset, tree):
    root = tree(dataset)
    for path in root.rglob("*"):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
            path.write_bytes(b"no image")

    assert open_source(dataset, root).classes == CLASSES[dataset]


@pytest.mark.parametrize("dataset", ROWS)
def test_a_data_set_tells_regions_as_its_publisher_does_in_the_images_proportions(dataset, tree):
    catalogue = open_source(dataset, tree(dataset))

    assert (catalogue.region is not None) == (dataset in WITH_REGIONS)
    if catalogue.region is not None:
        regions = [catalogue.region(i) for i in range(len(catalogue.names))]
        known = [region for region in regions if region is not None]
        assert len(known) >= len(regions) - 1
        assert all(region.shape == (30, 40) and region.dtype == bool and region.any() for region in known)


@pytest.mark.parametrize("dataset", sorted(set(ROWS) - {"folder"}))
def test_the_root_may_be_the_folder_above(dataset, tmp_path):
    TREES[dataset](tmp_path / dataset)

    above, itself = open_source(dataset, tmp_path), open_source(dataset, tmp_path / dataset)

    assert above.names == itself.names
    assert above.labels == itself.labels


UNPACKED = ["cifar10", "cifar100", "caltech101", "caltech256", "imagenette", "imagewoof", "tiny-imagenet", "food101"]


@pytest.mark.parametrize("dataset", [*UNPACKED, "asl-alphabet", "plant-village", "cub200"])
def test_the_root_may_be_the_folder_that_the_archive_unpacks_to(dataset, tree):
    root = tree(dataset)
    inner = max(
        (child for child in root.iterdir() if child.is_dir()), key=lambda child: child.name == "asl_alphabet_train"
    )

    assert open_source(dataset, inner).labels == open_source(dataset, root).labels


@pytest.mark.parametrize("dataset", ROWS)
def test_a_missing_root_is_refused_in_one_line(dataset, tmp_path):
    assert "data root must be an existing folder; got" in refusal(dataset, tmp_path / "nowhere")


@pytest.mark.parametrize("dataset", ROWS)
def test_an_empty_root_is_refused_in_one_line(dataset, tmp_path):
    assert "must hold" in refusal(dataset, tmp_path)


# ---- what is listed

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
    "cub200": ["images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"],
}
"""The label files of each data set that has any."""

FILES = [(dataset, file) for dataset, files in LISTS.items() for file in files]


def found(root, file):
    """Where a file of this name lies."""
    (path,) = root.rglob(file)
    return path


@pytest.mark.parametrize(("dataset", "file"), FILES)
def test_a_missing_label_file_is_named(dataset, file, tree):
    root = tree(dataset)
    found(root, file).unlink()

    assert file in refusal(dataset, root)


@pytest.mark.parametrize(("dataset", "file"), [pair for pair in FILES if not pair[1].endswith(".bin")])
def test_a_label_file_that_is_no_text_and_no_matlab_file_is_named(dataset, file, tree):
    root = tree(dataset)
    found(root, file).write_bytes(b"\xff\xfe\x00\x01 not what it should be \xff")

    assert file in refusal(dataset, root)


ESCAPES = {
    "places365": ("places365_train_standard.txt", "{} 0"),
    "tsinghua-dogs": ("train.lst", "{}"),
    "oxford-iiit-pets": ("trainval.txt", "{} 1 1 1"),
    "tiny-imagenet": ("val_annotations.txt", "{}\tn01443537\t0\t0\t1\t1"),
    "food101": ("train.txt", "{}"),
    "cub200": ("images.txt", "11 {}"),
}
"""Of each data set whose lists hold paths: a list, and a line of it for a path."""


@pytest.mark.parametrize("listed", ["../x", "images/../../x", "a\\..\\x"])
@pytest.mark.parametrize("dataset", ESCAPES)
def test_a_listed_path_that_leaves_the_data_root_is_refused(dataset, listed, tree):
    root = tree(dataset)
    file, line = ESCAPES[dataset]
    with found(root, file).open("a") as opened:
        opened.write(line.format(listed) + "\n")

    assert f"{file}, line " in (text := refusal(dataset, root))
    assert "must name files below the data root" in text
    assert listed.replace("\\", "\\\\") in text


@pytest.mark.parametrize("dataset", sorted(set(ESCAPES) - {"places365"}))  # its own paths start so, below its folder
def test_an_absolute_listed_path_is_refused(dataset, tree):
    root = tree(dataset)
    file, line = ESCAPES[dataset]
    with found(root, file).open("a") as opened:
        opened.write(line.format("/etc/passwd") + "\n")

    assert "must name files below the data root; got '/etc/passwd" in refusal(dataset, root)


@pytest.mark.parametrize("listed", ["../x.jpg", "/etc/passwd", "n1-a/\nb.jpg"])
def test_a_path_in_a_matlab_list_may_not_leave_the_data_root(listed, tree):
    root = tree("stanford-dogs")
    save_dogs(root / "train_list.mat", [listed])

    assert f"train_list.mat must name files below the data root; got {listed!r}" in refusal("stanford-dogs", root)


def test_a_wordnet_number_may_not_leave_the_data_root(tree):
    root = tree("tiny-imagenet")
    write(root / "tiny-imagenet-200" / "wnids.txt", ["../../x"])

    assert "wnids.txt must name files below the data root" in refusal("tiny-imagenet", root)


@pytest.mark.parametrize("dataset", sorted(set(LISTS) - RECORDS))
def test_a_listed_image_that_is_missing_is_named(dataset, tree):
    root = tree(dataset)
    catalogue = open_source(dataset, root)
    (file,) = (path for path in root.rglob("*") if path.as_posix().endswith(f"/{catalogue.names[-1]}"))
    file.unlink()

    text = refusal(dataset, root)

    assert f"1 of {len(catalogue.names)} is missing" in text
    assert text.endswith(catalogue.names[-1])


def test_of_many_missing_images_the_first_are_named_and_all_are_counted(tree):
    root = tree("food101")
    shutil.rmtree(root / "food-101" / "images")

    assert "10 of 10 are missing" in refusal("food101", root)


def test_an_image_that_is_listed_twice_is_named(tree):
    root = tree("food101")
    with found(root, "test.txt").open("a") as file:
        file.write("apple_pie/1005649\n")

    assert "every image must be listed once; 1 are listed again: images/apple_pie/1005649.jpg" in refusal(
        "food101", root
    )


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
    path = found(root, file)
    number = len(path.read_text().splitlines()) + 1
    with path.open("a") as opened:
        opened.write(line + "\n")

    text = refusal(dataset, root)

    assert text.startswith(f"{file}, line {number}, must ")
    assert law in text


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
    path = found(root, file)
    write(path, path.read_text(encoding="utf-8-sig").splitlines()[:TRAIN])

    assert f"none is listed for {CLASSES[dataset][1]}" in refusal(dataset, root)


# ---- images in large files


def test_a_record_of_cifar_is_read_as_its_pixels(tree):
    for dataset in ("cifar10", "cifar100"):
        root = tree(dataset)
        catalogue = open_source(dataset, root)

        image = catalogue.decode(catalogue.read(1))

        assert image.tobytes() == picture(1, (32, 32)).tobytes()
        assert catalogue.labels[:2] == (0, 1)
        shutil.rmtree(root)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_cifar_may_also_be_a_folder_of_images(dataset, tmp_path):
    getattr(layout_trees, f"{dataset}_images")(tmp_path)

    catalogue = open_source(dataset, tmp_path)

    assert catalogue.classes == CLASSES[dataset]
    assert sum(catalogue.own_test) == 2 * TEST


def without_test(root):
    shutil.rmtree(root / "test")


def called_val(root):
    (root / "test").rename(root / "val")


@pytest.mark.parametrize("change", [without_test, called_val])
@pytest.mark.parametrize("name", ["cifar10_images", "cifar100_images", "fer2013_folders"])
def test_a_folder_of_images_must_not_lack_the_test_that_its_row_promises(name, change, tmp_path):
    dataset = name.partition("_")[0]
    getattr(layout_trees, name)(tmp_path)
    change(tmp_path)

    assert SOURCES[dataset].split == "its own train and test"
    assert refusal(dataset, tmp_path) == f"data root must hold train and test; {str(tmp_path)!r} has no test"


CLASS_FOLDERS = {
    "caltech101": "101_ObjectCategories",
    "caltech256": "256_ObjectCategories",
    "imagenette": "imagenette2-320/train",
    "asl-alphabet": "asl_alphabet_train/asl_alphabet_train",
    "plant-village": "raw/color",
}
"""Where the class folders of a data set without lists lie."""


@pytest.mark.parametrize("dataset", CLASS_FOLDERS)
def test_what_a_system_leaves_beside_the_class_folders_is_no_class(dataset, tree):
    root = tree(dataset)
    before = open_source(dataset, root)
    for left in ("__MACOSX", "@eaDir"):
        (root / CLASS_FOLDERS[dataset] / left).mkdir()
        picture(99).save(root / CLASS_FOLDERS[dataset] / left / "x.jpg")

    assert open_source(dataset, root).names == before.names


def test_a_record_with_a_class_that_has_no_name_is_named(tree):
    root = tree("cifar10")
    path = found(root, "test_batch.bin")
    path.write_bytes(path.read_bytes()[:3073] + b"\7" + bytes(3072))

    assert refusal("cifar10", root) == "test_batch.bin, record 1, must be of one of the 2 classes; got 7"


def test_a_file_of_records_that_is_cut_is_refused(tree):
    root = tree("cifar10")
    path = found(root, "data_batch_2.bin")
    path.write_bytes(path.read_bytes()[:-1])

    assert refusal("cifar10", root) == "data_batch_2.bin must be whole records of 3073 bytes; got 6145 bytes"


def test_records_are_read_one_at_a_time_and_one_that_is_gone_is_unreadable(tree):
    root = tree("cifar10")
    catalogue = open_source("cifar10", root)
    path = found(root, "data_batch_2.bin")
    path.write_bytes(path.read_bytes()[:3073])

    assert catalogue.decode(catalogue.read(2)).size == (32, 32)
    with pytest.raises(OSError, match=r"data_batch_2.bin ends before byte 6146"):
        catalogue.read(3)


def test_a_line_of_fer_is_read_as_its_pixels(tree):
    catalogue = open_source("fer2013", tree("fer2013"))

    number = catalogue.names.index("PublicTest/00035")

    assert catalogue.classes[catalogue.labels[number]] == "neutral"
    expected = picture(63, (48, 48)).convert("L").convert("RGB")
    assert catalogue.decode(catalogue.read(number)).tobytes() == expected.tobytes()


def test_fer_may_have_its_columns_in_the_other_order(tree):
    root = tree("fer2013")
    before = open_source("fer2013", root)
    pixels = [before.read(i) for i in range(5)]
    lines = [line.split(",") for line in (root / "fer2013.csv").read_text().splitlines()]
    write(root / "icml_face_data.csv", [", ".join((lines[0][0], lines[0][2], lines[0][1]))])
    with (root / "icml_face_data.csv").open("a") as file:
        file.writelines(f"{emotion},{usage},{pixels}\n" for emotion, pixels, usage in lines[1:])
    (root / "fer2013.csv").unlink()

    after = open_source("fer2013", root)

    assert after.names == before.names
    assert [after.read(i) for i in range(5)] == pixels


def test_fer_may_also_be_a_folder_of_images(tmp_path):
    layout_trees.fer2013_folders(tmp_path)

    assert open_source("fer2013", tmp_path).classes == ("angry", "disgust")


@pytest.mark.parametrize(
    ("line", "law"),
    [
        ("7,0 0,Training", "must have an emotion of 0 to 6; got '7'"),
        ("0,0 0,Public", "must have a Usage of Training, PublicTest, PrivateTest; got 'Public'"),
        ("0,0 0", "must have 3 fields; got '0,0 0'"),
    ],
)
def test_a_line_of_fer_that_is_none_is_named(line, law, tree):
    root = tree("fer2013")
    with (root / "fer2013.csv").open("a") as file:
        file.write(line + "\n")

    assert refusal("fer2013", root) == f"fer2013.csv, line 37, {law}"


@pytest.mark.parametrize("pixels", ["0 1 2", "256 " + "0 " * 2303, "a " * 2304])
def test_a_line_of_fer_whose_pixels_are_none_is_an_unreadable_image(pixels, tree):
    root = tree("fer2013")
    with (root / "fer2013.csv").open("a") as file:
        file.write(f"0,{pixels.strip()},Training\n")

    assert load(open_source("fer2013", root), 16, "skip").skipped == ("Training/00037",)


# ---- what is particular to one of them


def test_flowers_keep_their_own_test_and_train_on_their_validation_images_too(tree):
    catalogue = open_source("flowers102", tree("flowers102"))

    tested = {name for name, own in zip(catalogue.names, catalogue.own_test, strict=True) if own}
    assert tested == {f"jpg/image_{i:05d}.jpg" for i in range(1, 5)}


def test_a_number_of_no_image_in_the_lists_of_the_flowers_is_refused(tree):
    root = tree("flowers102")
    savemat(root / "setid.mat", {"trnid": [[1, 11]], "valid": [[2]], "tstid": [[3]]})

    assert refusal("flowers102", root) == "setid.mat must number the 10 images of imagelabels.mat; got 11"


def test_labels_of_the_flowers_must_be_whole_numbers(tree):
    root = tree("flowers102")
    savemat(root / "imagelabels.mat", {"labels": np.array([[0.5] * 10])})

    assert refusal("flowers102", root) == "imagelabels.mat must hold whole numbers as labels; got float64"


def test_a_matlab_list_of_numbers_where_names_are_due_is_refused(tree):
    root = tree("stanford-dogs")
    savemat(root / "test_list.mat", {"file_list": np.arange(3)})

    assert refusal("stanford-dogs", root) == "test_list.mat must hold texts as file_list; got '0'"


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
    layout_trees.tsinghua_dogs(tmp_path, lists)

    assert sum(open_source("tsinghua-dogs", tmp_path).own_test) == 2 * TEST


def test_a_bounding_box_is_the_region_of_a_bird(tree):
    region = open_source("cub200", tree("cub200")).region(0)

    expected = np.zeros((30, 40), dtype=bool)
    expected[6:14, 4:14] = True
    np.testing.assert_array_equal(region, expected)


def test_a_bounding_box_is_cut_to_its_image_and_counts_every_pixel_it_touches(tree):
    root = tree("cub200")
    write(found(root, "bounding_boxes.txt"), ["1 -3.0 27.5 8.2 20.0"])

    region = open_source("cub200", root).region(0)

    assert region[27:, :6].all()
    assert region.sum() == 3 * 6


def test_a_bounding_box_outside_its_image_is_refused(tree):
    root = tree("cub200")
    write(found(root, "bounding_boxes.txt"), ["1 40.0 0.0 5.0 5.0"])

    with pytest.raises(
        DataError, match=r"a bounding box must lie in its image of 40 x 30; .*Albatross_0000_796111.jpg"
    ):
        open_source("cub200", root).region(0)


def test_birds_without_bounding_boxes_have_no_regions(tree):
    root = tree("cub200")
    path = found(root, "bounding_boxes.txt")
    path.write_text(path.read_text().split("\n", 1)[1])
    assert open_source("cub200", root).region(0) is None

    path.unlink()
    assert open_source("cub200", root).region is None


def test_the_region_of_a_turned_photograph_is_turned_with_it(tree):
    root = tree("cub200")
    catalogue = open_source("cub200", root)
    path = root / "CUB_200_2011" / catalogue.names[0]
    turned = Image.Exif()
    turned[0x0112] = 6  # shown a quarter turn to the right
    picture(0).save(path, exif=turned)

    region = catalogue.region(0)

    shown = catalogue.decode(catalogue.read(0))
    assert region.shape == (shown.height, shown.width) == (40, 30)
    expected = np.zeros((40, 30), dtype=bool)
    expected[4:14, 30 - 14 : 30 - 6] = True
    np.testing.assert_array_equal(region, expected)


def test_the_pet_and_its_border_are_its_region_and_one_without_a_trimap_has_none(tree):
    catalogue = open_source("oxford-iiit-pets", tree("oxford-iiit-pets"))

    assert catalogue.region(0) is None
    region = catalogue.region(1)
    assert region[:, :21].all()
    assert not region[:, 21:].any()


def test_a_trimap_of_another_size_or_one_that_is_no_image_is_named(tree):
    root = tree("oxford-iiit-pets")
    catalogue = open_source("oxford-iiit-pets", root)
    trimap = root / "annotations" / "trimaps" / "Abyssinian_2.png"

    picture(0, (20, 20)).convert("L").save(trimap)
    with pytest.raises(DataError, match=r"a trimap must be of its image's size, 40 x 30; .*Abyssinian_2.png' is not"):
        catalogue.region(1)
    trimap.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a trimap must be readable; .*Abyssinian_2.png' is not"):
        catalogue.region(1)


def test_an_image_set_without_an_unreadable_image_still_finds_the_region_of_each(tree):
    root = tree("cub200")
    write(found(root, "bounding_boxes.txt"), [f"{i} {i} 0 1 1" for i in range(1, 11)])
    catalogue = open_source("cub200", root)
    (root / "CUB_200_2011" / catalogue.names[2]).write_bytes(b"no image")

    loaded = load(catalogue, 16, "skip")

    assert loaded.skipped == (catalogue.names[2],)
    # columns 1, 2, (3 was skipped,) 6, 7, 8 are of the birds to train with, 4, 5, 9, 10 of those to test with
    columns = [int(loaded.region(i).nonzero()[1][0]) for i in range(len(loaded))]
    assert columns == [1, 2, 6, 7, 8, 4, 5, 9, 10]
