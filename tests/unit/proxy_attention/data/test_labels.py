import unicodedata
from pathlib import PurePosixPath

import pytest

from proxy_attention.data.labels import LABEL_FUNCTIONS, check_labels, label_of
from proxy_attention.errors import DataError


def checked(name, *paths):
    """Label these paths and check the labels; returns the classes."""
    labelled = [(PurePosixPath(path), label_of(PurePosixPath(path), name)) for path in paths]
    check_labels(labelled, name)
    return sorted({label for _, label in labelled})


READ = {
    "parent-folder": ("pets/1-cat/a_1.png", "1-cat"),
    "numbered-folder": ("pets/1-cat/a_1.png", "cat"),
    "top-folder": ("pets/1-cat/a_1.png", "pets"),
    "file-prefix": ("pets/1-cat/a_b_1.png", "a_b"),
}


@pytest.mark.parametrize("name", LABEL_FUNCTIONS)
def test_a_label_function_reads_its_part_of_the_path(name):
    path, label = READ[name]

    assert label_of(PurePosixPath(path), name) == label


@pytest.mark.parametrize("name", LABEL_FUNCTIONS)
def test_two_spellings_of_one_name_are_one_class(name):
    spellings = [unicodedata.normalize(form, "Café/Café_1.png") for form in ("NFC", "NFD")]

    assert len(set(spellings)) == 2
    assert checked(name, *spellings) == ["Café"]


ACCIDENTS = {
    "a label under two folders": ("cat/in/1.png", "cat/out/1.png", "dog/in/1.png", "dog/out/1.png"),
    "images beside a folder of images": ("cat/1.png", "cat/more/2.png", "dog/1.png"),
    "images beside a folder of a folder of images": ("cat/1.png", "cat/a/more/2.png", "dog/1.png"),
    "a class within its own": ("cat/1.png", "cat/cat/2.png", "dog/1.png"),
    "a class elsewhere, too": ("cat/1.png", "dog/1.png", "old/cat/1.png"),
}


@pytest.mark.parametrize("name", ["parent-folder", "numbered-folder"])
@pytest.mark.parametrize("case", ACCIDENTS)
def test_a_class_by_accident_is_refused_with_the_function_that_reads_it(case, name):
    with pytest.raises(DataError, match=r"(a class must lie in one place|beside folders of images); '") as refused:
        checked(name, *ACCIDENTS[case])

    classes = checked("top-folder", *ACCIDENTS[case])
    assert str(refused.value).endswith(f" (label_function = top-folder would read the classes {', '.join(classes)})")


def test_where_no_function_would_read_the_classes_it_is_said_how_they_must_lie():
    with pytest.raises(DataError, match=r"\(put all images of a class into one folder\)$"):
        checked("parent-folder", "all/cat/in/1.png", "all/dog/in/1.png")


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("parent-folder", ("animals/cat/1.png", "animals/dog/1.png", "car/1.png")),
        ("parent-folder", ("\u00e9/cat/1.png", "e\u0301/cat/1.png", "e\u0301/dog/1.png")),
        ("numbered-folder", ("1.cat/1.png", "2.cat/1.png", "3.dog/1.png")),
        ("file-prefix", ("a/cat_1.png", "b/cat_2.png", "dog_1.png")),
    ],
)
def test_what_a_function_is_made_for_is_no_accident(name, paths):
    assert {"cat", "dog"} <= set(checked(name, *paths))


def test_a_class_whose_name_is_no_utf8_is_refused_in_a_line():
    with pytest.raises(DataError, match=r"^a class must have a name in UTF-8; got 'caf.udce9': rename that folder$"):
        checked("parent-folder", "caf\udce9/1.png", "tea/1.png")
