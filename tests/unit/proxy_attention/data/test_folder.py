import os

import pytest
from PIL import Image

from proxy_attention.data.folder import hidden, list_all, list_folder
from proxy_attention.data.images import load
from proxy_attention.data.labels import LABEL_FUNCTIONS, unnumbered
from proxy_attention.errors import ConfigError, DataError


def put(root, *paths):
    """A small image at each path, each of its own colour."""
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (number, 100, 200)).save(root / path)
    return root


def test_one_folder_a_class_is_a_data_set_without_a_test_split(tmp_path):
    catalogue = list_folder(put(tmp_path, "dog/1.png", "cat/2.jpg", "cat/1.PNG"))

    assert catalogue.names == ("cat/1.PNG", "cat/2.jpg", "dog/1.png")
    assert catalogue.classes == ("cat", "dog")
    assert catalogue.labels == (0, 0, 1)
    assert catalogue.own_test == (False, False, False)


def test_train_and_test_folders_keep_their_own_test_split(tmp_path):
    catalogue = list_folder(put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/dog/1.png"))

    assert catalogue.names == ("train/cat/1.png", "train/dog/1.png", "test/dog/1.png")
    assert catalogue.own_test == (False, False, True)
    assert catalogue.labels == (0, 1, 1)


def test_images_may_lie_deeper_and_their_own_folder_names_the_class(tmp_path):
    catalogue = list_folder(put(tmp_path, "pets/cat/1.png", "pets/dog/1.png"))

    assert catalogue.classes == ("cat", "dog")


def test_a_file_prefix_can_name_the_class(tmp_path):
    root = put(tmp_path, "american_bulldog_10.jpg", "american_bulldog_2.jpg", "Abyssinian_1.jpg")

    catalogue = list_folder(root, "file-prefix")

    assert catalogue.classes == ("Abyssinian", "american_bulldog")
    assert catalogue.labels == (0, 1, 1)


LABELLED = {
    "parent-folder": ("a/x_1.png", "b/y_1.png"),
    "numbered-folder": ("001.a/x_1.png", "002.b/y_1.png"),
    "file-prefix": ("x_1.png", "y_1.png"),
    "top-folder": ("a/in/1.png", "b/in/1.png", "b/2.png"),
}


@pytest.mark.parametrize("name", LABEL_FUNCTIONS)
def test_every_label_function_finds_two_classes(name, tmp_path):
    assert len(list_folder(put(tmp_path, *LABELLED[name]), name).classes) == 2


UNLABELLED = {
    "parent-folder": ("a/1.png", "b/1.png", "1.png"),
    "numbered-folder": ("1.a/1.png", "2.b/1.png", "1.png"),
    "file-prefix": ("x_1.png", "y_1.png", "1.png"),
    "top-folder": ("a/1.png", "b/1.png", "1.png"),
}


@pytest.mark.parametrize("name", LABEL_FUNCTIONS)
def test_an_image_in_which_a_label_function_finds_no_class_is_named(name, tmp_path):
    with pytest.raises(DataError, match=rf"^1.png has no class: {name} finds none in its path"):
        list_folder(put(tmp_path, *UNLABELLED[name]), name)


@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("001.ak47", "ak47"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("1043-n000001-Shiba_Dog", "Shiba_Dog"),
        ("251.airplanes-101", "airplanes-101"),
        ("car", "car"),
        ("3d", "3d"),
    ],
)
def test_a_folders_name_is_a_class_without_the_numbers_before_it(folder, label):
    assert unnumbered(folder) == label


def test_an_unknown_label_function_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(
        ConfigError, match="one of file-prefix, numbered-folder, parent-folder, top-folder; got 'regex'"
    ):
        list_folder(tmp_path, "regex")


def test_hidden_files_and_folders_and_other_files_are_left_out(tmp_path):
    root = put(tmp_path, "a/1.png", "b/1.png", "a/.2.png", ".cache/3.png")
    (root / "a" / "notes.txt").write_text("not an image")

    assert list_folder(root).names == ("a/1.png", "b/1.png")


def test_a_missing_root_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data root must be an existing folder; got .*nowhere"):
        list_folder(tmp_path / "nowhere")


def test_a_file_is_no_root(tmp_path):
    (tmp_path / "a.png").touch()

    with pytest.raises(DataError, match=r"data root must be an existing folder; got .*a.png"):
        list_folder(tmp_path / "a.png")


def test_an_empty_root_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds none"):
        list_folder(tmp_path)


def test_one_class_is_no_data_set(tmp_path):
    with pytest.raises(DataError, match=r"at least two classes of images; got \['cat'\]"):
        list_folder(put(tmp_path, "cat/1.png", "cat/2.png"))


def test_an_empty_class_folder_is_named(tmp_path):
    root = put(tmp_path, "cat/1.png", "dog/1.png")
    (root / "eel").mkdir()

    with pytest.raises(DataError, match=r"a class folder must hold at least one image; .*eel' holds none"):
        list_folder(root)


def test_a_class_that_only_test_has_is_named(tmp_path):
    with pytest.raises(DataError, match="train lacks eel, owl"):
        list_folder(put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/owl/1.png", "test/eel/1.png"))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_without_a_test_folder_is_explained(name, tmp_path):
    with pytest.raises(DataError, match="has train and a validation folder but no test: name the images"):
        list_folder(put(tmp_path, "train/cat/1.png", "train/dog/1.png", f"{name}/cat/1.png"))


def test_a_third_split_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"also has val .*val is drawn from train: move its images there"):
        list_folder(put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "val/cat/1.png"))


APART = {
    "capitals": ("Train/cat/1.png", "Train/dog/1.png", "Test/cat/1.png"),
    "other words": ("training/cat/1.png", "training/dog/1.png", "testing/cat/1.png"),
    "one of them named so": ("train/cat/1.png", "train/dog/1.png", "Testing/cat/1.png"),
    "in a folder": ("set/train/cat/1.png", "set/train/dog/1.png", "set/test/cat/1.png"),
    "in a folder of a folder": ("a/set/Train/cat/1.png", "a/set/Train/dog/1.png", "a/set/Test/cat/1.png"),
    "in a folder beside a class": ("eel/1.png", "set/train/cat/1.png", "set/test/cat/1.png"),
    "a word of the name": ("seg_train/cat/1.png", "seg_train/dog/1.png", "seg_test/cat/1.png"),
    "another word of the name": ("training_set/cat/1.png", "training_set/dog/1.png", "test_set/cat/1.png"),
    "with val": ("Train/cat/1.png", "Train/dog/1.png", "Val/cat/1.png", "Test/cat/1.png"),
}
"""Splits that are not DIR/train and DIR/test."""


@pytest.mark.parametrize("case", APART)
def test_a_test_split_of_another_name_or_place_does_not_become_training_images(case, tmp_path):
    put(tmp_path, *APART[case])
    place = tmp_path / "a" / "set" if "a/set" in APART[case][0] else tmp_path / "set"

    with pytest.raises(DataError, match=r"^data root must hold train and test, named so; they lie in ") as refused:
        list_folder(tmp_path)

    assert f"they lie in {str(place if place.exists() else tmp_path)!r} (name them so, or give" in str(refused.value)


def test_a_validation_split_of_another_name_or_place_does_not_become_training_images(tmp_path):
    put(tmp_path, "set/Train/cat/1.png", "set/Train/dog/1.png", "set/Valid/cat/1.png")

    with pytest.raises(DataError, match=r"set' has train and a validation folder but no test"):
        list_folder(tmp_path)


@pytest.mark.parametrize(
    "other", ["car", "test tube", "contest", "station/test"], ids=["car", "test tube", "contest", "elsewhere"]
)
def test_a_class_may_be_called_train_if_nothing_beside_it_is_called_test(other, tmp_path):
    catalogue = list_folder(put(tmp_path, "train/1.png", f"{other}/1.png"))

    assert catalogue.classes == tuple(sorted(("train", other.rpartition("/")[2])))
    assert not any(catalogue.own_test)


def test_within_train_a_class_may_have_any_name(tmp_path):
    root = put(tmp_path, "train/train/1.png", "train/test/1.png", "test/train/1.png")

    assert list_folder(root).own_test == (False, False, True)


@pytest.mark.parametrize("left", ["Thumbs.db", "desktop.ini", ".DS_Store", "__MACOSX", "@eaDir"])
def test_what_a_system_leaves_among_the_images_is_hidden(left, tmp_path):
    root = put(tmp_path, "a/1.png", "b/1.png")
    if "." in left:
        (root / left).touch()
    else:
        put(tmp_path, f"{left}/2.png", f"a/{left}/2.png")

    assert hidden(left)
    assert list_folder(root).names == ("a/1.png", "b/1.png")
    assert list_all(root)[0].names == ("a/1.png", "b/1.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_read_is_named_not_left_out(tmp_path):
    root = put(tmp_path, "a/1.png", "b/1.png")
    (root / "b").chmod(0)

    for look in (list_folder, list_all):
        with pytest.raises(DataError, match=r"a folder of images must be readable; '.*b' is not \(Permission denied\)"):
            look(root)
    (root / "b").chmod(0o700)


def test_a_link_back_up_is_followed_once(tmp_path):
    root = put(tmp_path, "cat/1.png", "dog/1.png")
    (root / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "dog" / "self").symlink_to(root / "dog", target_is_directory=True)

    assert list_folder(root).names == ("cat/1.png", "dog/1.png")


def test_a_class_folder_may_be_a_link(tmp_path):
    put(tmp_path, "elsewhere/dogs/1.png", "root/cat/1.png")
    (tmp_path / "root" / "dog").symlink_to(tmp_path / "elsewhere" / "dogs", target_is_directory=True)

    assert list_folder(tmp_path / "root").names == ("cat/1.png", "dog/1.png")


def test_two_classes_that_are_one_folder_are_refused_not_dropped(tmp_path):
    root = put(tmp_path, "cat/1.png", "dog/1.png")
    (root / "kitten").symlink_to(root / "cat", target_is_directory=True)

    with pytest.raises(DataError, match=r"a folder of images must be found once; '.*kitten' is '.*cat' again"):
        list_folder(root)


def test_a_link_that_leads_from_train_to_test_is_refused(tmp_path):
    root = put(tmp_path, "train/cat/1.png", "train/dog/1.png", "test/cat/1.png")
    (root / "train" / "dog" / "loop").symlink_to(root, target_is_directory=True)

    with pytest.raises(DataError, match=r"a folder of images must be found once; '.*test' is '.*loop/test' again"):
        list_folder(root)


def test_a_link_to_nothing_is_an_unreadable_image(tmp_path):
    root = put(tmp_path, "cat/1.png", "dog/1.png")
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nothing.png")

    with pytest.raises(DataError, match=r"1 of 3 is not: cat/gone.png"):
        load(list_folder(root), 16)


# ---- what is only to be looked at


def test_every_image_is_listed_however_it_lies_with_the_split_that_its_folders_tell(tmp_path):
    names = ("1.png", "Train/2.png", "a/val/b/3.png", "a/Testing/4.png", "a/.b/5.png", "a/notes.txt", "latest/6.png")

    catalogue, splits = list_all(put(tmp_path / "pets", *(name for name in names if name.endswith("png"))))

    listed = ("1.png", "Train/2.png", "latest/6.png", "a/val/b/3.png", "a/Testing/4.png")
    assert catalogue.names == listed
    assert splits == ("train", "train", "train", "val", "test")
    assert [catalogue.classes[label] for label in catalogue.labels] == ["pets", "Train", "latest", "b", "Testing"]
    assert catalogue.own_test == (False, False, False, False, True)
    assert catalogue.decode(catalogue.read(3)).size == (6, 4)


def test_where_there_is_no_test_the_validation_images_are_it(tmp_path):
    catalogue, _ = list_all(put(tmp_path, "train/1.png", "valid/2.png"))

    assert catalogue.own_test == (False, True)


def test_a_folder_without_any_image_is_refused_also_to_look_at(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no image")

    with pytest.raises(DataError, match=r"data root must hold at least one image; .* holds none"):
        list_all(tmp_path)


def test_what_is_looked_at_is_followed_through_links_but_not_back_up(tmp_path):
    root = put(tmp_path / "root", "train/cat/1.png", "train/dog/1.png")
    (root / "train" / "cat" / "loop").symlink_to(root, target_is_directory=True)
    (root / "test").symlink_to(root / "train", target_is_directory=True)

    catalogue, splits = list_all(root)

    assert catalogue.names == ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    assert splits == ("train", "train", "test", "test")
