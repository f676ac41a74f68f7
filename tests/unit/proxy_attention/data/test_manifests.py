import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from proxy_attention.data.manifests import (
    Item,
    bad_line,
    build_catalogue,
    check_classes,
    class_folders,
    find_top,
    image_names,
    mat_numbers,
    mat_texts,
    read_fields,
    read_lines,
    read_mat,
    relative_path,
    whole_number,
)
from proxy_attention.errors import DataError


def touch(root, *names):
    """An empty file at each path."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def refused(text):
    """Expect a DataError of exactly these words."""
    return pytest.raises(DataError, match=f"^{re.escape(text)}$")


# ---- the folder of a data set


def test_the_top_is_the_root_or_the_first_wrapper_that_holds_what_is_needed(tmp_path):
    touch(tmp_path, "b/list.txt", "c/list.txt", "c/images/1.jpg")

    assert find_top(tmp_path, ["a", "b", "c"], ["list.txt"]) == (tmp_path / "b", "list.txt")
    assert find_top(tmp_path, ["a", "b", "c"], ["images"]) == (tmp_path / "c", "images")
    assert find_top(tmp_path / "c", [], ["missing", "list.txt", "images"]) == (tmp_path / "c", "list.txt")


def test_a_root_that_is_no_folder_or_holds_nothing_that_is_needed_is_refused(tmp_path):
    with refused(f"data root must be an existing folder; got '{tmp_path / 'a'}'"):
        find_top(tmp_path / "a", [], ["images"])
    with refused(f"data root must hold images or lists; '{tmp_path}' does not"):
        find_top(tmp_path, ["wrapper"], ["images", "lists"])


# ---- lists


def test_lines_are_numbered_stripped_and_empty_ones_left_out(tmp_path):
    (tmp_path / "list.txt").write_text("\ufeffone \n\n  two words\n\t\n", encoding="utf-8")

    assert list(read_lines(tmp_path / "list.txt")) == [(1, "one"), (3, "two words")]


def test_a_list_that_is_missing_or_no_text_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    with refused(f"data root must hold list.txt as text; '{path}' is not (No such file or directory)"):
        list(read_lines(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"^data root must hold list.txt as text; .* is not \('utf-8' codec can't"):
        list(read_lines(path))


def test_a_line_must_have_as_many_fields_as_its_form(tmp_path):
    (tmp_path / "list.txt").write_text("a.jpg\t1\nb.jpg  2\nc.jpg\n")

    lines = read_fields(tmp_path / "list.txt", "<image> <class>")

    assert [next(lines), next(lines)] == [(1, ["a.jpg", "1"]), (2, ["b.jpg", "2"])]
    with refused("list.txt, line 3, must be <image> <class>; got 'c.jpg'"):
        next(lines)


@pytest.mark.parametrize("field", ["x", "-1", "1.0", "", "²"])
def test_a_number_must_be_whole(field, tmp_path):
    assert whole_number(tmp_path / "list.txt", 7, "042") == 42
    with refused(f"list.txt, line 7, must have a whole number there; got {field!r}"):
        whole_number(tmp_path / "list.txt", 7, field)


def test_a_long_line_is_cut_in_its_error(tmp_path):
    error = bad_line(tmp_path / "list.txt", 7, "be short", "x" * 100)

    assert str(error) == f"list.txt, line 7, must be short; got '{'x' * 79}..."


@pytest.mark.parametrize(
    ("listed", "name"),
    [("a.jpg", "images/a.jpg"), (".//a.jpg", "images/a.jpg"), ("c/./a b.jpg", "images/c/a b.jpg")],
)
def test_a_listed_path_is_one_below_its_folder(listed, name):
    assert relative_path(listed, "list.txt", "images") == name


@pytest.mark.parametrize("listed", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a\0b", "a\nb", "", ".", "./"])
def test_a_listed_path_that_is_none_or_leads_elsewhere_is_refused(listed):
    with refused(f"list.txt must name files below the data root; got {listed!r}"):
        relative_path(listed, "list.txt")


# ---- MATLAB files


@pytest.fixture
def mat(tmp_path):
    """Save variables in a MATLAB file; returns its path."""

    def save(**variables):
        savemat(tmp_path / "list.mat", variables)
        return tmp_path / "list.mat"

    return save


def cells(*values):
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def test_variables_are_read_flat_in_the_order_that_is_asked_for(mat):
    first, second = read_mat(mat(a=[[1, 2], [3, 4]], b=[[5]]), "b", "a")

    assert first.tolist() == [5]
    assert second.tolist() == [1, 2, 3, 4]


def test_a_matlab_file_that_is_missing_broken_or_lacks_a_variable_is_refused(mat, tmp_path):
    path = tmp_path / "list.mat"
    said = "data root must hold list.mat, a MATLAB file with a, b; "
    for content in (None, b"", b"\xff\xfe not what it should be", mat(a=[[1]]).read_bytes()):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{said}'{path}' is not \\(.*\\)$"):
            read_mat(path, "a", "b")


@pytest.mark.parametrize("values", [np.array([[1, 2]], dtype=np.uint8), np.array([[1.0, 2.0]])])
def test_whole_numbers_are_read_of_whatever_type_they_are(values, mat):
    assert mat_numbers(mat(labels=values), "labels") == [1, 2]


def test_other_numbers_are_refused(mat):
    with refused("list.mat must hold whole numbers as labels; got float64"):
        mat_numbers(mat(labels=[[0.5, 1.0]]), "labels")


def test_texts_are_read_from_cells(mat):
    assert mat_texts(mat(files=cells("a.jpg", "b.jpg")), "files") == ["a.jpg", "b.jpg"]


def test_numbers_where_texts_are_due_are_refused(mat):
    with refused("list.mat must hold texts as files; got '0'"):
        mat_texts(mat(files=np.arange(3)), "files")


# ---- class folders


def test_class_folders_come_in_order_with_the_images_right_inside_them(tmp_path):
    touch(tmp_path, "top/b/2.jpg", "top/b/1.PNG", "top/a/x.jpg", "top/a/deep/y.jpg", "top/a/notes.txt", "top/LICENCE")
    touch(tmp_path, "top/.hidden/x.jpg", "top/__MACOSX/x.jpg", "top/a/._x.jpg")

    assert list(class_folders(tmp_path, "top")) == [("a", ["top/a/x.jpg"]), ("b", ["top/b/1.PNG", "top/b/2.jpg"])]


def test_a_folder_without_class_folders_or_images_is_named(tmp_path):
    touch(tmp_path, "top/LICENCE", "empty/a/notes.txt")

    with refused(f"data root must hold class folders in top; '{tmp_path / 'top'}' holds none"):
        list(class_folders(tmp_path, "top"))
    with refused(f"a class folder must hold at least one image; '{tmp_path / 'empty' / 'a'}' holds none"):
        list(class_folders(tmp_path, "empty"))
    with refused(f"data root must hold the folder train/a; '{tmp_path}' does not"):
        image_names(tmp_path, "train/a")


# ---- the catalogue


def items(*names, own_test=False):
    """Items of ``<class>/<file>``."""
    return [Item(name, name.partition("/")[0], own_test) for name in names]


def test_a_catalogue_sorts_its_images_own_test_last_and_its_classes(tmp_path):
    listed = [*items("dog/2.jpg", own_test=True), *items("dog/1.jpg", "cat/1.jpg"), *items("cat/0.jpg", own_test=True)]
    touch(tmp_path, *(item.name for item in listed))

    catalogue = build_catalogue(tmp_path, listed)

    assert catalogue.names == ("cat/1.jpg", "dog/1.jpg", "cat/0.jpg", "dog/2.jpg")
    assert catalogue.labels == (0, 1, 0, 1)
    assert catalogue.own_test == (False, False, True, True)
    assert catalogue.classes == ("cat", "dog")
    assert catalogue.region is None


def test_a_catalogue_keeps_the_publishers_order_of_classes_and_reads_files_and_regions_by_name(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (2, 1), (1, 2, 3)).save(tmp_path / "dog" / "1.png")
    Image.new("RGB", (2, 1)).save(tmp_path / "cat" / "1.png")

    def region(name):
        return np.array([[name == "dog/1.png"]])

    catalogue = build_catalogue(tmp_path, items("dog/1.png", "cat/1.png"), order=["dog", "cat"], region=region)

    assert catalogue.classes == ("dog", "cat")
    assert catalogue.labels == (1, 0)
    assert catalogue.decode(catalogue.read(1)).getpixel((0, 0)) == (1, 2, 3)
    assert [bool(catalogue.region(i).all()) for i in range(2)] == [False, True]


def test_an_image_that_is_listed_twice_is_named(tmp_path):
    with refused("every image must be listed once; 1 are listed again: cat/1.jpg"):
        build_catalogue(tmp_path, [*items("cat/1.jpg", "dog/1.jpg"), *items("cat/1.jpg", own_test=True)])


def test_of_missing_images_the_first_are_named_and_all_are_counted(tmp_path):
    listed = [f"cat/{i:02}.jpg" for i in range(14)]
    touch(tmp_path, *listed[12:])

    with refused(
        f"every listed image must be in the data root; 13 of 15 are missing in '{tmp_path}': "
        f"{', '.join(listed[:10])} and 3 more"
    ):
        build_catalogue(tmp_path, items(*listed, "dog/1.jpg"))
    with refused(f"every listed image must be in the data root; 1 of 2 is missing in '{tmp_path}': dog/1.jpg"):
        build_catalogue(tmp_path, items("cat/12.jpg", "dog/1.jpg"))


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["cat", "dog", "cat"], "every class must be named once; these are named twice: cat"),
        (["cat"], "a data set must have at least two classes of images; got ['cat']"),
        (["cat", "dog", "owl"], "every class must have images to train on; none is listed for owl"),
    ],
)
def test_classes_must_be_two_named_once_and_trained_on(classes, said):
    check_classes(["cat", "dog"], {"cat", "dog"})
    with refused(said):
        check_classes(classes, {"cat", "dog"})
