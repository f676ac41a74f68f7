"""The table of data sets, one row each; knows how to open them, not how they are split or used."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from proxy_attention.data import layouts, planted
from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.embedded.sample import open_sample
from proxy_attention.data.folder import list_folder
from proxy_attention.data.source import Archive, Source
from proxy_attention.data.tables import COLUMNS, with_groups
from proxy_attention.data.waterbirds import open_waterbirds
from proxy_attention.errors import ConfigError


def default_root(dataset: str) -> Path:
    """Find a named data set in ``data/<name>`` below the working folder.

    Returns: the folder, absolute.
    Raises: ConfigError if it is not there.
    """
    folder = Path("data") / dataset
    if not folder.is_dir():
        raise ConfigError(f"dataset {dataset!r} must be given a data root, or lie in {folder}; got none")
    return folder.absolute()


def _open_folder(root: Path | None, label_function: str) -> Catalogue:
    if root is None:
        raise ConfigError("dataset 'folder' must be given a data root; got none")
    return with_groups(list_folder(root, label_function), root)


def _open_published(dataset: str, layout: Callable[[Path], Catalogue], root: Path | None, _: str) -> Catalogue:
    root = default_root(dataset) if root is None else root.expanduser().absolute()
    return layout(root / dataset if (root / dataset).is_dir() else root)


def _published(dataset: str, layout: Callable[[Path], Catalogue]) -> Callable[[Path | None, str], Catalogue]:
    """Make the ``open`` of a published data set, which may lie in the data root or in the folder of its name there."""
    return partial(_open_published, dataset, layout)


def _planted(opened: Callable[[], Catalogue], layout: str) -> Source:
    """Make the row of a planted set, which is drawn from the embedded sample when it is opened."""
    return Source(
        open=lambda *_: opened(),
        needs_root=False,
        licence="MIT",
        home=FASHION,
        classes=10,
        split=OWN,
        layout=f"inside the package, as the sample: {layout}",
        label="as in the sample",
    )


def _archive(base: str, path: str, md5: str, most_mb: int) -> Archive:
    return Archive(url=base + path, md5=md5, filename=path.rpartition("/")[2], most_mb=most_mb)


OWN, DRAWN = "its own train and test", "none: drawn"
VAL_IS_TEST = "its own train and val, of which val is used as test (test labels are not published)"
NO_TEST = "its own train and val, of which val is used as test (there is no other)"
PARENT = "the folder that holds the image"
UNNUMBERED = "the folder that holds the image, without the number before it"
CALTECH, PLACES = "https://data.caltech.edu/records/", "https://data.csail.mit.edu/places/places365/"
OXFORD, TORONTO = "https://www.robots.ox.ac.uk/~vgg/data/", "https://www.cs.toronto.edu/~kriz/"
KAGGLE, FASHION = "https://www.kaggle.com/datasets/", "https://github.com/zalandoresearch/fashion-mnist"

# An md5 is the one that torchvision's own class states; of the binary CIFARs, the one on their page; of Tiny-ImageNet
# and CUB, which torchvision lacks, the one on which published loaders agree. Where none is known, there is no archive.
# An md5 tells a damaged file, not a forged one: every archive is asked for over https, also where torchvision has http.
# The MB are far above what is published: they bound a server that does not end.
SOURCES: dict[str, Source] = {
    "fashion-mnist-sample": Source(
        open=lambda *_: open_sample(),
        needs_root=False,
        licence="MIT",
        home=FASHION,
        classes=10,
        split=OWN,
        layout="inside the package: 3,000 and 1,000 images, balanced",
        label="the file's label arrays",
    ),
    "planted-swapped": _planted(planted.open_swapped, "half of train shows a garment of another class, no test image"),
    "planted-decoy": _planted(planted.open_decoy, "a patch tells the class in 90 % of train, and nothing in test"),
    "planted-none": _planted(planted.open_none, "as planted-swapped, with nothing swapped"),
    "cifar10": Source(
        open=_published("cifar10", layouts.cifar10),
        licence="not stated",
        home=f"{TORONTO[:-1]}/cifar.html",
        classes=10,
        split=OWN,
        layout="cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin and batches.meta.txt, or {train,test}/<class>/*",
        label="a byte before the pixels, named in batches.meta.txt",
        archives=(_archive(TORONTO, "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", 300),),
    ),
    "cifar100": Source(
        open=_published("cifar100", layouts.cifar100),
        licence="not stated",
        home=f"{TORONTO[:-1]}/cifar.html",
        classes=100,
        split=OWN,
        layout="cifar-100-binary/{train,test}.bin and fine_label_names.txt, or {train,test}/<class>/*",
        label="the second byte before the pixels (the fine class), named in fine_label_names.txt",
        archives=(_archive(TORONTO, "cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", 300),),
    ),
    "caltech101": Source(
        open=_published("caltech101", layouts.caltech101),
        licence="CC BY 4.0",
        home=f"{CALTECH}mzrjq-6wc02",
        classes=101,
        split=DRAWN,
        layout="101_ObjectCategories/<class>/*.jpg (BACKGROUND_Google, which is no class, is left out)",
        label=PARENT,
        archives=(_archive(CALTECH, "mzrjq-6wc02/files/caltech-101.zip", "3138e1922a9193bfa496528edbbc45d0", 300),),
    ),
    "caltech256": Source(
        open=_published("caltech256", layouts.caltech256),
        licence="not stated",
        home=f"{CALTECH}nyy15-4j048",
        classes=256,
        split=DRAWN,
        layout="256_ObjectCategories/<number>.<class>/*.jpg (257.clutter, which is no class, is left out)",
        label=UNNUMBERED,
        archives=(
            _archive(CALTECH, "nyy15-4j048/files/256_ObjectCategories.tar", "67b4f42ca05d46448c6bb8ecd2220f6d", 2500),
        ),
        other_files=("RENAME2",),
    ),
    "places365": Source(
        open=_published("places365", layouts.places365),
        licence="for non-commercial research and education",
        home="http://places2.csail.mit.edu",
        classes=365,
        split=VAL_IS_TEST,
        layout="data_256/<letter>/<class>/*.jpg, val_256/*.jpg, {categories_places365,places365_train_standard,"
        "places365_val}.txt",
        label="the number after the image in the lists, named in categories_places365.txt",
        archives=(
            _archive(PLACES, "filelist_places365-standard.tar", "35a0585fee1fa656440f3ab298f8479c", 1000),
            _archive(PLACES, "train_256_places365standard.tar", "53ca1c756c3d1e7809517cc47c5561c5", 60_000),
            _archive(PLACES, "val_256.tar", "e27b17d8d44f4af9a78502beb927f808", 2000),
        ),
    ),
    "stanford-dogs": Source(
        open=_published("stanford-dogs", layouts.stanford_dogs),
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
        open=_published("tsinghua-dogs", layouts.tsinghua_dogs),
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
        open=_published("oxford-iiit-pets", layouts.oxford_pets),
        licence="CC BY-SA 4.0",
        home=f"{OXFORD}pets",
        classes=37,
        split=OWN,
        layout="images/<Breed>_<n>.jpg, annotations/{trainval,test}.txt, annotations/trimaps/*.png",
        label="the number after the image in the lists, named by the file up to its last underscore",
        archives=(
            _archive(OXFORD, "pets/data/images.tar.gz", "5c4f3ee8e5d25df40f4fd59a7f44e54c", 2000),
            _archive(OXFORD, "pets/data/annotations.tar.gz", "95a8c909bbe2e81eed6a22bccdf3f68f", 100),
        ),
        other_files=("*.mat",),
    ),
    "imagenette": Source(
        open=_published("imagenette", layouts.imagenette),
        licence="Apache-2.0 (the images are ImageNet's)",
        home="https://github.com/fastai/imagenette",
        classes=10,
        split=NO_TEST,
        layout="imagenette2-320/{train,val}/<wnid>/*.JPEG (or imagenette2, imagenette2-160)",
        label=PARENT,
        archives=(
            _archive(
                "https://s3.amazonaws.com/fast-ai-imageclas/",
                "imagenette2-320.tgz",
                "3df6f0d01a2c9592104656642f5e78a3",
                1000,
            ),
        ),
    ),
    "imagewoof": Source(
        open=_published("imagewoof", layouts.imagewoof),
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
        open=_published("tiny-imagenet", layouts.tiny_imagenet),
        licence="not stated (the images are ImageNet's)",
        home="http://cs231n.stanford.edu",
        classes=200,
        split=VAL_IS_TEST,
        layout="tiny-imagenet-200/train/<wnid>/images/*.JPEG, val/images/*.JPEG, val/val_annotations.txt, "
        "{wnids,words}.txt",
        label="the wnid of its folder, or of val_annotations.txt, named in words.txt",
        archives=(
            _archive("https://cs231n.stanford.edu/", "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de", 600),
        ),
    ),
    "food101": Source(
        open=_published("food101", layouts.food101),
        licence="for scientific fair use (the images belong to users of Foodspotting)",
        home="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        classes=101,
        split=OWN,
        layout="food-101/images/<class>/*.jpg, food-101/meta/{classes,train,test}.txt",
        label=PARENT,
        archives=(
            _archive(
                "https://data.vision.ee.ethz.ch/cvl/", "food-101.tar.gz", "85eeb15f3717b99a5da872d97d918f87", 10_000
            ),
        ),
    ),
    "flowers102": Source(
        open=_published("flowers102", layouts.flowers102),
        licence="not stated",
        home=f"{OXFORD}flowers/102",
        classes=102,
        split="its own train and test; its own val joins train, from which val is drawn",
        layout="jpg/image_<n>.jpg, imagelabels.mat, setid.mat",
        label="the number in imagelabels.mat, of 001 to 102 (names are not shipped)",
        archives=(
            _archive(OXFORD, "flowers/102/102flowers.tgz", "52808999861908f626f3c1f4e79d11fa", 1000),
            _archive(OXFORD, "flowers/102/imagelabels.mat", "e0620be6f572b9609742df49c70aed4d", 1),
            _archive(OXFORD, "flowers/102/setid.mat", "a5357ecc9cb78c4bef273ce3793fc85c", 1),
        ),
    ),
    "asl-alphabet": Source(
        open=_published("asl-alphabet", layouts.asl_alphabet),
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
        open=_published("plant-village", layouts.plant_village),
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
        open=_published("fer2013", layouts.fer2013),
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
        open=_published("cub200", layouts.cub200),
        licence="not stated",
        home=f"{CALTECH}65de6-vp158",
        classes=200,
        split=OWN,
        layout="CUB_200_2011/images/<number>.<class>/*.jpg, {images,image_class_labels,train_test_split,classes,"
        "bounding_boxes}.txt",
        label="the number in image_class_labels.txt, named in classes.txt",
        archives=(_archive(CALTECH, "65de6-vp158/files/CUB_200_2011.tgz", "97eceeb196236b17998738112f37df78", 3000),),
    ),
    "waterbirds": Source(
        open=_published("waterbirds", open_waterbirds),
        licence="not stated (the images are of CUB and Places)",
        home="https://github.com/kohpangwei/group_DRO",
        classes=2,
        split="its own train, val and test; val is kept whole, and never trained on",
        layout="waterbird_complete95_forest2water2/metadata.csv "
        "(img_id,img_filename,y,split,place,place_filename) and the files that it lists",
        label="the number in the column y: landbird or waterbird",
        by_hand="unpack https://nlp.stanford.edu/data/dro/waterbird_complete95_forest2water2.tar.gz into DIR: "
        "waterbird_complete95_forest2water2/metadata.csv",
    ),
    "folder": Source(
        open=_open_folder,
        licence="yours",
        home="your own images",
        classes=None,
        split="its own where there is DIR/train and DIR/test, else none: drawn",
        layout="DIR/<class>/* or DIR/train|test/<class>/*; DIR/groups.csv (file,group) may give each image a group",
        label="label_function: the parent folder's name, with or without its number, the first folder's, or the "
        "file's up to its last _",
        by_hand="put your images into DIR/<class>/* or DIR/train|test/<class>/*",
        other_files=tuple(COLUMNS),
    ),
}
"""Every data set by name."""
