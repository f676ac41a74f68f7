from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from proxy_attention.data.catalogue import Catalogue
from proxy_attention.data.groups import Groups
from proxy_attention.data.sources import open_source
from proxy_attention.data.tools.subset import choose, refuse_taken, safe_name, write
from proxy_attention.errors import ConfigError, DataError


def catalogue(*images, classes=("cat", "dog"), **fields):
    """Images of (name, label, own test); image i is a pixel of grey value i."""
    names, labels, own_test = zip(*images, strict=True)
    return Catalogue(
        **{
            "names": names,
            "labels": labels,
            "own_test": own_test,
            "classes": classes,
            "read": lambda i: bytes([i]),
            "decode": lambda content: Image.new("RGB", (1, 1), (content[0],) * 3),
            **fields,
        }
    )


def of_each(count, *, classes=2, own_test=False):
    """So many images of each class, one class after the other."""
    return [(f"{cls}_{i}.jpg", cls, own_test) for cls in range(classes) for i in range(count)]


def paths(chosen):
    return {number: str(path) for number, path in chosen.items()}


def test_the_first_images_of_each_class_are_chosen():
    assert paths(choose(catalogue(*of_each(3)), train=4, test=None)) == {
        0: "cat/0_0.png",
        1: "cat/0_1.png",
        3: "dog/1_0.png",
        4: "dog/1_1.png",
    }


def test_a_data_set_with_its_own_test_gives_a_part_of_it():
    images = [*of_each(2), *of_each(2, own_test=True)]

    assert paths(choose(catalogue(*images), train=2, test=2)) == {
        0: "train/cat/0_0.png",
        2: "train/dog/1_0.png",
        4: "test/cat/0_0.png",
        6: "test/dog/1_0.png",
    }


def test_images_of_an_own_val_are_in_no_part_because_they_would_be_trained_on():
    images = [*of_each(2), *of_each(2, own_test=True)]
    own_val = (True, False, True, False, False, False, False, False)

    assert list(choose(catalogue(*images, own_val=own_val), train=2, test=2)) == [1, 3, 4, 6]


def test_without_a_number_as_many_are_chosen_as_the_rarest_class_allows():
    images = [*of_each(3), ("x.jpg", 0, False), *of_each(1, own_test=True), ("y.jpg", 1, True)]

    chosen = choose(catalogue(*images), train=None, test=None)

    assert sorted(chosen) == [0, 1, 2, 3, 4, 5, 7, 8]


def test_records_without_a_file_are_named_by_their_number_in_their_split():
    images = [*of_each(1), *of_each(2, own_test=True)]

    chosen = choose(catalogue(*images, form="bytes"), train=2, test=2)

    assert list(paths(chosen).values()) == [
        "train/cat/00000.png",
        "train/dog/00001.png",
        "test/cat/00000.png",
        "test/dog/00002.png",
    ]


def test_two_files_of_one_name_in_a_class_get_their_number_too():
    images = [("a/x.jpg", 0, False), ("b/x.png", 0, False), ("x.jpg", 1, False), ("y.jpg", 1, False)]

    assert paths(choose(catalogue(*images), train=4, test=None)) == {
        0: "cat/x.png",
        1: "cat/x_00001.png",
        2: "dog/x.png",
        3: "dog/y.png",
    }


def test_a_number_that_makes_a_name_twice_is_refused():
    images = [("x_00002.jpg", 0, False), ("x.jpg", 0, False), ("b/x.png", 0, False), *[("y.jpg", 1, False)] * 3]

    with pytest.raises(DataError, match="images must have different names in a class; some have not"):
        choose(catalogue(*images), train=6, test=None)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((3, None), r"train must be a whole number of images of each of 2 classes \(2 or 4\); got 3"),
        ((1, None), r"train must be a whole number of images of each of 2 classes \(2\); got 1"),
        ((8, None), r"train must be at most 6: class 'cat' has 3 images; got 8"),
        ((None, 2), r"test must not be given where a data set has no test split of its own; got 2"),
    ],
)
def test_a_number_that_no_balanced_part_has_is_refused(counts, said):
    train, test = counts

    with pytest.raises(ConfigError, match=f"^{said}$"):
        choose(catalogue(*of_each(3)), train=train, test=test)


def test_two_classes_that_would_share_a_folder_are_refused():
    with pytest.raises(DataError, match="classes must have different names as folders; two of them have not"):
        choose(catalogue(*of_each(1), classes=("a/b", "A\\B")), train=None, test=None)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        *(("../../up", "_._.._up"), ("/etc", "_etc"), ("..", "_."), (".", "_"), ("", "_"), (".hidden", "_hidden")),
        *(("a\\b", "a_b"), ("a\0b", "a_b"), ("a\nb", "a_b"), ("ok", "ok"), ("two words.x", "two words.x")),
    ],
)
def test_a_name_from_outside_becomes_one_visible_file_or_folder(name, made):
    assert safe_name(name) == made


def test_names_from_outside_do_not_leave_the_folder_that_is_written(tmp_path):
    images = [("../../x.jpg", 0, False), ("/etc/..", 1, False)]
    wild = catalogue(*images, classes=("../../up", ".hidden"))

    write(wild, choose(wild, train=None, test=None), tmp_path / "deep" / "part")

    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert written == ["deep/part/_._.._up/x.png", "deep/part/_hidden/_..png"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_every_chosen_image_is_written_with_its_pixels_and_reported(tmp_path):
    images = catalogue(*of_each(50))
    chosen = {number: PurePosixPath("cat", f"{number}.png") for number in range(10, 90)}
    seen = []

    write(images, chosen, tmp_path / "part", progress=lambda done, total: seen.append((done, total)))

    for number, path in chosen.items():
        assert np.asarray(Image.open(tmp_path / "part" / path)).tolist() == [[[number] * 3]]
    assert len(list(tmp_path.rglob("*.png"))) == 80
    assert seen == [(32, 80), (64, 80), (80, 80)]


def test_groups_are_written_with_the_images_and_read_again(tmp_path):
    images = catalogue(*of_each(3), groups=Groups.of(["a, b", "c", "c", "conflicting", "c", "a, b"]))

    write(images, choose(images, train=4, test=None), tmp_path / "part")

    written = open_source("folder", tmp_path / "part")
    assert written.names == ("cat/0_0.png", "cat/0_1.png", "dog/1_0.png", "dog/1_1.png")
    assert [written.groups.name_of(image) for image in range(4)] == ["a, b", "c", "conflicting", "c"]
    assert written.others == ()


def test_what_a_killed_process_left_is_not_part_of_the_next(tmp_path):
    (tmp_path / ".part.part" / "cat").mkdir(parents=True)
    (tmp_path / ".part.part" / "cat" / "old.png").touch()

    write(catalogue(*of_each(1)), {0: PurePosixPath("cat/0.png")}, tmp_path / "part")

    assert [path.name for path in tmp_path.rglob("*.png")] == ["0.png"]


def test_an_image_that_does_not_decode_is_named_and_leaves_no_part(tmp_path):
    def refuse(content):
        if content == b"\1":
            raise OSError("no image")
        return Image.new("RGB", (1, 1))

    with pytest.raises(DataError, match=r"every image of a sample must be readable; 0_1.jpg is not"):
        write(catalogue(*of_each(2), decode=refuse), {i: PurePosixPath(f"{i}.png") for i in range(4)}, tmp_path / "a")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "law"), [("file", "a new folder"), ("full", "a new or empty folder")])
def test_what_lies_in_the_target_is_not_replaced(name, law, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")

    with pytest.raises(ConfigError, match=f"^target must be {law}; '{tmp_path / name}' "):
        write(catalogue(*of_each(1)), {0: PurePosixPath("0.png")}, tmp_path / name)

    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]


def test_an_empty_folder_may_be_the_target(tmp_path):
    refuse_taken(tmp_path)
    write(catalogue(*of_each(1)), {0: PurePosixPath("0.png")}, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["0.png"]
