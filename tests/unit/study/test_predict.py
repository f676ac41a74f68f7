"""The command line: what is printed where, the exit code, and which file is written."""

import csv
import io
import json
from pathlib import Path

import pytest

from study.inference.comparison_sheet import is_sheet
from study.predict import main
from study.results import load_results


@pytest.fixture
def predict(capsys, tmp_path, monkeypatch):
    """Run the command line in an empty folder: exit code, output stream, error stream."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*argv):
        code = main([str(word) for word in argv])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def ids(finished_run):
    """The trials of the run by arm, on the first seed."""
    rows = load_results(finished_run)
    rows = rows[rows["seed"] == 0]
    return {arm: list(part["trial_id"]) for arm, part in rows.groupby("arm")}


PAIR = ("--compare", "--query", "threshold == 0.3 and arm == 'proxy' and seed == 0")


def rows_of(out):
    return list(csv.DictReader(io.StringIO(out)))


# ---- predictions


def test_csv_has_a_row_for_each_prediction_and_the_accuracies_stand_on_the_error_stream(
    predict, finished_run, image_folder
):
    code, out, err = predict(finished_run, "--query", "seed == 0", "--format", "csv", image_folder / "test")

    rows = rows_of(out)
    results = load_results(finished_run).set_index("trial_id")
    assert code == 0
    assert len(rows) == 16 * 4
    for trial_id in {row["trial_id"] for row in rows}:
        correct = [row["correct"] == "True" for row in rows if row["trial_id"] == trial_id]
        accuracy = results["test_accuracy"][trial_id]
        assert 100 * (sum(correct) / 16) == accuracy
        assert f"predict.py: {trial_id}: 16 images, accuracy {accuracy:.2f} % (n = 16)\n" in err


def test_json_holds_the_predictions_and_the_accuracy_that_a_model_has_in_its_report(
    predict, finished_run, image_folder
):
    query = ("--query", "arm == 'baseline'")

    code, out, _ = predict(finished_run, "--format", "json", *query, image_folder / "test")

    found = json.loads(out)
    accuracies = load_results(finished_run).set_index("trial_id")["test_accuracy"]
    assert code == 0
    assert len(found["predictions"]) == 16 * 2
    assert [(one["accuracy"], one["n"], one["errors"]) for one in found["models"]] == [
        (accuracies[one["trial_id"]], 16, 0) for one in found["models"]
    ]


def test_a_table_has_the_summary_of_each_model_below_it(predict, finished_run, image_folder, ids):
    query = ("--query", "arm == 'baseline' and seed == 0")

    code, out, err = predict(finished_run, *query, "--root", image_folder, "test/dress")

    assert (code, err) == (0, "")
    assert out.split()[:4] == ["image", "trial_id", "arm", "seed"]
    assert f"\n\n{ids['baseline'][0]}: 4 images, accuracy " in out


def test_without_a_query_the_model_that_is_used_is_named(predict, finished_run, image_folder):
    code, out, err = predict(finished_run, "--format", "csv", image_folder / "test" / "dress")

    (used,) = {row["trial_id"] for row in rows_of(out)}
    assert code == 0
    assert err.startswith(f"predict.py: without --query: {used}, the best of 2 trials of the setting")


def test_options_may_stand_between_the_images(predict, finished_run, image_folder):
    one, two, *_ = sorted((image_folder / "test" / "dress").iterdir())

    code, out, _ = predict("--top", "2", finished_run, one, "--format", "csv", two)

    assert code == 0
    assert [row["image"] for row in rows_of(out)] == [str(one), str(two)]
    assert all(row["class_2"] for row in rows_of(out))


def test_images_without_a_prediction_are_named_and_the_others_are_classified(predict, finished_run, image_folder):
    sound = next((image_folder / "test" / "dress").iterdir())
    Path("zero.png").touch()
    Path("text.png").write_text("no image")

    code, out, err = predict(
        finished_run, "--query", "seed == 0 and arm == 'proxy'", "--format", "csv", "zero.png", sound, "text.png"
    )

    assert code == 1
    assert [bool(row["predicted"]) for row in rows_of(out)] == [False, False, True, True, False, False]
    reason = "the file is no image, or a damaged one"
    assert err.endswith(f"predict.py: 2 images have no prediction: zero.png (the file is empty), text.png ({reason})\n")
    assert "0x" not in out + err


# ---- the sheet


def test_a_sheet_is_written_beside_the_table(predict, finished_run, image_folder, ids):
    code, out, err = predict(finished_run, *PAIR, image_folder / "test" / "dress")

    assert (code, err) == (0, "")
    assert [f"{ids[arm][0]}: 4 images, accuracy " in out for arm in ("baseline", "proxy")] == [True, True]
    assert out.endswith(f"\nwrote {Path.cwd() / 'compare.png'}\n")
    assert is_sheet(Path("compare.png"))


def test_a_sheet_beside_csv_leaves_the_csv_alone_and_may_be_drawn_again(predict, finished_run, image_folder):
    # the head is linear: hirescam is gradcam
    argv = (finished_run, *PAIR, "--format", "csv", "--out", "x.png", "--saliency", "hirescam")
    image = next((image_folder / "test" / "dress").iterdir())

    for _ in range(2):
        code, out, err = predict(*argv, image)

        assert code == 0
        assert len(rows_of(out)) == 2
        assert err.startswith("predict.py: --saliency hirescam shows maps that training used, too\n")
        assert err.endswith(f"\nwrote {Path.cwd() / 'x.png'}\n")
        assert [path.name for path in Path.cwd().iterdir()] == ["x.png"]


def test_another_file_is_not_replaced_by_a_sheet(predict, finished_run, image_folder):
    Path("compare.png").write_text("notes")

    code, out, err = predict(finished_run, *PAIR, image_folder / "test")

    assert (code, out) == (2, "")
    assert "--out must name a new file, or a sheet drawn before" in err
    assert Path("compare.png").read_text() == "notes"


def test_without_a_readable_image_there_is_no_sheet(predict, finished_run):
    Path("1.png").touch()

    code, _, err = predict(finished_run, *PAIR, "1.png")

    assert (code, [path.name for path in Path.cwd().iterdir()]) == (1, ["1.png"])
    assert err == "predict.py: 1 image has no prediction: 1.png (the file is empty)\n"


def test_predicting_writes_nothing_but_the_sheet(predict, finished_run, image_folder):
    before = {path: path.stat().st_mtime_ns for place in (finished_run, image_folder) for path in place.rglob("*")}

    predict(finished_run, *PAIR, next((image_folder / "test" / "dress").iterdir()))

    after = {path: path.stat().st_mtime_ns for place in (finished_run, image_folder) for path in place.rglob("*")}
    assert after == before
    assert [path.name for path in Path.cwd().iterdir()] == ["compare.png"]


# ---- bad input

BAD = {
    "a query": (["--query", "treshold > 1", "IMAGE"], "query must be a pandas query over the columns"),
    "a format": (["--format", "xml", "IMAGE"], "--format must be one of csv, json, table; got 'xml'"),
    "a file": (["gone.png"], "IMAGES must be files or folders; there is no 'gone.png'"),
    "a file under a root": (["--root", "/nowhere", "1.png"], "there is no '/nowhere/1.png'"),
    "a user who is not here": (["--root", "~nobody-here", "1.png"], "there is no '~nobody-here/1.png'"),
    "no image": ([], "the following arguments are required: IMAGES"),
    "a top": (["--top", "5", "IMAGE"], "--top must be at most the number of classes, 4; got 5"),
    "a low top": (["--top", "0", "IMAGE"], "--top must be a whole number in [1, "),
    "an option": (["--quer", "x", "IMAGE"], "got '--quer'; did you mean --query"),
    "a sheet's method": (["--saliency", "gradcam", "IMAGE"], "--saliency must be given with --compare"),
    "a sheet's file": (["--out", "a.png", "IMAGE"], "--out must be given with --compare"),
    "a method": (["--compare", "--saliency", "gradcan", "IMAGE"], "--saliency must be one of "),
    "an ending": (["--compare", "--out", "a.jpg", "IMAGE"], "--out must name a .png file; got 'a.jpg'"),
    "a user's place": (["--compare", "--out", "~nobody-here/a.png", "IMAGE"], "--out must lie in a folder that can"),
    "no pair": (["--compare", "--query", "arm == 'baseline'", "IMAGE"], "must select one trial with proxies"),
}


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_command_line_ends_in_one_line(predict, finished_run, image_folder, argv, message):
    image = next((image_folder / "test" / "dress").iterdir())

    code, out, err = predict(finished_run, *(image if word == "IMAGE" else word for word in argv))

    assert (code, out) == (2, "")
    *notes, last = err.splitlines()
    assert all(line.startswith("predict.py: without --query: ") for line in notes)
    assert last.startswith("predict.py: ")
    assert message in last
    assert list(Path.cwd().iterdir()) == []


def test_a_place_without_a_run_ends_in_one_line(predict, tmp_path, image_folder):
    code, _, err = predict(tmp_path, image_folder)

    assert (code, err) == (2, f"predict.py: a run or study folder must hold a plan.json; got {str(tmp_path)!r}\n")


def test_a_sheet_of_too_many_images_ends_in_one_line(predict, finished_run, image_folder, tmp_path):
    file = next((image_folder / "test" / "dress").iterdir())
    for number in range(41):
        (tmp_path / f"{number}.png").symlink_to(file)

    code, out, err = predict(finished_run, "--compare", tmp_path)

    assert (code, out) == (2, "")
    assert "--compare must be given at most 40 images, one sheet; got 41" in err
