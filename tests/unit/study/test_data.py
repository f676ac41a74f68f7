"""``study/data.py`` as a person calls it: list, prepare and sample; its check has a file of its own."""

import csv
import io
import shlex
import shutil

import numpy as np
import pytest
from layout_trees import TREES
from PIL import Image
from published_archives import archives_of, pack, publish, row, serve, tree

from proxy_attention.data.folder import list_folder
from proxy_attention.data.images import load
from proxy_attention.data.registry import SOURCES
from proxy_attention.data.sources import open_source
from proxy_attention.data.tools import download
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


# ---- sample


def test_a_sample_holds_the_first_images_of_each_class_by_their_number(run, tmp_path):
    root, target = tmp_path / "cifar10", tmp_path / "part"
    TREES["cifar10"](root)

    code, out, _ = run("sample", "cifar10", "--root", root, "--to", target, "--train", 6, "--test", 2)

    assert code == 0
    assert f"wrote 6 train and 2 test images of 2 classes to {target}" in out
    assert shlex.quote(str(target)) in out.splitlines()[-1]
    whole = open_source("cifar10", root)
    expected = {f"train/{whole.classes[i % 2]}/{i:05d}.png": i for i in range(6)}
    expected |= {f"test/{whole.classes[i % 2]}/{i:05d}.png": 10 + i for i in range(2)}
    assert sorted(tree(target)) == sorted(expected)
    for name, i in expected.items():
        assert np.asarray(Image.open(target / name)).tolist() == np.asarray(whole.decode(whole.read(i))).tolist()


def test_a_sample_is_a_data_set_of_the_same_classes_and_split(run, tmp_path):
    target = tmp_path / "part"

    assert run("sample", "fashion-mnist-sample", "--to", target, "--train", 50, "--test", 20)[0] == 0

    images = load(list_folder(target), 28)
    assert set(images.classes) == set(open_source("fashion-mnist-sample").classes)
    assert (int((~images.own_test).sum()), int(images.own_test.sum())) == (50, 20)
    assert {path.name for path in tmp_path.iterdir()} == {"part"}


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


# ---- prepare


@pytest.fixture
def server():
    with serve() as made:
        yield made


@pytest.fixture
def known(server, monkeypatch):
    """(name: content) of a served data set that is a row of the table, called two."""
    published = publish(server)
    monkeypatch.setitem(SOURCES, "two", row(archives_of(server)))
    return published


def test_a_data_set_is_fetched_unpacked_opened_and_told(run, known, tmp_path):
    root = tmp_path / "two"

    code, out, _ = run("prepare", "two", "--root", root)

    assert code == 0
    assert tree(root) == known
    assert "two: 2 classes; images: 6 to train and choose with, 4 test (its own)" in out
    assert f"study/run.py --search grid --set dataset=two --data-root {root}" in out
    assert {path.name for path in tmp_path.iterdir()} == {"two"}


def test_a_data_set_that_is_there_is_not_fetched_again(run, known, server, tmp_path):
    assert run("prepare", "two", "--root", tmp_path)[0] == 0
    server.asked.clear()

    code, out, _ = run("prepare", "two", "--root", tmp_path)

    assert code == 0
    assert "two is there already: nothing was done" in out
    assert not server.asked
    assert tree(tmp_path) == known


def test_the_place_is_below_the_current_folder_if_none_is_given(run, known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert run("prepare", "two")[0] == 0
    assert tree(tmp_path / "data" / "two") == known


def test_a_file_that_cannot_be_fetched_is_one_clear_line(run, known, server, tmp_path):
    del server.files["/images.tgz"]

    code, _, error = run("prepare", "two", "--root", tmp_path)

    assert code == 1
    assert "/images.tgz cannot be fetched: HTTP Error 404: Not Found" in one_line(error)


def test_what_cannot_be_fetched_says_where_to_get_it_and_exits_with_1(run, image_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "two", row((), "unpack set.zip of its page into DIR"))

    code, out, error = run("prepare", "two", "--root", tmp_path)

    assert (code, out) == (1, "")
    assert f"two must be got by hand: unpack set.zip of its page into {tmp_path} (now: " in one_line(error)
    assert not list(tmp_path.iterdir())
    shutil.copytree(image_folder, tmp_path / "set")
    code, out, _ = run("prepare", "two", "--root", tmp_path)
    assert code == 0
    assert "two is there already: nothing was done" in out


def test_a_place_that_cannot_be_written_to_is_one_clear_line(run, known, tmp_path):
    (tmp_path / "file").touch()
    sample = ("sample", "fashion-mnist-sample", "--train", 10, "--to", tmp_path / "file" / "part")

    for argv, expected, said in (
        (("prepare", "two", "--root", tmp_path / "file" / "two"), 1, "--root must be writable and have room; got "),
        (("prepare", "two", "--root", tmp_path / "file"), 2, "--root must be a folder; got the file "),
        (sample, 2, "--to must be writable and have room; got "),
    ):
        code, out, error = run(*argv)
        assert (code, out.count("fetching")) == (expected, 0)
        assert said in one_line(error)


def test_what_ships_inside_the_package_needs_no_preparing(run):
    code, out, _ = run("prepare", "fashion-mnist-sample")

    assert code == 0
    assert "ships inside the package" in out


def test_unpacked_files_of_another_layout_than_expected_are_a_data_error(run, server, tmp_path, monkeypatch):
    server.files = {"/odd.zip": pack({"other/a.txt": b"x"}, "zip")}
    monkeypatch.setitem(SOURCES, "two", row(archives_of(server)))

    code, _, error = run("prepare", "two", "--root", tmp_path)

    assert code == 2
    assert "data root must be an existing folder; got" in error.splitlines()[-1]
    assert not download.unfinished(tmp_path)


def test_ctrl_c_exits_with_130_and_tells_how_to_go_on(run, known, server, tmp_path, monkeypatch):
    def press(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "unpack", press)
    code, out, _ = run("prepare", "two", "--root", tmp_path)

    assert code == 130
    assert f"study/data.py prepare two --root {tmp_path}" in out
    assert "To go on (the archive that was being fetched begins again):" in out
    monkeypatch.undo()
    monkeypatch.setitem(SOURCES, "two", row(archives_of(server)))
    server.asked.clear()
    assert run("prepare", "two", "--root", tmp_path)[0] == 0
    assert "/images.tgz" not in server.asked
    assert tree(tmp_path) == known
