"""Which data sets there are, one row each; knows how to open them, not how they are split or used."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from proxy_attention.data import layouts
from proxy_attention.data.folder import list_folder
from proxy_attention.data.loading import Catalogue
from proxy_attention.errors import ConfigError, DataError, unknown

SAMPLE_SHA256 = "f08d351056d93c7431ac62fdddb02e00904ddfcfadff56b54f8ef1e336b87ce3"
SAMPLE_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot",
)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """A file that is downloaded, and unpacked if it is an archive; as torchvision's own classes state it."""

    url: str
    md5: str
    filename: str


@dataclass(frozen=True)
class Source:
    """A row of the table: how to open the data set, and what to tell a person about it.

    Attributes:
        open: from its place and a label function to its catalogue.
        needs_root: False if it ships inside the package.
        licence: as the publisher says it; "not stated" where that is not.
        home: the publisher's page.
        classes: how many there are; None if they are as found.
        split: whose the split is, in a few words.
        layout: what must lie below its place, as the publisher ships it.
        label: how a class is read off.
        archives: what can be downloaded; empty where it is to be got by hand.
        by_hand: then, where to get it and what to put where.
        beside: patterns of the names of what the publisher ships among the images, and is none.
    """

    open: Callable[[Path | None, str], Catalogue]
    needs_root: bool
    licence: str
    home: str
    classes: int | None
    split: str
    layout: str
    label: str
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""
    beside: tuple[str, ...] = ()

    @property
    def brought(self) -> str:
        """How it comes to its place, for a table."""
        return "download" if self.archives else "by hand" if self.needs_root else "in the package"

    @property
    def class_count(self) -> str:
        """How many classes there are, for a table."""
        return "as found" if self.classes is None else str(self.classes)


def open_sample(root: Path | None = None, label_function: str = "parent-folder") -> Catalogue:
    """The embedded sample: 3,000 training and 1,000 test images of Fashion-MNIST, 28x28 grey, 10 balanced classes.

    Raises: DataError if the file is not, byte for byte, the one that shipped.
    """
    content = files("proxy_attention.data.embedded").joinpath("fashion_mnist_sample.npz").read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SAMPLE_SHA256:
        raise DataError(f"fashion_mnist_sample.npz must have SHA-256 {SAMPLE_SHA256}; got {found} (install again)")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        pixels = np.concatenate([arrays["train_images"], arrays["test_images"]])
        labels = np.concatenate([arrays["train_labels"], arrays["test_labels"]])
        names = [f"{split}/{i:05d}" for split in ("train", "test") for i in arrays[f"{split}_index"]]
        trained = len(arrays["train_labels"])
    return Catalogue(
        names=tuple(names),
        labels=tuple(labels.tolist()),
        own_test=tuple(i >= trained for i in range(len(labels))),
        classes=SAMPLE_CLASSES,
        read=lambda i: pixels[i].tobytes(),
        decode=lambda raw: Image.frombytes("L", (28, 28), raw).convert("RGB"),
        form="28 x 28 grey bytes",
    )


def open_folder(root: Path | None, label_function: str = "parent-folder") -> Catalogue:
    """Any folder of images below ``root``."""
    if root is None:
        raise ConfigError("dataset 'folder' must be given its place (--data-root DIR); got none")
    return list_folder(root, label_function)


def place_of(dataset: str) -> Path:
    """Where a named data set is looked for without ``--data-root``: ``data/<name>`` below this folder, absolute.

    Raises: ConfigError if it is not there.
    """
    place = Path("data") / dataset
    if not place.is_dir():
        raise ConfigError(
            f"dataset {dataset!r} must be given its place (--data-root DIR), or lie in {place}; got none "
            f"(python study/data.py prepare {dataset} --root {place})"
        )
    return place.absolute()


def _published(dataset: str, layout: Callable[[Path], Catalogue], root: Path | None, _: str) -> Catalogue:
    """A data set in its publisher's layout, below ``root`` or below the folder of its name there."""
    root = place_of(dataset) if root is None else root.expanduser().absolute()
    return layout(root / dataset if (root / dataset).is_dir() else root)


def _at(dataset: str, layout: Callable[[Path], Catalogue]) -> Callable[[Path | None, str], Catalogue]:
    return partial(_published, dataset, layout)


def _archive(base: str, path: str, md5: str) -> Archive:
    return Archive(url=base + path, md5=md5, filename=path.rpartition("/")[2])


OWN, DRAWN = "its own train and test", "none: drawn"
VAL_IS_TEST = "its own train and val, of which val is used as test (test labels are not published)"
NO_TEST = "its own train and val, of which val is used as test (there is no other)"
PARENT = "the folder that holds the image"
UNNUMBERED = "the folder that holds the image, without the number before it"
CALTECH, PLACES = "https://data.caltech.edu/records/", "http://data.csail.mit.edu/places/places365/"
OXFORD, TORONTO = "https://www.robots.ox.ac.uk/~vgg/data/", "https://www.cs.toronto.edu/~kriz/"
KAGGLE = "https://www.kaggle.com/datasets/"

# An md5 is the one that torchvision's own class states; of the binary CIFARs, the one on their page; of Tiny-ImageNet
# and CUB, which torchvision lacks, the one on which published loaders agree. Where none is known, there is no archive.
SOURCES: dict[str, Source] = {
    "fashion-mnist-sample": Source(
        open=open_sample,
        needs_root=False,
        licence="MIT",
        home="https://github.com/zalandoresearch/fashion-mnist",
        classes=10,
        split="its own train and test",
        layout="inside the package: 3,000 and 1,000 images, balanced",
        label="the file's label arrays",
    ),
    "cifar10": Source(
        open=_at("cifar10", layouts.cifar10),
        needs_root=True,
        licence="not stated",
        home=f"{TORONTO[:-1]}/cifar.html",
        classes=10,
        split=OWN,
        layout="cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin and batches.meta.txt, or {train,test}/<class>/*",
        label="a byte before the pixels, named in batches.meta.txt",
        archives=(_archive(TORONTO, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
    ),
    "cifar100": Source(
        open=_at("cifar100", layouts.cifar100),
        needs_root=True,
        licence="not stated",
        home=f"{TORONTO[:-1]}/cifar.html",
        classes=100,
        split=OWN,
        layout="cifar-100-binary/{train,test}.bin and fine_label_names.txt, or {train,test}/<class>/*",
        label="the second byte before the pixels (the fine class), named in fine_label_names.txt",
        archives=(_archive(TORONTO, "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),),
    ),
    "caltech101": Source(
        open=_at("caltech101", layouts.caltech101),
        needs_root=True,
        licence="CC BY 4.0",
        home=f"{CALTECH}mzrjq-6wc02",
        classes=101,
        split=DRAWN,
        layout="101_ObjectCategories/<class>/*.jpg (BACKGROUND_Google, which is no class, is left out)",
        label=PARENT,
        archives=(_archive(CALTECH, "mzrjq-6wc02/files/caltech-101.zip", "3138e1922a9193bfa496528edbbc45d0"),),
    ),
    "caltech256": Source(
        open=_at("caltech256", layouts.caltech256),
        needs_root=True,
        licence="not stated",
        home=f"{CALTECH}nyy15-4j048",
        classes=256,
        split=DRAWN,
        layout="256_ObjectCategories/<number>.<class>/*.jpg (257.clutter, which is no class, is left out)",
        label=UNNUMBERED,
        archives=(_archive(CALTECH, "nyy15-4j048/files/256_ObjectCategories.tar", "67b4f42ca05d46448c6bb8ecd2220f6d"),),
        beside=("RENAME2",),
    ),
    "places365": Source(
        open=_at("places365", layouts.places365),
        needs_root=True,
        licence="for non-commercial research and education",
        home="http://places2.csail.mit.edu",
        classes=365,
        split=VAL_IS_TEST,
        layout="data_256/<letter>/<class>/*.jpg, val_256/*.jpg, {categories_places365,places365_train_standard,"
        "places365_val}.txt",
        label="the number after the image in the lists, named in categories_places365.txt",
        archives=(
            _archive(PLACES, "filelist_places365-standard.tar", "35a0585fee1fa656440f3ab298f8479c"),
            _archive(PLACES, "train_256_places365standard.tar", "53ca1c756c3d1e7809517cc47c5561c5"),
            _archive(PLACES, "val_256.tar", "e27b17d8d44f4af9a78502beb927f808"),
        ),
    ),
    "stanford-dogs": Source(
        open=_at("stanford-dogs", layouts.stanford_dogs),
        needs_root=True,
        licence="not stated (the images are ImageNet's)",
        home="http://vision.stanford.edu/aditya86/ImageNetDogs",
        classes=120,
        split=OWN,
        layout="Images/<number>-<breed>/*.jpg, train_list.mat, test_list.mat",
        label=UNNUMBERED,
        by_hand="unpack images.tar and lists.tar of http://vision.stanford.edu/aditya86/ImageNetDogs into DIR: "
        "Images/, train_list.mat, test_list.mat",
    ),
    "tsinghua-dogs": Source(
        open=_at("tsinghua-dogs", layouts.tsinghua_dogs),
        needs_root=True,
        licence="for academic purposes",
        home="https://cg.cs.tsinghua.edu.cn/ThuDogs",
        classes=130,
        split=NO_TEST,
        layout="low-resolution/<count>-<number>-<breed>/*.jpg (or high-resolution), TrainAndValList/"
        "{train,validation}.lst",
        label=UNNUMBERED,
        by_hand="unpack the low-resolution images and TrainValSplit.zip of https://cg.cs.tsinghua.edu.cn/ThuDogs "
        "into DIR: low-resolution/, TrainAndValList/",
    ),
    "oxford-iiit-pets": Source(
        open=_at("oxford-iiit-pets", layouts.oxford_pets),
        needs_root=True,
        licence="CC BY-SA 4.0",
        home=f"{OXFORD}pets",
        classes=37,
        split=OWN,
        layout="images/<Breed>_<n>.jpg, annotations/{trainval,test}.txt, annotations/trimaps/*.png",
        label="the number after the image in the lists, named by the file up to its last underscore",
        archives=(
            _archive(OXFORD, "pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c"),
            _archive(OXFORD, "pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f"),
        ),
        beside=("*.mat",),
    ),
    "imagenette": Source(
        open=_at("imagenette", layouts.imagenette),
        needs_root=True,
        licence="Apache-2.0 (the images are ImageNet's)",
        home="https://github.com/fastai/imagenette",
        classes=10,
        split=NO_TEST,
        layout="imagenette2-320/{train,val}/<wnid>/*.JPEG (or imagenette2, imagenette2-160)",
        label=PARENT,
        archives=(
            _archive(
                "https://s3.amazonaws.com/fast-ai-imageclas/", "imagenette2-320.tgz", "3df6f0d01a2c9592104656642f5e78a3"
            ),
        ),
    ),
    "imagewoof": Source(
        open=_at("imagewoof", layouts.imagewoof),
        needs_root=True,
        licence="Apache-2.0 (the images are ImageNet's)",
        home="https://github.com/fastai/imagenette",
        classes=10,
        split=NO_TEST,
        layout="imagewoof2-320/{train,val}/<wnid>/*.JPEG (or imagewoof2, imagewoof2-160)",
        label=PARENT,
        by_hand="unpack https://s3.amazonaws.com/fast-ai-imageclas/imagewoof2-320.tgz into DIR: "
        "imagewoof2-320/{train,val}/",
    ),
    "tiny-imagenet": Source(
        open=_at("tiny-imagenet", layouts.tiny_imagenet),
        needs_root=True,
        licence="not stated (the images are ImageNet's)",
        home="http://cs231n.stanford.edu",
        classes=200,
        split=VAL_IS_TEST,
        layout="tiny-imagenet-200/train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt, "
        "{wnids,words}.txt",
        label="the wnid of its folder, or of val_annotations.txt, named in words.txt",
        archives=(
            _archive("http://cs231n.stanford.edu/", "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"),
        ),
    ),
    "food101": Source(
        open=_at("food101", layouts.food101),
        needs_root=True,
        licence="for scientific fair use (the images belong to users of Foodspotting)",
        home="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        classes=101,
        split=OWN,
        layout="food-101/images/<class>/*.jpg, food-101/meta/{classes,train,test}.txt",
        label=PARENT,
        archives=(
            _archive("http://data.vision.ee.ethz.ch/cvl/", "food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87"),
        ),
    ),
    "flowers102": Source(
        open=_at("flowers102", layouts.flowers102),
        needs_root=True,
        licence="not stated",
        home=f"{OXFORD}flowers/102",
        classes=102,
        split="its own train and test; its own val joins train, from which val is drawn",
        layout="jpg/image_<n>.jpg, imagelabels.mat, setid.mat",
        label="the number in imagelabels.mat, of 001 to 102 (names are not shipped)",
        archives=(
            _archive(OXFORD, "flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa"),
            _archive(OXFORD, "flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d"),
            _archive(OXFORD, "flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c"),
        ),
    ),
    "asl-alphabet": Source(
        open=_at("asl-alphabet", layouts.asl_alphabet),
        needs_root=True,
        licence="GPL-2.0",
        home=f"{KAGGLE}grassknoted/asl-alphabet",
        classes=29,
        split="none: drawn (its test folder, one image each of 28 of the 29 classes, is left out: too few to measure)",
        layout="asl_alphabet_train/asl_alphabet_train/<sign>/*.jpg",
        label=PARENT,
        by_hand=f"unpack the archive of {KAGGLE}grassknoted/asl-alphabet into DIR: "
        "asl_alphabet_train/asl_alphabet_train/<sign>/*.jpg",
    ),
    "plant-village": Source(
        open=_at("plant-village", layouts.plant_village),
        needs_root=True,
        licence="not stated",
        home="https://github.com/spMohanty/PlantVillage-Dataset",
        classes=38,
        split="none: drawn (by photograph: a leaf may be shown in several)",
        layout="raw/color/<plant>___<disease>/*",
        label=PARENT,
        by_hand="clone https://github.com/spMohanty/PlantVillage-Dataset and copy its raw/color/ into DIR: "
        "raw/color/<class>/*",
    ),
    "fer2013": Source(
        open=_at("fer2013", layouts.fer2013),
        needs_root=True,
        licence="ODbL 1.0, contents DbCL 1.0 (as Kaggle says of the folders)",
        home=f"{KAGGLE}msambare/fer2013",
        classes=7,
        split=OWN,
        layout="fer2013.csv (emotion,pixels,Usage; both kinds of Test are the test), or {train,test}/<emotion>/*",
        label="the number in the column emotion, or the folder that holds the image",
        by_hand=f"unpack the archive of {KAGGLE}msambare/fer2013 into DIR: train/ and test/ "
        "(or put fer2013.csv into DIR)",
    ),
    "cub200": Source(
        open=_at("cub200", layouts.cub200),
        needs_root=True,
        licence="not stated",
        home=f"{CALTECH}65de6-vp158",
        classes=200,
        split=OWN,
        layout="CUB_200_2011/images/<number>.<class>/*.jpg, {images,image_class_labels,train_test_split,classes,"
        "bounding_boxes}.txt",
        label="the number in image_class_labels.txt, named in classes.txt",
        archives=(_archive(CALTECH, "65de6-vp158/files/CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78"),),
    ),
    "folder": Source(
        open=open_folder,
        needs_root=True,
        licence="yours",
        home="--data-root DIR",
        classes=None,
        split="its own where there is DIR/train and DIR/test, else none: drawn",
        layout="DIR/<class>/* or DIR/train|test/<class>/*",
        label="label_function: the parent folder's name, with or without its number, or the file's up to its last _",
        by_hand="put your images into DIR/<class>/* or DIR/train|test/<class>/*",
    ),
}
"""Every data set by name."""


def open_source(dataset: str, root: Path | None = None, label_function: str = "parent-folder") -> Catalogue:
    """Open a data set without decoding an image.

    Args:
        root: where it lies; without one, a named data set is looked for in ``data/<name>``.
        label_function: of a folder of one's own only.
    Raises: ConfigError for an unknown name, a place that is missing or not wanted, or a label function that is not
        wanted; DataError for a folder that is not as the data set is published.
    """
    if dataset not in SOURCES:
        raise unknown("dataset", dataset, SOURCES)
    source = SOURCES[dataset]
    if dataset != "folder" and label_function != "parent-folder":
        raise ConfigError(
            f"label_function must be left out with dataset {dataset!r}, which says itself how a class is read off; "
            f"got {label_function!r}"
        )
    if root is not None and not source.needs_root:
        raise ConfigError(f"--data-root must not be given with dataset {dataset!r}, which ships inside the package")
    return source.open(root, label_function)
