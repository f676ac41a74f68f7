"""``study/data.py check``: every fault of a folder or a data set is one row, however the images lie."""

import csv
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from layout_trees import TREES, picture, put
from PIL import Image

from proxy_attention.data.sources import open_source
from study.data import main


@pytest.fixture
def run(capsys):
    """Run the command line; returns exit code, standard output and error stream."""

    def call(*argv):
        code = main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return call


def one_line(error):
    assert error.endswith("\n")
    assert error.count("\n") == 1
    return error


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
    assert "truncated" in rows[0][2]
    assert rows[1][2] == f"no image by its {'content' if text.endswith('jpg') else 'name'}"
    assert rows[2][2] == first
    assert (code, error) == (1, "")


def test_a_folder_that_no_study_would_train_on_is_looked_at_and_told_to_be_so(run, tmp_path):
    lay(tmp_path, ("train/cat", "train/dog", "val/cat"))

    code, out, _ = run("check", tmp_path)

    assert code == 0
    assert "9 images read, 2 classes, 6 to train and choose with, 3 test" in out
    assert "no study trains on it as it lies: data root must be DIR/<class>/* or DIR/train|test/<class>/*; " in out
    assert f"{str(tmp_path)!r} has train and a validation folder but no test: name the images" in out


def test_an_image_of_more_pixels_than_allowed_is_broken_and_the_option_is_told(run, tmp_path):
    lay(tmp_path, ("cat", "dog"))
    Image.new("L", (300, 200)).save(tmp_path / "cat" / "large.png")

    code, out, _ = run("check", tmp_path, "--format", "csv", "--max-pixels", "59999")

    assert code == 1
    assert out == 'kind,file,other\nbroken,cat/large.png,"it has 60,000 pixels; --max-pixels allows 59,999"\n'
    assert run("check", tmp_path, "--format", "csv", "--max-pixels", "60000")[0] == 0


@pytest.mark.timeout(60)
def test_a_pipe_among_the_images_is_broken_and_not_waited_for(run, tmp_path):
    lay(tmp_path, ("cat", "dog"))
    os.mkfifo(tmp_path / "cat" / "pipe.png")

    assert run("check", tmp_path, "--format", "csv")[1] == "kind,file,other\nbroken,cat/pipe.png,no regular file\n"


def test_a_folder_without_an_image_is_refused(run, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")

    code, out, error = run("check", tmp_path)

    assert (code, out) == (2, "")
    assert "data root must hold at least one image" in one_line(error)


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


def test_what_the_system_refuses_is_one_clear_line(run):
    code, out, error = run("check", "x" * 5000)

    assert (code, out) == (2, "")
    assert "x" * 1000 in one_line(error)


def test_a_data_set_is_checked_as_its_row_opens_it(run, tmp_path):
    TREES["cifar10"](tmp_path)
    assert run("check", tmp_path, "--dataset", "cifar10", "--format", "csv") == (0, "kind,file,other\n", "")
    batch = tmp_path / "cifar-10-batches-bin"
    content = (batch / "test_batch.bin").read_bytes()
    (batch / "test_batch.bin").write_bytes((batch / "data_batch_2.bin").read_bytes()[:3073] + content[3073:])

    code, out, _ = run("check", tmp_path, "--dataset", "cifar10", "--format", "csv")

    assert code == 1
    assert out == "kind,file,other\nleak,test_batch/00000,data_batch_2/00000\n"


@pytest.fixture
def deep(tmp_path):
    """A folder of images of 16 bits, of which one comes out flat."""
    for number, highest in enumerate((4000, 3000, 4095, 30)):
        path = tmp_path / "deep" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.linspace(0, highest, 256).astype(np.uint16).reshape(16, 16)).save(path)
    return tmp_path / "deep"


def test_images_that_come_out_flat_are_listed_and_the_white_can_be_given(run, deep):
    assert run("check", deep, "--format", "csv")[:2] == (0, "kind,file,other\nflat,dog/3.png,values of 0 to 1 of 255\n")
    assert run("check", deep, "--format", "csv", "--white-level", 30)[1].count("flat") == 0

    code, out, error = run("check", deep, "--white-level", "-1")

    assert (code, out, one_line(error)) == (2, "", "data.py: --white-level must be a finite number > 0; got '-1'\n")


def test_values_that_do_not_tell_their_white_are_told_and_every_image_is_still_read(run, deep):
    Image.fromarray(np.full((16, 16), -5, np.float32)).save(deep / "cat" / "minus.tif")

    code, out, _ = run("check", deep)
    sampled, _, error = run("sample", "folder", "--root", deep, "--to", deep.parent / "sampled")

    assert code == 0
    assert "5 images read" in out
    assert "no study trains on it as it lies: " in out
    assert "in cat/minus.tif, lie below and reach -5; set --white-level to the value that is white" in out
    assert (sampled, one_line(error)) != (0, "")
    assert run("sample", "folder", "--root", deep, "--to", deep.parent / "given", "--white-level", "4095")[0] == 0
    with Image.open(deep.parent / "given" / "cat" / "0.png") as image:
        assert (image.mode, image.getextrema()[0][1]) == ("RGB", 249)
