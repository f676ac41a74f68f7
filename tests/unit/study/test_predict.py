import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from proxy_attention.errors import ConfigError
from proxy_attention.files import read_json
from proxy_attention.models.classifier import as_float
from proxy_attention.saliency.maps import classify_and_explain, scale, upsample
from study.inference import compare_models as side_by_side
from study.inference.classify import NOT_FINITE, Answer, ask, decoded, find_images, load_model
from study.inference.compare_models import RIGHT, WRONG, pair_of
from study.inference.predictions import as_csv, as_json, shown, summaries
from study.inference.selection import MOST_MODELS, pick, pick_pair
from study.predict import main
from study.results import load_results
from study.run_folder import RunFolder

CPU = torch.device("cpu")


@pytest.fixture
def predict(capsys, tmp_path, monkeypatch):
    """Run the command line in an empty folder: exit code, what was printed, what was complained of."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*argv):
        code = main([str(word) for word in argv])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of the run that a test may damage."""
    return shutil.copytree(finished_run, tmp_path / "small" / "grid")


@pytest.fixture(scope="module")
def ids(finished_run):
    """The trials of the run by arm, on the first seed."""
    rows = load_results(finished_run)
    rows = rows[rows["seed"] == 0]
    return {arm: list(part["trial_id"]) for arm, part in rows.groupby("arm")}


@pytest.fixture(scope="module")
def model(finished_run):
    """One trained model of the run."""
    return load_model(pick(finished_run, "arm == 'proxy' and seed == 0 and threshold == 0.3")[0][0], CPU)


def rows_of(out):
    return list(csv.DictReader(io.StringIO(out)))


def answer(image="a.png", trial_id="0-x", top=(("cat", 0.75), ("dog", 0.25)), true="", error=""):
    return Answer(image, trial_id, "proxy", 0, top, true, error)


# ---- what is said


def test_over_the_whole_test_folder_every_model_is_as_right_as_its_own_report_says(predict, finished_run, image_folder):
    code, out, err = predict(finished_run, "--query", "seed >= 0", "--format", "csv", image_folder / "test")

    rows = rows_of(out)
    results = load_results(finished_run)
    assert code == 0
    assert len(rows) == 16 * len(results) == 128
    for trial_id in results["trial_id"]:
        report = RunFolder(finished_run).trial(trial_id).report()
        own = [row for row in rows if row["trial_id"] == trial_id]
        confusion = np.zeros((4, 4), dtype=int)
        for row in own:
            confusion[report["classes"].index(row["true"]), report["classes"].index(row["predicted"])] += 1
        assert confusion.tolist() == report["confusion"]
        assert 100 * (sum(row["correct"] == "True" for row in own) / len(own)) == report["test_accuracy"]
        assert f"{trial_id}: 16 images, accuracy {report['test_accuracy']:.2f} % (n = 16)\n" in err


def test_json_says_the_same_and_holds_a_summary_a_model(predict, finished_run, image_folder):
    where = ("--query", "arm == 'baseline'", image_folder / "test")
    rows = rows_of(predict(finished_run, "--format", "csv", *where)[1])

    code, out, _ = predict(finished_run, "--format", "json", *where)

    said = json.loads(out)
    results = load_results(finished_run).set_index("trial_id")
    assert code == 0
    assert [(one["image"], one["trial_id"], one["predicted"]) for one in said["predictions"]] == [
        (row["image"], row["trial_id"], row["predicted"]) for row in rows
    ]
    assert len(said["models"]) == 2
    for one in said["models"]:
        assert one["accuracy"] == results.loc[one["trial_id"], "test_accuracy"]
        assert (one["n"], one["errors"]) == (16, 0)


def test_people_see_a_table_with_a_line_a_model_below_it(predict, finished_run, image_folder, ids):
    code, out, err = predict(finished_run, "--query", "arm == 'baseline'", "--root", image_folder, "test/dress")

    assert (code, err) == (0, "")
    assert out.split()[:4] == ["image", "trial_id", "arm", "seed"]
    assert "and then" not in out
    assert "error" not in out
    assert f"\n{ids['baseline'][0]}: 4 images, accuracy " in out


def test_without_a_query_the_best_on_val_answers_and_is_named(predict, finished_run, image_folder):
    code, out, err = predict(finished_run, "--format", "csv", image_folder / "test")

    rows = load_results(finished_run)
    means = rows.groupby(["arm", "schedule", rows["threshold"].fillna(0)])["val_accuracy"].mean()
    (used,) = {row["trial_id"] for row in rows_of(out)}
    arm, schedule, threshold = means.idxmax()
    best = rows[(rows["arm"] == arm) & (rows["schedule"] == schedule) & (rows["threshold"].fillna(0) == threshold)]
    assert code == 0
    assert means[arm, schedule, threshold] == means.max()
    assert used in set(best["trial_id"])
    assert best.set_index("trial_id")["val_accuracy"][used] == best["val_accuracy"].max()
    assert f"without --query: {used}, the best of 2 trials of the setting that is best on val" in err
    assert f"(mean {means.max():.2f} %)" in err


def test_as_many_classes_are_told_as_were_asked_for(predict, finished_run, image_folder):
    _, out, _ = predict(finished_run, "--top", "4", "--format", "csv", image_folder / "test" / "dress")

    rows = rows_of(out)
    assert len(rows) == 4
    for row in rows:
        classes = [row["predicted"], *(row[f"class_{k}"] for k in (2, 3, 4))]
        shares = [float(row["confidence"]), *(float(row[f"probability_{k}"]) for k in (2, 3, 4))]
        assert len(set(classes)) == 4
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_a_table_tells_the_classes_that_come_next(predict, finished_run, image_folder):
    _, out, _ = predict(finished_run, "--top", "2", image_folder / "test" / "dress")

    assert "and then" in out


def test_an_image_outside_of_a_class_folder_has_no_true_class(predict, finished_run, image_folder, tmp_path):
    file = shutil.copy(next((image_folder / "test" / "dress").iterdir()), tmp_path / "mine.png")

    code, out, err = predict(finished_run, "--format", "csv", file)

    assert code == 0
    assert [(row["image"], row["true"], row["correct"]) for row in rows_of(out)] == [(str(file), "", "")]
    assert ": 1 image, of none is the true class known" in err


def test_an_unreadable_image_is_named_and_the_others_are_answered(predict, finished_run, own_images):
    folder = own_images / "test" / "dress"
    first, second, *_ = sorted(folder.iterdir())
    first.write_bytes(first.read_bytes()[:200])
    second.write_text("no image")
    (folder / "zero.png").write_bytes(b"")

    code, out, err = predict(finished_run, "--query", "seed == 0 and arm == 'proxy'", "--format", "csv", folder)

    rows = rows_of(out)
    broken = [row for row in rows if row["error"]]
    assert code == 1
    assert len(rows) == 10
    assert {Path(row["image"]).name for row in broken} == {first.name, second.name, "zero.png"}
    assert len(broken) == 6
    assert all((row["predicted"], row["correct"]) == ("", "") and row["true"] == "dress" for row in broken)
    assert all(row["predicted"] for row in rows if not row["error"])
    assert "3 images have no answer: " in err
    assert "zero.png (the file is empty)" in err
    assert ": 5 images, 3 without an answer, accuracy " in err
    assert "0x" not in out + err


def test_logits_that_are_not_finite_are_an_error_of_that_image(model, finished_run, image_folder):
    broken = load_model(pick(finished_run, "arm == 'baseline' and seed == 0")[0][0], CPU)
    with torch.no_grad():
        broken.classifier.module.fc.weight.mul_(3e38)
        broken.classifier.module.fc.weight.mul_(3e38)

    (item,) = decoded(find_images([str(next((image_folder / "test" / "dress").iterdir()))]), [32])
    (said,) = ask(broken, [item], top=1)

    assert (said.top, said.error) == ((), NOT_FINITE)


def test_an_answer_does_not_depend_on_the_images_beside_it(model, image_folder):
    images = list(decoded(find_images([str(image_folder / "test")]), [32]))

    together = ask(model, images, top=4)

    alone = [ask(model, [image], top=4)[0] for image in images]
    assert [one.predicted for one in together] == [one.predicted for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert dict(one.top) == pytest.approx(dict(other.top), abs=1e-5)


# ---- which images


def test_folders_are_searched_in_order_without_what_is_hidden_and_each_image_once(tmp_path):
    for name in ("b/2.png", "b/10.JPG", "a.jpeg", ".hidden.png", ".cache/1.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "again").symlink_to(tmp_path)

    found = find_images([str(tmp_path / "b" / "2.png"), str(tmp_path)])

    assert [image.name.removeprefix(f"{tmp_path}/") for image in found] == ["b/2.png", "a.jpeg", "b/10.JPG"]


def test_a_file_that_is_named_is_taken_whatever_its_ending(tmp_path):
    (tmp_path / "photo").touch()

    assert [image.path for image in find_images([str(tmp_path / "photo")])] == [tmp_path / "photo"]


def test_under_a_root_images_are_found_and_named_from_there(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").touch()

    for asked in ("cat", "cat/1.png", "."):
        (image,) = find_images([asked], tmp_path)
        assert (image.name, image.path.samefile(tmp_path / "cat" / "1.png")) == ("cat/1.png", True)


def test_a_name_that_is_no_text_is_still_shown(tmp_path):
    (tmp_path / "gr\udce4n.png").touch()

    (image,) = find_images([str(tmp_path)])

    assert image.name.encode().decode().endswith("gr\\xe4n.png")


def test_options_may_stand_between_the_images(predict, finished_run, image_folder):
    one, two, *_ = sorted((image_folder / "test" / "dress").iterdir())

    code, out, _ = predict("--top", "2", finished_run, one, "--format", "csv", two)

    assert code == 0
    assert [row["image"] for row in rows_of(out)] == [str(one), str(two)]


# ---- forms


def test_csv_quotes_whatever_a_name_holds():
    odd = 'a, "b"\nc.png'

    (row,) = rows_of(as_csv([answer(image=odd)], top=1))

    assert row["image"] == odd
    assert (row["confidence"], row["true"], row["correct"], row["error"]) == ("0.75", "", "", "")


@pytest.mark.parametrize("start", "=+-@\t\r")
def test_no_cell_is_a_formula(start):
    (row,) = rows_of(as_csv([answer(image=f"{start}1.png", top=((f"{start}cmd", 1.0),), error=f"{start}x")], top=1))

    assert row["image"] == f"./{start}1.png"
    assert row["predicted"] == f"'{start}cmd"
    assert row["error"] == f"'{start}x"


def test_a_class_that_is_a_number_stays_one():
    (row,) = rows_of(as_csv([answer(top=(("-1", 0.6), ("+1", 0.4)))], top=2))

    assert (row["predicted"], row["class_2"]) == ("-1", "+1")


def test_json_has_null_for_what_is_not_known():
    said = json.loads(as_json([answer(top=(), error="the file is empty")], top=1))

    (one,) = said["predictions"]
    assert (one["predicted"], one["confidence"], one["true"], one["correct"]) == (None, None, None, None)
    assert (one["top"], one["error"]) == ([], "the file is empty")
    assert said["models"][0]["accuracy"] is None


def test_a_summary_counts_what_was_answered_and_known():
    (one,) = summaries([answer(true="cat"), answer(true="dog"), answer(), answer(top=(), true="cat", error="x")])

    assert (one.images, one.errors, one.n, one.correct, one.accuracy) == (4, 1, 2, 1, 50.0)


def test_a_terminal_is_not_steered_by_a_name():
    assert shown("a\x1b[2Jb\n.png") == "a\\x1b[2Jb\\n.png"


# ---- which models


def test_a_trial_that_took_over_anothers_result_answers_with_its_weights(own_run, ids):
    first, second = ids["proxy"]
    folder = RunFolder(own_run).trial(first).path
    report = read_json(folder / "report.json")
    (folder / "report.json").write_text(json.dumps({**report, "same_as": second}))
    (folder / "weights.safetensors").unlink()

    one, two = (load_model(pick(own_run, f"trial_id == '{name}'")[0][0], CPU) for name in (first, second))

    states = one.classifier.module.state_dict(), two.classifier.module.state_dict()
    assert all(states[0][name].equal(states[1][name]) for name in states[1])


def test_of_a_study_of_several_runs_a_trial_is_named_with_its_run(finished_run, tmp_path, ids):
    for search in ("grid", "random"):
        shutil.copytree(finished_run, tmp_path / "small" / search)

    picked, _ = pick(tmp_path / "small", "arm == 'baseline' and seed == 0")

    assert [one.name for one in picked] == [f"grid/{ids['baseline'][0]}", f"random/{ids['baseline'][0]}"]
    assert [one.run.name for one in picked] == ["grid", "random"]


def test_more_models_than_memory_holds_are_refused(finished_run, monkeypatch):
    monkeypatch.setattr("study.inference.selection.MOST_MODELS", 3)

    with pytest.raises(ConfigError, match="--query must pick at most 3 trials; 'seed >= 0' picks 8"):
        pick(finished_run, "seed >= 0")

    assert MOST_MODELS >= 8


def test_a_trial_with_proxies_is_set_beside_its_own_baseline(finished_run, ids):
    without, proxied, line = pick_pair(finished_run, "threshold == 0.6 and seed == 0")

    assert (without.name, proxied.name, line) == (ids["baseline"][0], ids["proxy"][1], "")


def test_a_query_may_pick_both_of_a_pair(finished_run):
    rows = load_results(finished_run).set_index(["arm", "seed"])["trial_id"]
    here, there, mask = rows["baseline", 0], rows["baseline", 1], rows["random-mask", 0]

    without, proxied, line = pick_pair(finished_run, f"trial_id in ['{here}', '{mask}']")
    assert (without.name, proxied.name, line) == (here, mask, "")

    without, proxied, line = pick_pair(finished_run, f"trial_id in ['{there}', '{mask}']")
    assert (without.name, proxied.name) == (there, mask)
    assert line == f"{there} is not the baseline of {mask}: they differ in more than proxies"


def test_without_a_query_the_best_proxies_on_val_are_set_beside_their_baseline(finished_run):
    without, proxied, line = pick_pair(finished_run, None)

    rows = load_results(finished_run).set_index("trial_id")
    assert proxied.planned.arm == "proxy"
    assert without.planned.arm == "baseline"
    assert rows["seed"][proxied.name] == rows["seed"][without.name]
    assert line.startswith(f"without --query: {proxied.name} with proxies, the best of 2 trials of the setting")


# ---- the sheet


def draw(predict, run, *argv):
    code, out, err = predict(run, "--compare", "--query", "threshold == 0.3 and arm == 'proxy' and seed == 0", *argv)
    assert code == 0
    return out, err


def test_a_sheet_is_drawn_that_says_whose_maps_it_shows(predict, finished_run, image_folder, ids):
    out, err = draw(predict, finished_run, image_folder / "test")

    with Image.open("compare.png") as drawn:
        said = drawn.info[side_by_side.KEY]
        assert drawn.height > 8 * side_by_side.SIDE
    assert said == f"without={ids['baseline'][0]} with={ids['proxy'][0]} saliency=eigengradcam"
    assert err == ""
    assert f"wrote {Path.cwd() / 'compare.png'}\n" in out
    assert "16 images, accuracy" in out


def test_a_method_that_training_used_may_be_asked_for_and_is_told(predict, finished_run, image_folder):
    # the head is linear: hirescam is gradcam
    _, err = draw(predict, finished_run, "--saliency", "hirescam", image_folder / "test" / "dress")

    assert err == "predict.py: --saliency hirescam shows maps that training used, too\n"


def test_a_method_by_which_an_augmentation_looked_is_not_chosen_and_is_told(model):
    config = dataclasses.replace(model.config, schedule="2", judge="gradcam")
    plain = dataclasses.replace(model, config=config)
    mixed = dataclasses.replace(model, config=dataclasses.replace(config, augment="flip-rotate+snapmix"))

    assert pair_of(plain, plain, None).saliency == "gradcam"
    assert pair_of(plain, mixed, None).saliency == "eigengradcam"
    assert pair_of(plain, mixed, "hirescam").note == "--saliency hirescam shows maps that training used, too"


def test_a_sheet_beside_csv_leaves_the_csv_alone(predict, finished_run, image_folder):
    out, err = draw(predict, finished_run, "--format", "csv", "--out", "x.png", image_folder / "test" / "dress")

    assert len(rows_of(out)) == 8
    assert "wrote " in err
    assert Path("x.png").is_file()


def test_an_earlier_sheet_is_drawn_again_and_another_file_is_left_alone(predict, finished_run, image_folder):
    draw(predict, finished_run, image_folder / "test" / "dress")
    draw(predict, finished_run, image_folder / "test" / "dress")
    for content in (b"notes", next((image_folder / "test" / "dress").iterdir()).read_bytes()):
        Path("compare.png").write_bytes(content)

        code, out, err = predict(finished_run, "--compare", image_folder / "test" / "dress")

        assert (code, out) == (2, "")
        assert "--out must name a new file, or a sheet drawn before" in err
        assert Path("compare.png").read_bytes() == content


def test_a_sheet_shows_the_images_that_can_be_read(predict, finished_run, own_images):
    first, *rest = sorted((own_images / "test" / "dress").iterdir())
    first.write_text("no image")

    code, _, err = predict(finished_run, "--compare", own_images / "test" / "dress")

    assert code == 1
    assert Path("compare.png").is_file()
    assert "1 image has no answer" in err
    for file in rest:
        file.write_text("no image")
    Path("compare.png").unlink()
    assert predict(finished_run, "--compare", own_images / "test" / "dress")[0] == 1
    assert not Path("compare.png").exists()


def test_a_map_is_that_of_the_predicted_class_as_any_proxy_step_would_ask(model, image_folder):
    images = list(decoded(find_images([str(image_folder / "test" / "dress")]), [32]))
    said = ask(model, images, top=1)

    drawn = side_by_side.maps_of(model, images, said, "gradcam++")

    pixels = as_float(torch.from_numpy(np.stack([item.squares[32] for item in images])))
    labels = torch.zeros(len(images), dtype=torch.int64)
    logits, maps = classify_and_explain(
        model.classifier, pixels, true=labels, saliency="gradcam++", explain="predicted"
    )
    assert [model.classes[i] for i in logits.argmax(dim=1).tolist()] == [one.predicted for one in said]
    assert np.allclose(drawn, scale(upsample(maps, side_by_side.SIDE))[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(("true", "colour", "sign"), [("cat", RIGHT, "✓ "), ("dog", WRONG, "✗ "), ("", None, "")])
def test_right_and_wrong_differ_in_colour_and_in_sign(true, colour, sign):
    picture = np.full((side_by_side.SIDE, side_by_side.SIDE, 3), 200, dtype=np.uint8)

    cell = side_by_side._looked(picture, answer(true=true), np.zeros(picture.shape[:2]), "with proxies")

    assert cell.label == f"with proxies (flat map)\n{sign}cat 75.0 %"
    assert tuple(cell.pixels[0, 0]) == (colour or (80, 80, 80))
    assert tuple(cell.pixels[80, 80]) == (80, 80, 80)
    assert (picture == 200).all()


def test_what_the_letters_of_a_sheet_lack_is_a_question_mark():
    assert side_by_side._cut("猫\n.png", 24) == "??.png"
    assert side_by_side._cut("a" * 20 + "b" * 20, 9) == "aaaa…bbbb"


# ---- bad input

BAD = {
    "a query": (["--query", "treshold > 1", "IMAGE"], "query must be a pandas query over the columns"),
    "a query of nothing": (["--query", "seed == 9", "IMAGE"], "'seed == 9' holds for none of 8"),
    "a format": (["--format", "xml", "IMAGE"], "--format must be one of csv, json, table; got 'xml'"),
    "a file": (["gone.png"], "IMAGES must be files or folders; there is no 'gone.png'"),
    "a file under a root": (["--root", "/nowhere", "1.png"], "there is no '/nowhere/1.png'"),
    "a folder": (["EMPTY"], "a folder must hold images (.bmp, "),
    "a name that is too long": (["x" * 300], "IMAGES must be files or folders; there is no 'xxx"),
    "a person who is not here": (["--root", "~nobody-here", "1.png"], "there is no '~nobody-here/1.png'"),
    "no image": ([], "the following arguments are required: IMAGES"),
    "a top": (["--top", "5", "IMAGE"], "--top must be at most the number of classes, 4; got 5"),
    "a low top": (["--top", "0", "IMAGE"], "--top must be a whole number in [1, "),
    "an option": (["--quer", "x", "IMAGE"], "got '--quer'; did you mean --query"),
    "a sheet's method": (["--saliency", "gradcam", "IMAGE"], "--saliency must be given with --compare"),
    "a sheet's file": (["--out", "a.png", "IMAGE"], "--out must be given with --compare"),
    "a method": (["--compare", "--saliency", "gradcan", "IMAGE"], "--saliency must be one of "),
    "another's method": (
        ["--compare", "--saliency", "attention-rollout", "IMAGE"],
        "--saliency must be a method that can explain",
    ),
    "an ending": (["--compare", "--out", "a.jpg", "IMAGE"], "--out must name a .png file; got 'a.jpg'"),
    "a place": (["--compare", "--out", "no/a.png", "IMAGE"], "--out must lie in a folder that can be written to"),
    "a person's place": (["--compare", "--out", "~nobody-here/a.png", "IMAGE"], "--out must lie in a folder that can"),
    "a long sheet": (["--compare", "--out", f"{'x' * 300}.png", "IMAGE"], "--out must be a path that can be written"),
    "a longer sheet": (["--compare", "--out", f"{'x' * 240}.png", "IMAGE"], "must name a file in at most 240 bytes"),
    "no pair": (["--compare", "--query", "arm == 'baseline'", "IMAGE"], "must pick one trial with proxies"),
    "many pairs": (["--compare", "--query", "arm == 'proxy'", "IMAGE"], "for --compare; \"arm == 'proxy'\" picks 4: 0"),
}


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_command_line_ends_in_one_line(predict, finished_run, image_folder, tmp_path, argv, message):
    (tmp_path / "empty").mkdir()
    words = {"IMAGE": next((image_folder / "test" / "dress").iterdir()), "EMPTY": tmp_path / "empty"}

    code, out, err = predict(finished_run, *(words.get(word, word) for word in argv))

    assert (code, out) == (2, "")
    *told, last = err.splitlines()
    assert all(line.startswith("predict.py: without --query: ") for line in told)
    assert last.startswith("predict.py: ")
    assert message in last
    assert list(Path.cwd().iterdir()) == []


def test_a_place_without_a_run_ends_in_one_line(predict, tmp_path, image_folder):
    code, _, err = predict(tmp_path, image_folder)

    assert (code, err) == (2, f"predict.py: a run or study folder must hold a plan.json; got {str(tmp_path)!r}\n")


def test_a_run_without_a_complete_trial_ends_in_one_line(predict, own_run, image_folder):
    for report in own_run.glob("trials/*/report.json"):
        report.unlink()

    code, _, err = predict(own_run, image_folder)

    assert (code, err.count("\n")) == (2, 1)
    assert "a run must have a complete trial to predict with" in err


def test_a_pair_lacking_its_baseline_ends_in_one_line(predict, own_run, image_folder, ids):
    (RunFolder(own_run).trial(ids["baseline"][0]).report_file).unlink()

    code, _, err = predict(own_run, "--compare", "--query", "threshold == 0.6 and seed == 0", image_folder / "test")

    assert (code, err.count("\n")) == (2, 1)
    assert f"--compare must have a pair; {ids['proxy'][1]} has no complete baseline" in err


def test_a_sheet_of_too_many_images_ends_in_one_line(predict, finished_run, image_folder, tmp_path):
    file = next((image_folder / "test" / "dress").iterdir())
    for number in range(41):
        (tmp_path / f"{number}.png").symlink_to(file)

    code, out, err = predict(finished_run, "--compare", tmp_path)

    assert (code, out) == (2, "")
    assert "--compare must be given at most 40 images, one sheet; got 41" in err


def damage_cut(file):
    file.write_bytes(file.read_bytes()[:-100])


def damage_pickled(file):
    torch.save({"weight": torch.zeros(1)}, file)


def damage_removed(file):
    file.unlink()


def damage_not_finite(file):
    from safetensors.torch import load_file, save_file

    state = load_file(file)
    save_file({name: torch.full_like(tensor, torch.nan) if name == "fc.weight" else tensor
               for name, tensor in state.items()}, file)  # fmt: skip


def damage_of_another_model(file):
    from safetensors.torch import save_file

    save_file({"fc.weight": torch.zeros(4, 8)}, file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_removed, "a complete trial must hold its weights; "),
        (damage_cut, "must be those of its model; "),
        (damage_pickled, "must be those of its model; "),
        (damage_of_another_model, "must be those of its model; "),
        (damage_not_finite, "must be finite numbers; fc.weight in "),
    ],
)
def test_weights_that_cannot_be_used_end_in_one_line(predict, own_run, image_folder, ids, damage, message):
    trial = ids["baseline"][0]
    damage(RunFolder(own_run).trial(trial).weights_file)

    code, out, err = predict(own_run, "--query", f"trial_id == '{trial}'", image_folder / "test")

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert trial in err


def test_a_report_without_classes_ends_in_one_line(predict, own_run, image_folder, ids):
    (RunFolder(own_run).trial(ids["baseline"][0]).report_file).write_text("{}")

    code, _, err = predict(own_run, "--query", "arm == 'baseline' and seed == 0", image_folder / "test")

    assert (code, err.count("\n")) == (2, 1)
    assert f"report.json of {ids['baseline'][0]} must be one that a trial wrote" in err


def test_predicting_writes_nothing_but_the_sheet(predict, finished_run, image_folder):
    before = {path: path.stat().st_mtime_ns for place in (finished_run, image_folder) for path in place.rglob("*")}

    draw(predict, finished_run, image_folder / "test" / "dress")

    after = {path: path.stat().st_mtime_ns for place in (finished_run, image_folder) for path in place.rglob("*")}
    assert after == before
    assert [path.name for path in Path.cwd().iterdir()] == ["compare.png"]
