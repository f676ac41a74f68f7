"""Groups that a person gives in a table: read as they are meant, and refused in one line where they are not."""

import pytest
from layout_trees import put

from proxy_attention.data.images import load
from proxy_attention.data.sources import open_source
from proxy_attention.data.tables import read_table
from proxy_attention.errors import DataError

FILES = ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
ROWS = "cat/0.png,sea\ncat/1.png,land\ndog/0.png,sea\ndog/1.png,conflicting\n"


@pytest.fixture
def root(tmp_path):
    put(tmp_path, FILES)
    return tmp_path


def groups_of(root):
    catalogue = open_source("folder", root)
    return [catalogue.groups.name_of(image) for image in range(len(catalogue.names))]


def refusal(root, text, file="groups.csv"):
    (root / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as refused:
        open_source("folder", root)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_without_a_table_has_no_groups(root):
    assert open_source("folder", root).groups is None
    assert load(open_source("folder", root), 16).groups is None


def test_each_image_has_the_group_of_its_row_in_whatever_order(root):
    (root / "groups.csv").write_text("file,group\n" + ROWS)
    expected = ["sea", "land", "sea", "conflicting"]
    assert groups_of(root) == expected

    (root / "groups.csv").write_text("file,group\n" + "".join(reversed(ROWS.splitlines(keepends=True))))
    assert groups_of(root) == expected
    assert open_source("folder", root).groups.conflicting == {"conflicting"}


def test_a_table_may_be_as_a_spreadsheet_writes_it(root):
    """A byte order mark, lines of Windows, other columns, quotes, spaces, rows of empty fields."""
    rows = ['group,seen by,"file"', *(",".join((g, '"a, b"', f" {f}")) for f, g in pairs()), ",,"]
    (root / "groups.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())

    assert groups_of(root) == [group for _, group in pairs()]


def pairs():
    return [line.split(",") for line in ROWS.splitlines()]


def test_a_table_lies_beside_train_and_test_and_names_paths_from_there(tmp_path):
    put(tmp_path, [f"{part}/{cls}/0.png" for part in ("train", "test") for cls in ("cat", "dog")])
    (tmp_path / "groups.csv").write_text(
        "file,group\ntrain/cat/0.png,a\ntrain/dog/0.png,b\ntest/cat/0.png,b\ntest/dog/0.png,a\n"
    )

    assert groups_of(tmp_path) == ["a", "b", "b", "a"]


def test_a_metadata_file_with_a_column_of_groups_is_read_and_any_other_is_not(root):
    (root / "metadata.csv").write_text("img_id,y\n1,2\n")
    assert open_source("folder", root).groups is None

    (root / "metadata.csv").write_text("id,file_name,group\n" + "".join(f"7,{row}\n" for row in ROWS.splitlines()))
    assert groups_of(root) == ["sea", "land", "sea", "conflicting"]

    (root / "groups.csv").write_text("file,group\n" + "".join(f"{file},all\n" for file in FILES))
    assert groups_of(root) == ["all"] * 4


def test_a_table_is_no_stray_file(root):
    (root / "groups.csv").write_text("file,group\n" + ROWS)
    (root / "notes.txt").write_text("x")

    assert [one.name for one in open_source("folder", root).others] == ["notes.txt"]


def test_a_name_is_one_however_its_accents_are_written(root):
    put(root, ["dog/e\u0301.png"])
    (root / "groups.csv").write_text("file,group\n" + ROWS + "dog/\u00e9.png,land\n", encoding="utf-8")

    assert groups_of(root)[-1] == "land"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "groups.csv, line 1, must have the columns file, group; got ''"),
        ("file;group\ncat/0.png;sea\n", "groups.csv, line 1, must have the columns file, group; got 'file;group'"),
        ("file,group,group\n", "groups.csv, line 1, must have the columns file, group; got 'file,group,group'"),
        ("file,group\ncat/0.png,sea,blue\n", "groups.csv, line 2, must have 2 fields, as the header; got 'cat/0.png,s"),
        ("file,group\ncat/0.png,\n", "groups.csv, line 2, must have a group, as text of one line; got ''"),
        ('file,group\ncat/0.png,"a\nb"\n', "must have a group, as text of one line; got 'a\\nb'"),
        ('file,group\n"cat/0.png,a\n', "must hold groups.csv as a CSV file in UTF-8; "),
        (
            f"file,group\n{ROWS}cow/0.png,sea\n../dog/0.png,sea\n",
            "groups.csv must name images below the data root, such as 'cat/0.png'; 2 are none: cow/0.png, ../dog/0.png",
        ),
        (f"file,group\n{ROWS}cat/1.png,land\n", "groups.csv must name every image once; 1 is named again: cat/1.png"),
        (
            "file,group\ncat/0.png,a\ndog/1.png,b\n",
            "groups.csv must give every image a group; 2 are missing: cat/1.png, dog/0.png",
        ),
    ],
    ids=range(10),
)
def test_what_is_wrong_with_a_table_is_told_in_one_line(text, told, root):
    assert told in refusal(root, text)


def test_a_table_that_is_no_text_is_refused(root):
    (root / "groups.csv").write_bytes(b"\xff\xfe\x00file")

    with pytest.raises(DataError, match=r"must hold groups.csv as a CSV file in UTF-8; .* is not \('utf-8' codec"):
        open_source("folder", root)


def test_a_table_with_a_column_of_groups_is_checked_as_strictly_in_a_metadata_file(root):
    told = refusal(root, "file_name,group\ncat/0.png,a\n", "metadata.csv")

    assert told == "metadata.csv must give every image a group; 3 are missing: cat/1.png, dog/0.png, dog/1.png"


def test_other_groups_are_other_data_and_no_groups_are_the_data_as_they_were(root):
    digests = [load(open_source("folder", root), 16).digest]
    for rows in (ROWS, ROWS.replace("land", "sand")):
        (root / "groups.csv").write_text("file,group\n" + rows)
        digests.append(load(open_source("folder", root), 16).digest)

    assert len(set(digests)) == 3
    (root / "groups.csv").unlink()
    assert load(open_source("folder", root), 16).digest == digests[0]


def test_groups_of_unreadable_images_go_with_them(root):
    (root / "cat" / "0.png").write_bytes(b"no image")
    (root / "groups.csv").write_text("file,group\n" + ROWS)

    images = load(open_source("folder", root), 16, "skip")

    assert [images.groups.name_of(image) for image in range(3)] == ["land", "sea", "conflicting"]


def test_rows_come_with_the_lines_on_which_they_end(tmp_path):
    (tmp_path / "t.csv").write_text('a,b\n1,"x\ny"\n\n2,z\n')

    assert list(read_table(tmp_path / "t.csv", ("b",))) == [(3, {"a": "1", "b": "x\ny"}), (5, {"a": "2", "b": "z"})]


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"must hold t.csv as a CSV file in UTF-8; .* \(No such file or directory\)"):
        list(read_table(tmp_path / "t.csv", ("b",)))
