"""Writes a small tree of real images in the layout of every data set, as its publisher ships it.

A tree has two classes unless its function says otherwise.
"""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

TRAIN, TEST = 3, 2
"""Images of each class in train and in the own test split; without an own test split, all of them are in train."""


@cache
def _photographs() -> list[Image.Image]:
    from sklearn.datasets import load_sample_images  # imported here: it takes a second

    return [Image.fromarray(photograph) for photograph in load_sample_images().images]


def picture(number: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Cut a part out of one of two photographs, a different one for every number below 200."""
    left, top = number * 37 % 560, number * 53 % 380
    return _photographs()[number % 2].crop((left, top, left + size[0], top + size[1]))


def put(root: Path, names: Iterable[str], first: int = 0) -> list[str]:
    """Write a different picture to each of these paths; return the paths."""
    names = list(names)
    for number, name in enumerate(names, first):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(root / name, format="PNG" if name.endswith(".png") else "JPEG")
    return names


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _cifar_rows(first: int, labels: Iterable[bytes]) -> bytes:
    rows = []
    for number, label in enumerate(labels, first):
        rows.append(label + np.asarray(picture(number, (32, 32))).transpose(2, 0, 1).tobytes())
    return b"".join(rows)


def cifar10(root: Path) -> None:
    """Write the binary version: five files with two training records each, and a test file with four."""
    top = root / "cifar-10-batches-bin"
    top.mkdir(parents=True)
    write(top / "batches.meta.txt", ["airplane", "automobile", ""])
    for number in range(5):
        (top / f"data_batch_{number + 1}.bin").write_bytes(_cifar_rows(2 * number, [b"\0", b"\1"]))
    (top / "test_batch.bin").write_bytes(_cifar_rows(10, [b"\0", b"\1", b"\0", b"\1"]))


def cifar100(root: Path) -> None:
    """Write the binary version, where each record has its coarse class before the fine one."""
    top = root / "cifar-100-binary"
    top.mkdir(parents=True)
    write(top / "coarse_label_names.txt", ["aquatic_mammals", "fish", "flowers"])
    write(top / "fine_label_names.txt", ["apple", "aquarium_fish"])
    (top / "train.bin").write_bytes(_cifar_rows(0, [b"\2\0", b"\1\1"] * TRAIN))
    (top / "test.bin").write_bytes(_cifar_rows(6, [b"\2\0", b"\1\1"] * TEST))


def split_folders(root: Path, classes: tuple[str, str], train: str = "train", test: str = "test") -> None:
    """Write ``{train,test}/<class>/*.png``."""
    for number, cls in enumerate(classes):
        put(root, (f"{train}/{cls}/{i:04d}.png" for i in range(TRAIN)), first=10 * number)
        put(root, (f"{test}/{cls}/{i:04d}.png" for i in range(TEST)), first=10 * number + TRAIN)


def caltech101(root: Path) -> None:
    """Write the folders of two classes, and the folder of clutter."""
    for number, cls in enumerate(("accordion", "airplanes", "BACKGROUND_Google")):
        put(root / "101_ObjectCategories", (f"{cls}/image_{i:04d}.jpg" for i in range(1, 6)), first=10 * number)


def caltech256(root: Path) -> None:
    """Write the folders of two classes, with a stray file in each, and the folder of clutter."""
    top = root / "256_ObjectCategories"
    for number, cls in enumerate(("001.ak47", "002.american-flag", "257.clutter")):
        put(top, (f"{cls}/{cls[:3]}_{i:04d}.jpg" for i in range(1, 6)), first=10 * number)
    put(top, ["001.ak47/greg/vision309/001_0001.jpg"], first=40)
    write(top / "002.american-flag" / "RENAME2", ["#!/bin/sh"])


def places365(root: Path) -> None:
    """Write the 256-pixel files and the devkit's lists; the name of a class may have two parts."""
    categories = ("/a/airfield", "/a/apartment_building/outdoor")
    write(root / "categories_places365.txt", (f"{name} {number}" for number, name in enumerate(categories)))
    train, val = [], []
    for number, name in enumerate(categories):
        listed = [f"{name}/{i:08d}.jpg" for i in range(1, TRAIN + 1)]
        put(root, (f"data_256{file}" for file in listed), first=10 * number)
        train += [f"{file} {number}" for file in listed]
        shown = [f"Places365_val_{10 * number + i:08d}.jpg" for i in range(1, TEST + 1)]
        put(root, (f"val_256/{file}" for file in shown), first=10 * number + TRAIN)
        val += [f"{file} {number}" for file in shown]
    write(root / "places365_train_standard.txt", train)
    write(root / "places365_val.txt", val)


def stanford_dogs(root: Path) -> None:
    """Write the images and the lists, which are MATLAB files."""
    listed: dict[str, list[str]] = {"train": [], "test": [], "file": []}
    for number, cls in enumerate(("n02085620-Chihuahua", "n02098105-soft-coated_wheaten_terrier")):
        files = [f"{cls}/{cls[:9]}_{i}.jpg" for i in range(TRAIN + TEST)]
        put(root / "Images", files, first=10 * number)
        listed["train"] += files[:TRAIN]
        listed["test"] += files[TRAIN:]
        listed["file"] += files
    for name, files in listed.items():
        save_dogs(root / f"{name}_list.mat", files)


def save_dogs(path: Path, files: list[str]) -> None:
    """Write a list of Stanford Dogs: one cell per file name, and the labels from 1."""
    cells = np.empty((len(files), 1), dtype=object)
    cells[:, 0] = files
    folders = sorted({file.partition("/")[0] for file in files})
    labels = np.array([[folders.index(file.partition("/")[0]) + 1] for file in files], dtype=np.uint8)
    savemat(path, {"file_list": cells, "annotation_list": cells, "labels": labels})


def tsinghua_dogs(root: Path, lists: str = "TrainAndValList") -> None:
    """Write the images and the lists; a list starts with a byte order mark, and each of its lines with ``.//``."""
    listed: dict[str, list[str]] = {"train": [], "validation": []}
    for number, cls in enumerate(("1043-n000001-Shiba_Dog", "200-n000008-flat_coated-retriever")):
        files = [f"{cls}/n{100 * number + i}.jpg" for i in range(TRAIN + TEST)]
        put(root / "low-resolution", files, first=10 * number)
        listed["train"] += files[:TRAIN]
        listed["validation"] += files[TRAIN:]
    for name, files in listed.items():
        write(root / lists / f"{name}.lst", (f"{chr(0xFEFF) * (i == 0)}.//{file}" for i, file in enumerate(files)))


def oxford_pets(root: Path) -> None:
    """Write images, lists and trimaps: the object is the left half, its border 1 pixel wide; one has no trimap."""
    lists: dict[str, list[str]] = {"trainval": [], "test": []}
    for number, breed in enumerate(("Abyssinian", "american_bulldog")):
        for i in range(TRAIN + TEST):
            name = f"{breed}_{i + 1}"
            put(root, [f"images/{name}.jpg"], first=10 * number + i)
            lists["test" if i >= TRAIN else "trainval"].append(f"{name} {number + 1} {number + 1} 1")
            trimap = np.full((30, 40), 2, dtype=np.uint8)
            trimap[:, :20], trimap[:, 20] = 1, 3
            (root / "annotations" / "trimaps").mkdir(parents=True, exist_ok=True)
            if name != "Abyssinian_1":
                Image.fromarray(trimap).save(root / "annotations" / "trimaps" / f"{name}.png")
    (root / "images" / "Abyssinian_101.mat").write_bytes(b"as in the archive")
    for name, lines in lists.items():
        write(root / "annotations" / f"{name}.txt", lines)


def imagenette(root: Path) -> None:
    """Write the version of 320 pixels."""
    _wordnet(root / "imagenette2-320", ("n01440764", "n02102040"))
    write(root / "imagenette2-320" / "noisy_imagenette.csv", ["path,noisy_labels_0"])


def imagewoof(root: Path) -> None:
    """Write the version of 320 pixels."""
    _wordnet(root / "imagewoof2-320", ("n02086240", "n02087394"))


def _wordnet(top: Path, classes: tuple[str, str]) -> None:
    for number, wnid in enumerate(classes):
        put(top, (f"train/{wnid}/{wnid}_{i}.JPEG" for i in range(TRAIN)), first=10 * number)
        put(top, (f"val/{wnid}/ILSVRC2012_val_{10 * number + i:08d}.JPEG" for i in range(TEST)), first=50 + 10 * number)


def tiny_imagenet(root: Path) -> None:
    """Write three classes with boxes, and a test folder without labels; two of the classes share a name."""
    top, annotations = root / "tiny-imagenet-200", []
    names = {"n01443537": "goldfish, Carassius auratus", "n02012849": "crane", "n03126707": "crane"}
    write(top / "wnids.txt", names)
    write(top / "words.txt", (f"{wnid}\t{name}" for wnid, name in {"n00001740": "entity", **names}.items()))
    for number, wnid in enumerate(names):
        files = [f"{wnid}_{i}.JPEG" for i in range(TRAIN)]
        put(top / "train" / wnid / "images", files, first=10 * number)
        write(top / "train" / wnid / f"{wnid}_boxes.txt", (f"{file}\t0\t10\t63\t58" for file in files))
        shown = put(top / "val" / "images", (f"val_{10 * number + i}.JPEG" for i in range(TEST)), 10 * number + 5)
        annotations += [f"{file}\t{wnid}\t0\t32\t44\t62" for file in shown]
    write(top / "val" / "val_annotations.txt", annotations)
    put(top / "test" / "images", ["test_0.JPEG"], first=90)


def food101(root: Path) -> None:
    """Write the images, and the lists as text and as JSON."""
    top, classes = root / "food-101", ("apple_pie", "baby_back_ribs")
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for number, cls in enumerate(classes):
        listed = [f"{cls}/{1005649 + i}" for i in range(TRAIN + TEST)]
        put(top / "images", (f"{file}.jpg" for file in listed), first=10 * number)
        lists["train"][cls], lists["test"][cls] = listed[:TRAIN], listed[TRAIN:]
    write(top / "meta" / "classes.txt", classes)
    write(top / "meta" / "labels.txt", ("Apple pie", "Baby back ribs"))
    for name, by_class in lists.items():
        write(top / "meta" / f"{name}.txt", (file for files in by_class.values() for file in files))
        (top / "meta" / f"{name}.json").write_text(json.dumps(by_class))


def flowers102(root: Path) -> None:
    """Write the images and the lists: of each class two images for train, one for val and two for test."""
    put(root, (f"jpg/image_{i:05d}.jpg" for i in range(1, 11)))
    savemat(root / "imagelabels.mat", {"labels": np.array([[1, 2] * 5], dtype=np.uint8)})
    numbers = np.arange(1, 11, dtype=np.uint16)[None]
    savemat(root / "setid.mat", {"trnid": numbers[:, 6:], "valid": numbers[:, 4:6], "tstid": numbers[:, :4]})


def asl_alphabet(root: Path) -> None:
    """Write two signs, and the test folder, which lacks one of them."""
    for number, sign in enumerate(("A", "del")):
        train = (f"asl_alphabet_train/asl_alphabet_train/{sign}/{sign}{i}.jpg" for i in range(1, 6))
        put(root, train, first=10 * number)
    put(root, ["asl_alphabet_test/asl_alphabet_test/A_test.jpg"], first=90)


def plant_village(root: Path) -> None:
    """Write the colour, the grey and the segmented versions."""
    for number, cls in enumerate(("Apple___Apple_scab", "Corn_(maize)___healthy")):
        put(root, (f"raw/color/{cls}/0a5e {i} FREC_Scab.JPG" for i in range(5)), first=10 * number)
        put(root, (f"raw/grayscale/{cls}/0a5e {i} FREC_Scab.JPG" for i in range(5)), first=10 * number)
        put(root, [f"raw/segmented/{cls}/0a5e 0 FREC_Scab_final_masked.jpg"], first=90)


def fer2013(root: Path) -> None:
    """Write the table, with every emotion and both kinds of test images."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "fer2013.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["emotion", "pixels", "Usage"])
        for emotion in range(7):
            for i, usage in enumerate(["Training"] * TRAIN + ["PublicTest", "PrivateTest"]):
                grey = np.asarray(picture(10 * emotion + i, (48, 48)).convert("L"))
                rows.writerow([emotion, " ".join(map(str, grey.flatten())), usage])


def cub200(root: Path) -> None:
    """Write the images and the lists, with a bounding box for every image: x 4, y 6, 10 wide, 8 high."""
    top = root / "CUB_200_2011"
    classes = ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    images, labels, split = [], [], []
    for number, cls in enumerate(classes):
        for i in range(TRAIN + TEST):
            images.append(f"{cls}/{cls[4:]}_{i:04d}_{796111 + i}.jpg")
            labels.append(number + 1)
            split.append(int(i < TRAIN))
    put(top / "images", images)
    numbered = list(enumerate(zip(images, labels, split, strict=True), 1))
    write(top / "images.txt", (f"{i} {name}" for i, (name, _, _) in numbered))
    write(top / "image_class_labels.txt", (f"{i} {label}" for i, (_, label, _) in numbered))
    write(top / "train_test_split.txt", (f"{i} {train}" for i, (_, _, train) in numbered))
    write(top / "bounding_boxes.txt", (f"{i} 4.0 6.0 10.0 8.0" for i, _ in numbered))
    write(top / "classes.txt", (f"{number} {cls}" for number, cls in enumerate(classes, 1)))


def waterbirds(root: Path) -> None:
    """Write the table and its images: of each class, train, val and test images before land and water."""
    rows, top = [], root / "waterbird_complete95_forest2water2"
    splits = [0] * TRAIN + [1] * 3 + [2] * TEST
    for y, cls in enumerate(("001.Black_footed_Albatross", "012.Yellow_headed_Blackbird")):
        for i, split in enumerate(splits):
            rows.append((f"{cls}/{cls[4:]}_{i:04d}_{796111 + i}.jpg", y, split, i % 2, f"/o/ocean/{i:08d}.jpg"))
    put(top, (name for name, *_ in rows))
    lines = (",".join(map(str, (number, *row))) for number, row in enumerate(rows, 1))
    write(top / "metadata.csv", ["img_id,img_filename,y,split,place,place_filename", *lines])


def folder(root: Path) -> None:
    """Write a folder of one's own images, with a test split."""
    split_folders(root, ("cat", "dog"))


@dataclass(frozen=True)
class Tree:
    """The small tree of a data set.

    Attributes:
        build: writes it below a root.
        classes: in the order of its catalogue.
        class_in_path: how the class of an image stands in its path; empty where lists or numbers tell it.
    """

    build: Callable[[Path], None]
    classes: tuple[str, ...]
    class_in_path: str = ""

    def __call__(self, root: Path) -> None:
        self.build(root)


TREES = {
    "cifar10": Tree(cifar10, ("airplane", "automobile")),
    "cifar100": Tree(cifar100, ("apple", "aquarium_fish")),
    "caltech101": Tree(caltech101, ("accordion", "airplanes"), "/{}/"),
    "caltech256": Tree(caltech256, ("ak47", "american-flag"), ".{}/"),
    "places365": Tree(places365, ("airfield", "apartment_building/outdoor")),
    "stanford-dogs": Tree(stanford_dogs, ("Chihuahua", "soft-coated_wheaten_terrier"), "-{}/"),
    "tsinghua-dogs": Tree(tsinghua_dogs, ("Shiba_Dog", "flat_coated-retriever"), "-{}/"),
    "oxford-iiit-pets": Tree(oxford_pets, ("Abyssinian", "american_bulldog"), "/{}_"),
    "imagenette": Tree(imagenette, ("English springer", "tench")),
    "imagewoof": Tree(imagewoof, ("Rhodesian ridgeback", "Shih-Tzu")),
    "tiny-imagenet": Tree(tiny_imagenet, ("crane (n02012849)", "crane (n03126707)", "goldfish")),
    "food101": Tree(food101, ("apple_pie", "baby_back_ribs"), "/{}/"),
    "flowers102": Tree(flowers102, ("001", "002")),
    "asl-alphabet": Tree(asl_alphabet, ("A", "del"), "/{}/"),
    "plant-village": Tree(plant_village, ("Apple___Apple_scab", "Corn_(maize)___healthy"), "/{}/"),
    "fer2013": Tree(fer2013, ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")),
    "cub200": Tree(cub200, ("Black_footed_Albatross", "Laysan_Albatross"), ".{}/"),
    "waterbirds": Tree(waterbirds, ("landbird", "waterbird")),
    "folder": Tree(folder, ("cat", "dog"), "/{}/"),
}
"""The function that writes each tree, by the name of the data set."""
