"""Every data set is opened from a small tree in its publisher's layout; what a damaged one says is tested beside."""

import re

import numpy as np
import pytest
from layout_checks import CLASSES, ROWS, refusal
from layout_trees import TEST, TRAIN, TREES, picture

from proxy_attention.data.images import load
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source

IN_PATH = {name: tree.class_in_path for name, tree in TREES.items() if tree.class_in_path}

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
    "waterbirds": lambda name: CLASSES["waterbirds"][int(name.startswith("012."))],
    "fer2013": lambda name: EMOTIONS[(number_in(name) - 2) // 5],
}
"""From an image's name in the tree to its class, where that does not stand in its path as it is called."""

WITH_REGIONS = {"oxford-iiit-pets", "cub200"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A data set's tree, built once; read only."""
    built = {}

    def root(dataset):
        if dataset not in built:
            built[dataset] = tmp_path_factory.mktemp("trees") / dataset
            TREES[dataset](built[dataset])
        return built[dataset]

    return root


@pytest.fixture
def tree(tmp_path):
    """Build a data set's tree, which the test may change; returns its root."""

    def build(dataset):
        TREES[dataset](tmp_path / "root")
        return tmp_path / "root"

    return build


def test_there_is_a_tree_for_every_data_set_that_lies_elsewhere():
    assert len(ROWS) > 15
    assert set(TREES) == set(ROWS) == {*IN_PATH, *CLASS_OF}
    assert not set(IN_PATH) & set(CLASS_OF)


@pytest.mark.parametrize("dataset", ROWS)
def test_every_image_of_every_layout_has_the_class_that_its_publisher_gives_it(dataset, whole):
    catalogue = open_source(dataset, whole(dataset))

    for name, label in zip(catalogue.names, catalogue.labels, strict=True):
        cls = catalogue.classes[label]
        if dataset in IN_PATH:
            assert IN_PATH[dataset].format(cls) in f"/{name}"
        else:
            assert CLASS_OF[dataset](name) == cls, name


@pytest.mark.parametrize("dataset", ROWS)
def test_every_layout_opens_with_its_classes_and_the_split_that_its_row_states(dataset, whole):
    catalogue = open_source(dataset, whole(dataset))

    assert catalogue.classes == CLASSES[dataset]
    assert len(set(catalogue.names)) == len(catalogue.names)
    drawn = SOURCES[dataset].split.startswith("none")
    train, test = (
        [label for image, label in enumerate(catalogue.labels) if catalogue.own_split(image) == split]
        for split in ("train", "test")
    )
    of_each = (TRAIN + TEST, 0) if drawn else (5, 2) if dataset == "cifar10" else (TRAIN, TEST)
    assert np.bincount(train, minlength=len(catalogue.classes)).tolist() == [of_each[0]] * len(catalogue.classes)
    assert np.bincount(test, minlength=len(catalogue.classes)).tolist() == [of_each[1]] * len(catalogue.classes)


@pytest.mark.parametrize("dataset", ROWS)
def test_every_layout_loads_with_every_image_once(dataset, whole):
    loaded = load(open_source(dataset, whole(dataset)), 16)

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
def test_a_data_set_tells_regions_as_its_publisher_does_in_the_images_proportions(dataset, whole):
    catalogue = open_source(dataset, whole(dataset))

    assert (catalogue.region is not None) == (dataset in WITH_REGIONS)
    if catalogue.region is not None:
        regions = [catalogue.region(i) for i in range(len(catalogue.names))]
        known = [region for region in regions if region is not None]
        assert len(known) >= len(regions) - 1
        assert all(region.shape == (30, 40) and region.dtype == bool and region.any() for region in known)


@pytest.mark.parametrize("dataset", sorted(set(ROWS) - {"folder"}))
def test_the_root_may_be_the_folder_above(dataset, whole):
    root = whole(dataset)

    above, itself = open_source(dataset, root.parent), open_source(dataset, root)

    assert above.names == itself.names
    assert above.labels == itself.labels


UNPACKED = ["cifar10", "cifar100", "caltech101", "caltech256", "imagenette", "imagewoof", "tiny-imagenet", "food101"]


@pytest.mark.parametrize("dataset", [*UNPACKED, "asl-alphabet", "plant-village", "cub200"])
def test_the_root_may_be_the_folder_that_the_archive_unpacks_to(dataset, whole):
    root = whole(dataset)
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
