"""Open each data set in the layout that its publisher ships; knows no licence and no download.

Every function takes the data root: the folder that the publisher's archive unpacks to, or the one above it. Where a
publisher does not publish its test labels, its validation split is our test split; our validation split is drawn.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.folder import list_folder
from proxy_attention.data.labels import file_prefix, unnumbered
from proxy_attention.data.manifests import (
    Item,
    bad_line,
    build_catalogue,
    class_folders,
    find_top,
    image_names,
    mat_numbers,
    mat_texts,
    read_fields,
    read_lines,
    relative_path,
    whole_number,
)
from proxy_attention.data.packed_files import open_cifar, open_fer
from proxy_attention.data.regions import Box, box_region, trimap_region
from proxy_attention.errors import DataError

CLUTTER = frozenset({"BACKGROUND_Google", "257.clutter"})
"""Folders of the Caltech data sets that are no class: pictures of nothing in particular."""

WORDNET = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
    "n02086240": "Shih-Tzu", "n02087394": "Rhodesian ridgeback", "n02088364": "beagle", "n02089973": "English foxhound",
    "n02093754": "Border terrier", "n02096294": "Australian terrier", "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog", "n02111889": "Samoyed", "n02115641": "dingo",
}  # fmt: skip
"""Names of the classes of Imagenette and Imagewoof, whose archives hold only numbers."""


def cifar10(root: Path) -> Catalogue:
    """Open ``cifar-10-batches-bin/{data_batch_1..5,test_batch}.bin``, or ``{train,test}/<class>/*.png``."""
    binary = "cifar-10-batches-bin"
    top, _ = find_top(root, (binary,), ("data_batch_1.bin", "train"))
    if (top / "train").is_dir():
        return _open_train_test(top)
    train = [f"data_batch_{number}.bin" for number in range(1, 6)]
    return open_cifar(top, train=train, test=["test_batch.bin"], names="batches.meta.txt", label_bytes=1)


def cifar100(root: Path) -> Catalogue:
    """Open ``cifar-100-binary/{train,test}.bin`` with the fine classes, or ``{train,test}/<class>/*.png``."""
    top, _ = find_top(root, ("cifar-100-binary",), ("train.bin", "train"))
    if (top / "train").is_dir():
        return _open_train_test(top)
    return open_cifar(top, train=["train.bin"], test=["test.bin"], names="fine_label_names.txt", label_bytes=2)


def _open_train_test(top: Path) -> Catalogue:
    """Open ``{train,test}/<class>/*``; without ``test`` a split would be drawn that is not the publisher's.

    Raises: DataError.
    """
    if not (top / "test").is_dir():
        raise DataError(f"data root must hold train and test; {str(top)!r} has no test")
    return list_folder(top)


def caltech101(root: Path) -> Catalogue:
    """Open ``101_ObjectCategories/<class>/*.jpg``, without the folder of clutter."""
    return _caltech(root, "101_ObjectCategories", ("caltech-101",))


def caltech256(root: Path) -> Catalogue:
    """Open ``256_ObjectCategories/<number>.<class>/*.jpg``, without the folder of clutter."""
    return _caltech(root, "256_ObjectCategories", ("caltech-256",))


def _caltech(root: Path, folder: str, wrappers: tuple[str, ...]) -> Catalogue:
    top, _ = find_top(_above_class_folders(root, folder), wrappers, (folder,))
    found = class_folders(top, folder)
    return build_catalogue(
        top, _label_by_folder((name, False) for cls, names in found if cls not in CLUTTER for name in names)
    )


def places365(root: Path) -> Catalogue:
    """Open the 256-pixel files in ``data_256`` and ``val_256`` with the three lists of the devkit; val is the test."""
    top, _ = find_top(root, ("places365_standard",), ("categories_places365.txt",))
    classes: dict[int, str] = {}
    path = top / "categories_places365.txt"
    for number, (name, cls) in read_fields(path, "<category> <number>"):
        classes[whole_number(path, number, cls)] = name.strip("/").partition("/")[2]
    train = "data_256_standard" if (top / "data_256_standard").is_dir() else "data_256"  # torchvision renames it
    items = []
    for file, folder, own_test in (
        ("places365_train_standard.txt", train, False),
        ("places365_val.txt", "val_256", True),
    ):
        listed = top / file
        for number, (name, cls) in read_fields(listed, "<path> <class>"):
            label = classes.get(whole_number(listed, number, cls))
            if label is None:
                raise bad_line(listed, number, f"have a class of {path.name}", cls)
            items.append(Item(relative_path(name.lstrip("/"), _list_line(file, number), folder), label, own_test))
    return build_catalogue(top, items, order=[classes[number] for number in sorted(classes)])


def stanford_dogs(root: Path) -> Catalogue:
    """Open ``Images/<number>-<breed>/*.jpg`` with the official ``train_list.mat`` and ``test_list.mat``."""
    top, _ = find_top(root, ("StanfordDogs", "stanford_dogs"), ("Images",))
    lists = top / "lists" if (top / "lists").is_dir() else top
    found: list[tuple[str, bool]] = []
    for file, own_test in (("train_list.mat", False), ("test_list.mat", True)):
        found += [(relative_path(listed, file, "Images"), own_test) for listed in mat_texts(lists / file, "file_list")]
    return build_catalogue(top, _label_by_folder(found))


def tsinghua_dogs(root: Path) -> Catalogue:
    """Open ``low-resolution/<count>-<number>-<breed>/*.jpg`` with ``TrainAndValList/{train,validation}.lst``."""
    wrappers = ("tsinghua-dogs-data", "TsinghuaDogs")
    top, folder = find_top(root, wrappers, ("low-resolution", "high-resolution"))
    places = ("TrainAndValList", "TrainValSplit/TrainAndValList", "TrainValSplit")
    lists = next((place for place in places if (top / place / "train.lst").exists()), places[0])
    found: list[tuple[str, bool]] = []
    for file, own_test in (("train.lst", False), ("validation.lst", True)):
        for number, line in read_lines(top / lists / file):
            found.append((relative_path(line, _list_line(file, number), folder), own_test))
    return build_catalogue(top, _label_by_folder(found))


def _label_by_folder(named: Iterable[tuple[str, bool]]) -> list[Item]:
    """Label each file with its folder's name, without the number before it.

    Folders whose names differ only in that number keep it: they are two classes.

    Args:
        named: (file, whether it is of the own test).
    """
    files = [(name, name.split("/")[-2], own_test) for name, own_test in named]
    folders = {folder: unnumbered(folder) for _, folder, _ in files}
    count = Counter(folders.values())
    labels = {folder: name if count[name] == 1 else folder for folder, name in folders.items()}
    return [Item(name, labels[folder], own_test) for name, folder, own_test in files]


def oxford_pets(root: Path) -> Catalogue:
    """Open ``images/<Breed>_<n>.jpg`` with ``annotations/{trainval,test}.txt``; regions from its trimaps."""
    top, _ = find_top(root, ("oxford-iiit-pet",), ("annotations",))
    classes: dict[int, str] = {}
    items = []
    for file, own_test in (("trainval.txt", False), ("test.txt", True)):
        path = top / "annotations" / file
        for number, (image, cls, _, _) in read_fields(path, "<image> <class> <species> <breed>"):
            name = relative_path(f"{image}.jpg", _list_line(file, number), "images")
            breed = file_prefix(PurePosixPath(name))
            if not breed or classes.setdefault(whole_number(path, number, cls), breed) != breed:
                raise bad_line(path, number, "name an image <Breed>_<n> of its class", f"{image} {cls}")
            items.append(Item(name, breed, own_test))

    def region(name: str) -> np.ndarray | None:
        trimap = (top / "annotations" / "trimaps" / PurePosixPath(name).name).with_suffix(".png")
        return trimap_region(trimap, top / name)

    return build_catalogue(top, items, order=[classes[number] for number in sorted(classes)], region=region)


def imagenette(root: Path) -> Catalogue:
    """Open ``{train,val}/<wnid>/*.JPEG`` of any of the three sizes; val is the test."""
    return _imagenette(root, "imagenette2")


def imagewoof(root: Path) -> Catalogue:
    """Open ``{train,val}/<wnid>/*.JPEG`` as Imagenette."""
    return _imagenette(root, "imagewoof2")


def _imagenette(root: Path, archive: str) -> Catalogue:
    top, _ = find_top(root, (archive, f"{archive}-320", f"{archive}-160"), ("train",))
    items = []
    for folder, own_test in (("train", False), ("val", True)):
        if not (top / folder).is_dir():
            raise DataError(f"data root must hold train and val; {str(top)!r} has no {folder}")
        for wnid, names in class_folders(top, folder):
            items += [Item(name, WORDNET.get(wnid, wnid), own_test) for name in names]
    return build_catalogue(top, items)


def tiny_imagenet(root: Path) -> Catalogue:
    """Open ``train/<wnid>/images/*`` and ``val/images/*`` with ``val_annotations.txt``; val is the test."""
    top, _ = find_top(root, ("tiny-imagenet-200",), ("wnids.txt",))
    words = dict(line.partition("\t")[::2] for _, line in read_lines(top / "words.txt"))
    wnids = {wnid: words.get(wnid, wnid).partition(",")[0] for _, wnid in read_lines(top / "wnids.txt")}
    shared = {name for name in wnids.values() if list(wnids.values()).count(name) > 1}
    labels = {wnid: f"{name} ({wnid})" if name in shared else name for wnid, name in wnids.items()}
    items = [
        Item(name, label, own_test=False)
        for wnid, label in labels.items()
        for name in image_names(top, relative_path(f"{wnid}/images", "wnids.txt", "train"))
    ]
    path = top / "val" / "val_annotations.txt"
    for number, (image, wnid, *_) in read_fields(path, "<image> <wnid> <x> <y> <x> <y>"):
        if wnid not in labels:
            raise bad_line(path, number, "have a class of wnids.txt", wnid)
        items.append(
            Item(relative_path(image, _list_line(path.name, number), "val/images"), labels[wnid], own_test=True)
        )
    return build_catalogue(top, items)


def food101(root: Path) -> Catalogue:
    """Open ``food-101/images/<class>/*.jpg`` with ``meta/{classes,train,test}.txt``."""
    top, _ = find_top(root, ("food-101",), ("meta",))
    classes = [text for _, text in read_lines(top / "meta" / "classes.txt")]
    items = []
    for file, own_test in (("train.txt", False), ("test.txt", True)):
        path = top / "meta" / file
        for number, line in read_lines(path):
            name = relative_path(f"{line}.jpg", _list_line(file, number), "images")
            label = PurePosixPath(name).parent.name
            if label not in classes:
                raise bad_line(path, number, "name an image of a class of classes.txt", line)
            items.append(Item(name, label, own_test))
    return build_catalogue(top, items, order=classes)


def flowers102(root: Path) -> Catalogue:
    """Open ``jpg/image_<n>.jpg`` with ``imagelabels.mat`` and ``setid.mat``; its validation images join train."""
    top, _ = find_top(root, ("flowers-102",), ("imagelabels.mat", "jpg"))
    labels = mat_numbers(top / "imagelabels.mat", "labels")
    items = []
    for part, own_test in (("trnid", False), ("valid", False), ("tstid", True)):
        for image in mat_numbers(top / "setid.mat", part):
            if not 1 <= image <= len(labels):
                raise DataError(f"setid.mat must number the {len(labels)} images of imagelabels.mat; got {image}")
            items.append(Item(f"jpg/image_{image:05d}.jpg", f"{labels[image - 1]:03d}", own_test))
    return build_catalogue(top, items)


def asl_alphabet(root: Path) -> Catalogue:
    """Open ``asl_alphabet_train/asl_alphabet_train/<sign>/*.jpg``, without the folder of 28 test images."""
    inner = "asl_alphabet_train"
    top, _ = find_top(_above_class_folders(root, inner), ("archive",), (inner,))
    if (top / inner / inner).is_dir():
        top = top / inner
    items = [Item(name, sign, own_test=False) for sign, names in class_folders(top, inner) for name in names]
    return build_catalogue(top, items)


def plant_village(root: Path) -> Catalogue:
    """Open ``raw/color/<plant>___<disease>/*``, without the grey and the segmented versions."""
    wrappers = ("raw", "PlantVillage-Dataset/raw", "PlantVillage-Dataset-master/raw", "plantvillage dataset")
    top, _ = find_top(_above_class_folders(root, "color"), wrappers, ("color",))
    return build_catalogue(
        top, [Item(name, cls, own_test=False) for cls, names in class_folders(top, "color") for name in names]
    )


def fer2013(root: Path) -> Catalogue:
    """Open the table ``fer2013.csv`` or ``icml_face_data.csv``, or ``{train,test}/<emotion>/*.jpg``."""
    top, found = find_top(root, ("fer2013",), ("fer2013.csv", "icml_face_data.csv", "train"))
    return _open_train_test(top) if found == "train" else open_fer(top / found)


def cub200(root: Path) -> Catalogue:
    """Open ``CUB_200_2011/images/<class>/*.jpg`` with its lists; regions from ``bounding_boxes.txt``."""
    top, _ = find_top(root, ("CUB_200_2011",), ("images.txt",))
    classes = {key: unnumbered(name) for key, (_, name) in _numbered(top / "classes.txt", "<class> <name>").items()}
    labels = _numbered(top / "image_class_labels.txt", "<image> <class>")
    trained = _numbered(top / "train_test_split.txt", "<image> <is training image>")
    for number, cls in labels.values():
        if cls not in classes:
            raise bad_line(top / "image_class_labels.txt", number, "have a class of classes.txt", cls)
    for number, own in trained.values():
        if own not in ("0", "1"):
            raise bad_line(top / "train_test_split.txt", number, "say 0 or 1", own)
    items = []
    boxes, box_of = dict(_cub_boxes(top / "bounding_boxes.txt")), {}
    path = top / "images.txt"
    for image, (number, listed) in _numbered(path, "<image> <path>").items():
        name = relative_path(listed, _list_line(path.name, number), "images")
        if image not in labels or image not in trained:
            raise bad_line(path, number, "be of an image with a class and a split", image)
        items.append(Item(name, classes[labels[image][1]], own_test=trained[image][1] == "0"))
        if image in boxes:
            box_of[name] = boxes[image]
    region = partial(_cub_region, top, box_of) if boxes else None
    return build_catalogue(top, items, order=list(classes.values()), region=region)


def _cub_region(top: Path, box_of: dict[str, Box], name: str) -> np.ndarray | None:
    return box_region(top / name, box_of[name]) if name in box_of else None


def _cub_boxes(path: Path) -> Iterator[tuple[str, Box]]:
    """Yield each image's number and bounding box; nothing if the file is missing."""
    if not path.exists():
        return
    for number, (image, *numbers) in read_fields(path, "<image> <x> <y> <width> <height>"):
        try:
            x, y, width, height = map(float, numbers)
        except ValueError as error:
            raise bad_line(path, number, "have four numbers", " ".join(numbers)) from error
        yield image, (x, y, width, height)


def _numbered(path: Path, form: str) -> dict[str, tuple[int, str]]:
    """Read a list of ``<number> <value>``: the line number and the value, by that number.

    Raises: DataError for a line without a number, or a number that comes twice.
    """
    found: dict[str, tuple[int, str]] = {}
    for number, (key, value) in read_fields(path, form):
        whole_number(path, number, key)
        if key in found:
            raise bad_line(path, number, "have a number of its own", key)
        found[key] = number, value
    return found


def _list_line(file: str, number: int) -> str:
    return f"{file}, line {number},"


def _above_class_folders(root: Path, folder: str) -> Path:
    """Go one folder up where the root is itself the one that holds the class folders."""
    return root.parent if root.name == folder and not (root / folder).is_dir() else root
