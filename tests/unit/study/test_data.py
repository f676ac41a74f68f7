import contextlib
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from layout_trees import TREES, picture, put
from PIL import Image

from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import load
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.source import Archive, Source
from proxy_attention.data.sources import open_source
from proxy_attention.data.tools import download
from study.data import main

ROOT = Path(__file__).parents[3]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture
def run(capsys):
    """Run the command line; returns exit code, standard output and error stream."""

    def call(*argv):
        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return call


def tree(root):
    """Every file below a root with its content."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def one_line(error):
    assert error.endswith("\n")
    assert error.count("\n") == 1
    return error


# ---- list


def test_every_data_set_is_listed_with_what_there_is_to_know_of_it(run):
    code, out, _ = run("list", "--format", "csv")

    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["name"] for row in rows] == list(SOURCES)
    assert set(rows[0]) == {"name", "classes", "split", "licence", "home", "brought", "layout", "label"}
    assert all(all(row.values()) for row in rows)
    assert {row["brought"] for row in rows} == {"download", "by hand", "in the package"}


def test_the_table_names_every_data_set(run):
    code, out, _ = run("list")

    assert code == 0
    assert not [name for name in SOURCES if name not in out]
    assert "list --format csv also tells each layout" in out
    assert all(source.home in out for source in SOURCES.values())


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.needs_root])
def test_every_data_set_can_be_fetched_whole_or_says_where_to_get_it(name):
    source = SOURCES[name]
    assert bool(source.archives) != bool(source.by_hand)
    for archive in source.archives:
        assert archive.url.startswith(("https://", "http://"))
        assert len(archive.md5) == 32
        assert archive.md5 == archive.md5.lower()
        assert archive.filename == Path(archive.filename).name


# ---- what is asked wrongly


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "the command must be one of check, list, prepare, sample; got ''"),
        (("fetch",), "the command must be one of check, list, prepare, sample; got 'fetch'"),
        (("list", "--format", "html"), "--format must be one of csv, table; got 'html'"),
        (("list", "--forma", "csv"), "did you mean --format?"),
        (("prepare",), "the following arguments are required: NAME"),
        (("prepare", "cifar11"), "NAME must be one of "),
        (("prepare", "fashion-mnist-sample", "--root", "x"), "--root must not be given with 'fashion-mnist-sample'"),
        (("check",), "the following arguments are required: DIR"),
        (("check", "nowhere"), "DIR must be an existing folder; got 'nowhere'"),
        (("check", ".", "--dataset", "cifar11"), "--dataset must be one of "),
        (("sample", "fashion-mnist-sample"), "the following arguments are required: --to"),
        (("sample", "cifar11", "--to", "x"), "NAME must be one of "),
        (("sample", "cifar10", "--to", "x", "--root", "nowhere"), "nowhere"),
        (("sample", "fashion-mnist-sample", "--to", "x", "--train", "0"), "--train must be a whole number in [1, "),
        (("sample", "fashion-mnist-sample", "--to", "x", "--train", "15"), "of each of 10 classes (10 or 20); got 15"),
        (("sample", "fashion-mnist-sample", "--to", "x", "--test", "1010"), "--test must be at most 1000: class "),
    ],
)
def test_bad_input_is_answered_in_one_line(argv, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, out, error = run(*argv)

    assert (code, out) == (2, "")
    assert said in one_line(error)
    assert not list(tmp_path.iterdir())


def test_help_tells_the_commands_and_the_exit_codes(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(word in out for word in ("list", "prepare", "check", "sample", "130 interrupted"))


# ---- check


def plant(root):
    """A truncated file, a text file, and one image in both train and test; what is to be said of them."""
    images = sorted(root.glob("train/*/*.png"))
    cut, twin = images[3], images[17]
    cut.write_bytes(cut.read_bytes()[:-12])  # no end chunk: Pillow decodes it without a word
    notes = images[25].with_name("notes.txt")
    notes.write_text("Remember to look at these again.\n")
    test = root / "test" / twin.parent.name / "one_more.png"
    shutil.copyfile(twin, test)
    cut, twin, notes, test = (path.relative_to(root).as_posix() for path in (cut, twin, notes, test))
    return [
        ["kind", "file", "other"],
        ["broken", cut, "truncated: a PNG file without its end chunk"],
        ["no image", notes, "no image by its name"],
        ["leak", test, twin],
    ]


def test_three_planted_faults_are_found_and_nothing_else(run, own_images):
    assert len(list(own_images.rglob("*.png"))) >= 40
    assert run("check", own_images, "--format", "csv") == (0, "kind,file,other\n", "")
    planted = plant(own_images)

    code, out, error = run("check", own_images, "--format", "csv")

    assert list(csv.reader(io.StringIO(out))) == planted
    assert (code, error) == (1, "")


SPLIT = ("train/cat", "train/dog", "test/cat", "test/dog")
PLANTED = {
    "JPEG": (SPLIT, "train/cat/cut.jpg", "train/dog/notes.txt", "test/cat/twin.jpg", "leak"),
    "PNG": (SPLIT, "test/dog/cut.png", "test/dog/notes.txt", "test/cat/twin.jpg", "leak"),
    "GIF": (SPLIT, "test/dog/cut.gif", "test/dog/notes.txt", "test/cat/twin.jpg", "leak"),
    "text called an image": (SPLIT, "test/dog/cut.png", "test/cat/notes.jpg", "test/cat/twin.jpg", "leak"),
    "twin in another format": (SPLIT, "train/cat/cut.jpg", "train/cat/notes.txt", "test/cat/twin.bmp", "leak"),
    "twin of another class": (SPLIT, "train/cat/cut.jpg", "train/cat/notes.txt", "test/dog/twin.bmp", "leak"),
    "capitals": (SPLIT, "train/cat/CUT.JPG", "train/dog/NOTES.TXT", "test/cat/TWIN.JPG", "leak"),
    "deep folders": (
        tuple(f"{split}/pets/small/{cls}" for split in ("train", "test") for cls in ("cat", "dog")),
        *("train/pets/small/dog/cut.jpg", "train/pets/notes.txt", "test/pets/small/cat/twin.jpg", "leak"),
    ),
    "no test": (("cat", "dog"), "cat/cut.jpg", "cat/notes.txt", "cat/twin.jpg", "possible leak"),
    "no test, another class": (("cat", "dog"), "dog/cut.png", "dog/notes.jpg", "dog/twin.png", "possible leak"),
    # what no study would train on
    "val, twin in val": ((*SPLIT, "val/cat"), "val/cat/cut.jpg", "val/cat/notes.txt", "val/cat/twin.png", "leak"),
    "val, twin in test": ((*SPLIT, "val/cat"), "val/cat/cut.jpg", "val/cat/notes.txt", "test/dog/twin.png", "leak"),
    "val and no test": (
        ("train/cat", "train/dog", "val/cat"),
        *("train/cat/cut.jpg", "val/cat/notes.txt", "val/cat/twin.jpg", "leak"),
    ),
    "other names": (("Train/cat", "Testing/cat"), "Train/cat/cut.jpg", "Train/a.md", "Testing/cat/twin.png", "leak"),
    "in a folder": (("a/train/cat", "a/test/cat"), "a/train/cat/cut.jpg", "a/notes.md", "a/test/cat/twin.png", "leak"),
    "one class": (("cat",), "cat/cut.jpg", "cat/notes.txt", "cat/twin.png", "possible leak"),
    "one class, split": (("train/cat", "test/cat"), "test/cat/cut.png", "train/cat/a.txt", "test/cat/twin.png", "leak"),
    "a class of test alone": (
        ("train/cat", "train/dog", "test/owl"),
        *("test/owl/cut.png", "test/owl/notes.txt", "test/owl/twin.jpg", "leak"),
    ),
    "test alone": (("test/cat",), "test/cat/cut.jpg", "test/cat/notes.txt", "test/cat/twin.jpg", "possible leak"),
    "a folder of text": (SPLIT, "train/cat/cut.jpg", "train/notes/notes.txt", "test/cat/twin.jpg", "leak"),
    "images in the root": (("cat", "dog", ""), "cut.jpg", "cat/notes.txt", "dog/twin.jpg", "possible leak"),
    "images in train": ((*SPLIT, "train"), "train/cut.jpg", "train/notes.txt", "test/cat/twin.jpg", "leak"),
    "no class": (("train",), "train/cut.jpg", "train/notes.txt", "train/twin.jpg", "possible leak"),
    "no class, split": (("train", "test"), "train/cut.jpg", "test/notes.txt", "test/twin.jpg", "leak"),
    "images alone": (("",), "cut.jpg", "notes.txt", "twin.png", "possible leak"),
}
"""Folders that hold images; a file that is cut, one of text, and a twin of the first image; what the twin is."""


def lay(root, folders):
    """Three images in each of these folders, and what systems leave beside them; the path of the first."""
    for number, folder in enumerate(folders):
        put(root, ((Path(folder) / name).as_posix() for name in ("0.jpg", "1.jpeg", "2.JPG")), first=10 * number)
        for left in (".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._0.jpg", "__MACOSX/notes.txt", "@eaDir/3.jpg"):
            (root / folder / left).parent.mkdir(exist_ok=True)
            (root / folder / left).write_text("of the system")
    return (Path(folders[0]) / "0.jpg").as_posix()


@pytest.mark.parametrize("case", PLANTED)
def test_three_planted_faults_are_three_rows_however_the_images_lie(case, run, tmp_path):
    folders, cut, text, twin, kind = PLANTED[case]
    first = lay(tmp_path, folders)
    assert run("check", tmp_path, "--format", "csv") == (0, "kind,file,other\n", "")
    picture(99).save(tmp_path / cut)
    (tmp_path / cut).write_bytes((tmp_path / cut).read_bytes()[:-12])
    (tmp_path / text).parent.mkdir(exist_ok=True)
    (tmp_path / text).write_text("Remember to look at these again.\n")
    if twin.lower().endswith(".jpg"):
        shutil.copyfile(tmp_path / first, tmp_path / twin)
    else:
        with Image.open(tmp_path / first) as image:
            image.save(tmp_path / twin)

    code, out, error = run("check", tmp_path, "--format", "csv")

    rows = list(csv.reader(io.StringIO(out)))[1:]
    assert [(row[0], row[1]) for row in rows] == [("broken", cut), ("no image", text), (kind, twin)]
    assert rows[2][2] == first
    assert (code, error) == (1, "")


def test_a_folder_that_no_study_would_train_on_is_looked_at_and_told_to_be_so(run, tmp_path):
    lay(tmp_path, ("train/cat", "train/dog", "val/cat"))

    code, out, _ = run("check", tmp_path)

    assert code == 0
    assert "9 images read, 2 classes, 6 to train and choose with, 3 test" in out
    assert "no study trains on it as it lies: data root must be DIR/<class>/* or DIR/train|test/<class>/*; " in out
    assert f"{str(tmp_path)!r} has train and a validation folder but no test: name the images" in out


def test_a_folder_without_an_image_is_refused(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")

    code, out, error = run("check", tmp_path)

    assert (code, out) == (2, "")
    assert "data root must hold at least one image" in one_line(error)


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.needs_root])
def test_every_data_set_as_its_publisher_ships_it_is_there_and_nothing_is_wrong_with_it(name, run, tmp_path):
    TREES[name](tmp_path)
    known, there = SOURCES[name].classes, len(open_source(name, tmp_path).classes)

    code, out, error = run("prepare", name, "--root", tmp_path)

    assert (code, error) == (0, "")
    assert f"{name} is there already: nothing was done" in out
    assert (f"{there} of its {known} classes are there\n" in out) == (known is not None and there < known)
    assert run("check", tmp_path, "--dataset", name, "--format", "csv") == (0, "kind,file,other\n", "")


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.by_hand])
def test_what_is_to_be_got_by_hand_is_told_on_one_line_with_its_address_and_place(name, run, tmp_path):
    code, out, error = run("prepare", name, "--root", tmp_path)

    assert (code, out) == (1, "")
    assert f"{name} must be got by hand: " in one_line(error)
    assert "://" in error or name == "folder"
    assert str(tmp_path) in error.partition("(now:")[0]


INNER = {
    "caltech101": "101_ObjectCategories",
    "caltech256": "256_ObjectCategories",
    "asl-alphabet": "asl_alphabet_train/asl_alphabet_train",
    "plant-village": "raw/color",
}
"""The folders of classes that may themselves be given."""


@pytest.mark.parametrize("name", INNER)
def test_text_among_the_images_is_found_where_the_folder_of_classes_is_given(name, run, tmp_path):
    TREES[name](tmp_path)
    place = tmp_path / INNER[name]
    first = Path(open_source(name, place).names[0])
    (place / first.parent.name / "notes.txt").write_text("no image")

    code, out, _ = run("check", place, "--dataset", name, "--format", "csv")

    assert (code, out) == (1, f"kind,file,other\nno image,{first.parent}/notes.txt,no image by its name\n")


def test_text_among_the_images_is_found_three_folders_down(run, tmp_path):
    top = tmp_path / "plant-village" / "PlantVillage-Dataset"
    TREES["plant-village"](top)
    (top / "raw" / "color" / "Apple___Apple_scab" / "notes.txt").write_text("no image")

    code, out, _ = run("check", tmp_path, "--dataset", "plant-village", "--format", "csv")

    assert code == 1
    assert "no image,color/Apple___Apple_scab/notes.txt," in out


def test_an_image_that_no_list_names_is_told_if_it_is_broken(run, tmp_path):
    TREES["oxford-iiit-pets"](tmp_path)
    picture(99).save(tmp_path / "images" / "cut_1.jpg")
    assert run("check", tmp_path, "--dataset", "oxford-iiit-pets")[0] == 0
    (tmp_path / "images" / "cut_1.jpg").write_bytes((tmp_path / "images" / "cut_1.jpg").read_bytes()[:-12])

    code, out, _ = run("check", tmp_path, "--dataset", "oxford-iiit-pets", "--format", "csv")

    assert code == 1
    assert out.startswith("kind,file,other\nbroken,images/cut_1.jpg,")


def test_a_long_path_is_not_folded_where_there_is_no_terminal(run, own_images):
    folder = sorted((own_images / "train").iterdir())[0] / "deep" / ("x" * 150)
    folder.mkdir(parents=True)
    shutil.copyfile(next(folder.parent.parent.glob("*.png")), folder / f"{'y' * 150}.png")

    _, out, _ = run("check", own_images)

    assert f" {folder.relative_to(own_images).as_posix()}/{'y' * 150}.png" in out


def test_what_the_system_refuses_is_one_clear_line(run):
    code, out, error = run("check", "x" * 5000)

    assert (code, out) == (2, "")
    assert "x" * 5000 in one_line(error)


def test_the_table_says_what_was_found_and_what_is_meant_by_it(run, own_images):
    planted = plant(own_images)

    code, out, _ = run("check", own_images)

    assert code == 1
    assert all(cell in out for row in planted[1:] for cell in row)
    assert "57 images read, 4 classes, 42 test" not in out
    assert "57 images read, 4 classes, 40 to train and choose with, 17 test" in out
    assert "two images are the same if their decoded pixels are" in out
    for line in ("1 broken: ", "1 no image: ", "1 leak: the same pixels in test and in train"):
        assert line in out


def test_what_is_for_information_is_told_apart_and_is_no_fault(run, own_images):
    folder = sorted((own_images / "train").iterdir())[0]
    first = sorted(folder.iterdir())[0]
    for i in range(22):
        shutil.copyfile(first, folder / f"zz_{i}.png")

    code, out, _ = run("check", own_images)

    assert code == 0
    assert "for information" in out
    assert "and 2 more" in out
    assert "22 duplicate: the same pixels twice within one split" in out
    assert out.endswith("nothing is wrong\n")


def test_a_data_set_is_checked_as_its_row_opens_it(run, cifar10):
    assert run("check", cifar10, "--dataset", "cifar10", "--format", "csv") == (0, "kind,file,other\n", "")
    batch = cifar10 / "cifar-10-batches-bin"
    content = (batch / "test_batch.bin").read_bytes()
    (batch / "test_batch.bin").write_bytes((batch / "data_batch_2.bin").read_bytes()[:3073] + content[3073:])

    code, out, _ = run("check", cifar10, "--dataset", "cifar10", "--format", "csv")

    assert code == 1
    assert out == "kind,file,other\nleak,test_batch/00000,data_batch_2/00000\n"


def test_a_name_cannot_command_the_terminal(run, own_images):
    folder = sorted((own_images / "train").iterdir())[0]
    (folder / "a\x1b[2Jb[bold].txt").touch()

    for form in ("csv", "table"):
        _, out, _ = run("check", own_images, "--format", form)
        assert "a\\x1b[2Jb[bold].txt" in out
        assert "\x1b" not in out


# ---- sample


@pytest.fixture(scope="session")
def cifar10_files(sample):
    """The binary version of CIFAR-10 with real images of other things: five batches of 20 and a test of 20."""
    order = torch.arange(len(sample)).view(10, -1)  # the sample is sorted by split, not by class
    ids = [(sample.labels == cls).nonzero().flatten()[:12] for cls in range(10)]
    assert order.numel() == len(sample)
    files = {"batches.meta.txt": ("\n".join(CIFAR) + "\n").encode()}
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        files[name] = b"".join(
            bytes([cls]) + sample.images[ids[cls][2 * number + again]].numpy().tobytes()
            for again in range(2)
            for cls in (range(10) if number % 2 else reversed(range(10)))
        )
    return {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}


@pytest.fixture
def cifar10(cifar10_files, tmp_path):
    root = tmp_path / "cifar10"
    for name, content in cifar10_files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_a_sample_holds_the_first_images_of_each_class_by_their_number(run, cifar10, tmp_path):
    target = tmp_path / "part"

    code, out, _ = run("sample", "cifar10", "--root", cifar10, "--to", target, "--train", 30, "--test", 10)

    assert code == 0
    assert "wrote 30 train and 10 test images of 10 classes" in out
    whole = open_source("cifar10", cifar10)
    expected = {}
    for split, each in (("train", 3), ("test", 1)):
        members = [i for i, tested in enumerate(whole.own_test) if tested == (split == "test")]
        for cls, name in enumerate(CIFAR):
            for i in [i for i in members if whole.labels[i] == cls][:each]:
                expected[f"{split}/{name}/{members.index(i):05d}.png"] = np.asarray(whole.decode(whole.read(i)))
    assert len(expected) == 40
    assert {name: np.asarray(Image.open(target / name)).tolist() for name in tree(target)} == {
        name: pixels.tolist() for name, pixels in expected.items()
    }


def test_a_sample_is_a_data_set_of_the_same_classes_and_split(run, tmp_path):
    target = tmp_path / "part"

    assert run("sample", "fashion-mnist-sample", "--to", target, "--train", 50, "--test", 20)[0] == 0

    images = load(list_folder(target), 28)
    assert set(images.classes) == set(open_source("fashion-mnist-sample").classes)
    assert (int((~images.own_test).sum()), int(images.own_test.sum())) == (50, 20)
    assert {path.name for path in tmp_path.iterdir()} == {"part"}


def test_without_numbers_a_sample_is_as_large_as_it_can_be(run, own_images, tmp_path):
    next(own_images.glob("train/*/*.png")).unlink()

    code, _, _ = run("sample", "folder", "--root", own_images, "--to", tmp_path / "part")

    counts = [len(list(folder.iterdir())) for folder in sorted((tmp_path / "part").glob("*/*"))]
    assert (code, counts) == (0, [4, 4, 4, 4, 9, 9, 9, 9])


def test_a_set_without_a_split_of_its_own_becomes_a_folder_without_one(run, own_images, tmp_path):
    code, out, _ = run("sample", "folder", "--root", own_images / "train", "--to", tmp_path / "part", "--train", 8)

    assert code == 0
    assert "wrote 8 images of 4 classes" in out
    assert len(list((tmp_path / "part").glob("*/*.png"))) == 8
    code, _, error = run("sample", "folder", "--root", own_images / "train", "--to", tmp_path / "more", "--test", 8)
    assert code == 2
    assert "--test must not be given where a data set has no test split of its own; got 8" in one_line(error)


def test_a_sample_does_not_replace_what_lies_there(run, tmp_path):
    for name in ("file", "full/mine.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path)

    for name in ("file", "full"):
        code, _, error = run("sample", "fashion-mnist-sample", "--to", tmp_path / name, "--train", 10)
        assert code == 2
        assert "--to must be a new " in one_line(error)

    assert tree(tmp_path) == before


def test_a_sample_is_not_written_into_its_own_data_set(run, own_images):
    code, _, error = run("sample", "folder", "--root", own_images, "--to", own_images / "part")

    assert code == 2
    assert "--to must lie outside the data set" in one_line(error)


def test_an_image_that_does_not_decode_leaves_no_sample(run, own_images, tmp_path):
    broken = sorted(own_images.glob("train/*/*.png"))[0]
    broken.write_bytes(broken.read_bytes()[:200])

    code, _, error = run("sample", "folder", "--root", own_images, "--to", tmp_path / "part")

    assert code == 2
    assert f"{broken.relative_to(own_images)} is not" in one_line(error)
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


def test_names_from_outside_cannot_leave_the_sample(run, monkeypatch, tmp_path):
    whole = open_source("fashion-mnist-sample")
    classes = ("../../up", "/etc", "..", ".", ".hidden", "a\\b", "a\0b", "ok", "a\nb", "")
    wild = Source(
        open=lambda root, label: partial(type(whole), **{**vars(whole), "classes": classes})(),
        **{field: getattr(SOURCES["folder"], field) for field in ("licence", "home", "classes", "split", "layout")},
        label="",
        needs_root=False,
    )
    monkeypatch.setitem(SOURCES, "wild", wild)
    target = tmp_path / "deep" / "part"

    code, _, _ = run("sample", "wild", "--to", target, "--train", 10, "--test", 10)

    assert code == 2  # ".", ".." and "" would share a folder, and that is refused
    classes = ("../../up", "/etc", "..", "x", ".hidden", "a\\b", "a\0c", "ok", "a\nd", "y")
    assert run("sample", "wild", "--to", target, "--train", 10, "--test", 10)[0] == 0
    assert {path.name for path in tmp_path.rglob("*.png")} >= {"00000.png"}
    names = {path.name for path in (target / "train").iterdir()}
    assert names == {"_._.._up", "_etc", "_.", "x", "_hidden", "a_b", "a_c", "ok", "a_d", "y"}
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


# ---- prepare


class Server:
    """A web server on this machine.

    Attributes:
        files: what it serves, by path.
        asked: what it was asked for.
        silent: so many requests it answers in part, and then falls silent.
    """

    def __init__(self):
        self.files, self.asked, self.silent = {}, [], 0
        self.go_on = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                content = server.files.get(self.path)
                server.asked.append(self.path)
                self.send_response(200 if content is not None else 404)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    if len(server.asked) > server.silent:
                        self.wfile.write(content or b"")
                    else:
                        self.wfile.write(content[: len(content) // 2])
                        self.wfile.flush()
                        server.go_on.wait(20)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.go_on.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def packed(files, form):
    content = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(content, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def publish(server, images):
    """Serve images and a large file in one archive, a list in another, and a plain file; what is to lie there then."""
    files = images | {"readme.bin": os.urandom(200_000)}  # torchvision reads 32 kB at a time
    inner = packed({"lists/more.txt": b"an archive in an archive"}, "tgz")
    server.files = {
        "/images.tgz": packed({f"set/{name}": content for name, content in files.items()}, "tgz"),
        "/lists.zip": packed({"set/test.txt": b"a list", "inner.tar.gz": inner}, "zip"),
        "/plain.mat": b"a table",
    }
    whole = {f"set/{name}": content for name, content in files.items()}
    whole |= {"set/test.txt": b"a list", "lists/more.txt": b"an archive in an archive"}
    return whole | {name[1:]: content for name, content in server.files.items()}


def archives(server):
    return tuple(
        Archive(url=server.url + path, md5=hashlib.md5(content).hexdigest(), filename=path[1:])
        for path, content in server.files.items()
    )


def row(given, by_hand=""):
    return Source(
        open=lambda root, label: list_folder(root / "set"),
        needs_root=True,
        licence="free",
        home="here",
        classes=4,
        split="its own",
        layout="set/{train,test}/<class>/*",
        label="the folder",
        archives=given,
        by_hand=by_hand,
    )


@pytest.fixture
def known(server, image_folder, monkeypatch):
    """(name: content) of a served data set that is a row of the table, called four."""
    published = publish(server, tree(image_folder))
    monkeypatch.setitem(SOURCES, "four", row(archives(server)))
    return published


def test_a_data_set_is_fetched_unpacked_opened_and_told(run, known, tmp_path):
    root = tmp_path / "four"

    code, out, _ = run("prepare", "four", "--root", root)

    assert code == 0
    assert tree(root) == known
    assert "four: 4 classes; images: 40 to train and choose with, 16 test (its own)" in out
    assert f"study/run.py --search grid --set dataset=four --data-root {root}" in out
    assert {path.name for path in tmp_path.iterdir()} == {"four"}


def test_a_data_set_that_is_there_is_not_fetched_again(run, known, server, tmp_path):
    assert run("prepare", "four", "--root", tmp_path)[0] == 0
    server.asked.clear()

    code, out, _ = run("prepare", "four", "--root", tmp_path)

    assert code == 0
    assert "four is there already: nothing was done" in out
    assert not server.asked
    assert tree(tmp_path) == known


def test_the_place_is_below_the_current_folder_if_none_is_given(run, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert run("prepare", "four")[0] == 0
    assert tree(tmp_path / "data" / "four") == known


def test_an_archive_that_a_person_put_there_is_used_and_a_wrong_one_is_fetched_again(run, known, server, tmp_path):
    (tmp_path / "images.tgz").write_bytes(server.files["/images.tgz"])
    (tmp_path / "lists.zip").write_bytes(server.files["/lists.zip"][:-9])

    code, out, _ = run("prepare", "four", "--root", tmp_path)

    assert code == 0
    assert "images.tgz is there and whole" in out
    assert "lists.zip is there and is not what the publisher ships: it is fetched again" in out
    assert "/images.tgz" not in server.asked
    assert tree(tmp_path) == known


def test_what_is_fetched_is_not_believed(run, known, server, tmp_path):
    server.files["/images.tgz"] = server.files["/images.tgz"][:-200]

    code, _, error = run("prepare", "four", "--root", tmp_path)

    assert code == 1
    last = error.splitlines()[-1]
    assert f"data.py: {server.url}/images.tgz cannot be fetched: what came is not whole, or not what " in last
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tgz", ".png")]


def test_no_network_is_one_clear_line(run, known, server, tmp_path):
    server.close()

    code, _, error = run("prepare", "four", "--root", tmp_path)

    assert code == 1
    assert "/images.tgz cannot be fetched: [Errno 111] Connection refused; try again, or put " in error
    assert f"put images.tgz, lists.zip, plain.mat into {str(tmp_path)!r} (from {server.url}/images.tgz, " in error
    assert error.count("data.py:") == 1
    assert not download.unfinished(tmp_path)


def test_a_file_that_is_gone_is_one_clear_line(run, known, server, tmp_path):
    del server.files["/images.tgz"]

    code, _, error = run("prepare", "four", "--root", tmp_path)

    assert code == 1
    assert "/images.tgz cannot be fetched: HTTP Error 404: Not Found" in one_line(error)


def test_a_server_that_falls_silent_is_given_up(run, known, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    server.silent = 9

    code, _, error = run("prepare", "four", "--root", tmp_path)

    assert code == 1
    assert "/images.tgz cannot be fetched: timed out; try again" in error.splitlines()[-1]


def test_a_hostile_archive_leaves_nothing_behind(run, server, tmp_path, monkeypatch):
    server.files = {"/bad.zip": packed({"set/a.txt": b"x", "../../evil.txt": b"y"}, "zip")}
    monkeypatch.setitem(SOURCES, "four", row(archives(server)))

    code, _, error = run("prepare", "four", "--root", tmp_path / "root")

    assert code == 2
    assert "data.py: bad.zip must stay in its folder; '../../evil.txt' leads to" in error.splitlines()[-1]
    left = [path.relative_to(tmp_path / "root").parts[0] for path in tmp_path.rglob("*.txt")]
    assert set(left) <= {download.WORK}
    assert {path.name for path in tmp_path.iterdir()} == {"root"}


def test_what_cannot_be_fetched_says_where_to_get_it_and_exits_with_1(run, image_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "four", row((), "unpack set.zip of its page into DIR"))

    code, out, error = run("prepare", "four", "--root", tmp_path)

    assert (code, out) == (1, "")
    assert f"four must be got by hand: unpack set.zip of its page into {tmp_path} (now: " in one_line(error)
    assert not list(tmp_path.iterdir())
    shutil.copytree(image_folder, tmp_path / "set")
    code, out, _ = run("prepare", "four", "--root", tmp_path)
    assert code == 0
    assert "four is there already: nothing was done" in out


def test_a_place_that_cannot_be_written_to_is_one_clear_line(run, known, tmp_path):
    (tmp_path / "file").touch()

    code, _, error = run("prepare", "four", "--root", tmp_path / "file" / "four")

    assert code == 1
    assert "--root must be writable and have room; got " in one_line(error)


def test_what_ships_inside_the_package_needs_no_preparing(run):
    code, out, _ = run("prepare", "fashion-mnist-sample")

    assert code == 0
    assert "ships inside the package" in out


def test_a_second_process_does_not_prepare_the_same_place(run, known, tmp_path):
    with download._sole_process(tmp_path):
        code, _, error = run("prepare", "four", "--root", tmp_path)

    assert code == 2
    assert "data root must be prepared by one process at a time" in one_line(error)


def test_unpacked_files_of_another_layout_than_expected_are_a_data_error(run, server, tmp_path, monkeypatch):
    server.files = {"/odd.zip": packed({"other/a.txt": b"x"}, "zip")}
    monkeypatch.setitem(SOURCES, "four", row(archives(server)))

    code, _, error = run("prepare", "four", "--root", tmp_path)

    assert code == 2
    assert "data root must be an existing folder; got" in error.splitlines()[-1]
    assert not download.unfinished(tmp_path)


def test_ctrl_c_exits_with_130_and_tells_how_to_go_on(run, known, server, tmp_path, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "unpack", press)
    code, out, _ = run("prepare", "four", "--root", tmp_path)

    assert code == 130
    assert f"study/data.py prepare four --root {tmp_path}" in out
    assert "To go on (the archive that was being fetched begins again):" in out
    monkeypatch.undo()
    monkeypatch.setitem(SOURCES, "four", row(archives(server)))
    server.asked.clear()
    assert run("prepare", "four", "--root", tmp_path)[0] == 0
    assert "/images.tgz" not in server.asked
    assert tree(tmp_path) == known


SCRIPT = """
import os, sys, time
from pathlib import Path
sys.path[:0] = {tests!r}
import test_data as here
import torchvision.datasets.utils
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.source import Archive
SOURCES["four"] = here.row({archives!r})
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.utime")

def begin(root, kill_at=None):
    child = os.fork()
    if child:
        return child
    left = kill_at
    def count(event, args):
        nonlocal left
        if event in CHANGES and args and str(root) in str(args[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), 9)
    if kill_at:
        sys.addaudithook(count)
    sys.stdout = sys.stderr = open(os.devnull, "w")
    os._exit(here.main(["prepare", "four", "--root", str(root)]))

def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def complete(root):
    assert end(begin(root)) == 0
    return here.tree(root)

top = Path(sys.argv[1])
in_download = begin(top / "first")
partial = top / "first" / ".preparing" / "download" / "images.tgz"
while not partial.exists() or not partial.stat().st_size:
    time.sleep(0.02)
os.kill(in_download, 9)
assert end(in_download) == -9
assert not (top / "first" / "images.tgz").exists()
expected = complete(top / "first")

for kill_at in range(1, 1000, {step}):
    root = top / str(kill_at)
    how = end(begin(root, kill_at))
    assert how in (0, -9), how
    found = here.tree(root) if how == 0 else complete(root)
    assert found == expected, (kill_at, sorted(set(found) ^ set(expected)))
    here.shutil.rmtree(root)
    if how == 0:
        break
print(kill_at)
"""
"""Prepares in processes that are killed: in the middle of a download, then at every so many changes of the disk."""


@pytest.mark.slow
def test_a_kill_at_any_point_loses_nothing_and_the_next_call_completes(server, image_folder, tmp_path):
    one_of_each = {Path(name).parent: (name, content) for name, content in tree(image_folder).items()}
    known = publish(server, dict(one_of_each.values()))
    server.silent = 2  # torchvision asks twice
    script = SCRIPT.format(
        tests=[str(ROOT / "tests"), str(ROOT / "tests" / "unit" / "study")], archives=archives(server), step=5
    )

    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50
    assert tree(tmp_path / "first") == known


def test_the_file_runs_as_a_command(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "study" / "data.py", "check", tmp_path / "nowhere"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "data.py: DIR must be an existing folder; got" in one_line(done.stderr)
