"""What the command line of run.py refuses, each in one line."""

import json
import shutil

import pytest

from study.run import main


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path, image_folder, study_file):
    """Run a command line that must be refused; returns its one line. Nothing is started, nor written but a cache."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    storage = tmp_path / "storage"

    def run(*argv, study=None, images=image_folder):
        if study is not False:
            experiment = study_file(study) if study else study_file()
            argv = ("--experiment", experiment, "--data-root", str(images), "--storage", str(storage), *argv)
        code = main(list(argv))
        out, err = capsys.readouterr()
        assert code == 2, (out, err)
        assert out == ""
        assert err.startswith("run.py: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1
        assert not storage.exists() or [path.name for path in storage.iterdir()] == [".cache"]
        return err

    return run


GRID = ("--search", "grid")


BAD = {
    "unknown model": ([*GRID, "--set", "model=resnet19"], "model must be"),
    "model of another size": (
        [*GRID, "--set", "model=efficientformer_l1"],
        "model must build, and give a map at 32 px",
    ),
    "layer of another model": ([*GRID, "--set", "feature_layer=blocks.3"], "feature_layer must be last or a layer of "),
    "method without its model": ([*GRID, "--set", "saliency=attention-rollout"], "saliency must be a method that"),
    "unknown data set": ([*GRID, "--set", "dataset=mnist"], "dataset must be one of asl-alphabet, caltech101, "),
    "unknown saliency": ([*GRID, "--set", "saliency=cam"], "saliency must be one of "),
    "unknown field": ([*GRID, "--set", "treshold=0.3"], "did you mean threshold"),
    "threshold above one": (
        [*GRID, "--set", "threshold=1.5"],
        "threshold must be a number in [0, 1] or 'mean+Ksd' with K from 1 to 9; got 1.5",
    ),
    "threshold nan": (
        [*GRID, "--set", "threshold=nan"],
        "threshold must be a number in [0, 1] or 'mean+Ksd' with K from 1 to 9; got nan",
    ),
    "threshold a word": (
        [*GRID, "--set", "threshold=high"],
        "threshold must be a number in [0, 1] or 'mean+Ksd' with K from 1 to 9; got 'high'",
    ),
    "schedule with a q": ([*GRID, "--set", "schedule=3,q"], "schedule must be counts of epochs >= 1 and p"),
    "schedule empty": ([*GRID, "--set", "schedule="], "schedule must be counts of epochs >= 1 and p"),
    "schedule of no epochs": ([*GRID, "--set", "schedule=0"], "schedule must be counts of epochs >= 1 and p"),
    "unequal totals": (
        [*GRID, "--set", 'schedule=["6", "3,p"]'],
        "schedule must have the same total in all trials of a study; got '6' (6 epochs) and '3,p' (4 epochs)",
    ),
    "setting without a value": ([*GRID, "--set", "threshold"], "--set must be key=value; got 'threshold'"),
    "seed by --set": ([*GRID, "--set", "seed=3"], "seed must not be fixed or searched"),
    "range in a grid": ([*GRID, "--set", "lr={low = 0.1, high = 0.2}"], "lr must be a list of choices for --search"),
    "fp16 on a CPU": ([*GRID, "--gpus-per-trial", "0", "--set", "precision=fp16"], "precision must be fp32 or bf16"),
    "seed twice": ([*GRID, "--seeds", "0,1,0"], "seeds must be distinct whole numbers >= 0, at least one; got 0 twice"),
    "seed negative": ([*GRID, "--seeds=-1"], "seeds must be distinct whole numbers >= 0, at least one; got '-1'"),
    "seed a word": ([*GRID, "--seeds", "0,x"], "got 'x'"),
    "seeds empty": ([*GRID, "--seeds", ""], "seeds must be distinct whole numbers >= 0, at least one; got ''"),
    "no CPU": ([*GRID, "--cpus-per-trial", "0"], "--cpus-per-trial must be a whole number in [1, 1000000]; got '0'"),
    "part of a CPU": ([*GRID, "--cpus-per-trial", "0.5"], "--cpus-per-trial must be a whole number in [1, 1000000]"),
    "too many CPUs": ([*GRID, "--cpus-per-trial", "999999"], "--cpus-per-trial must be at most "),
    "too many GPUs": ([*GRID, "--gpus-per-trial", "99"], "--gpus-per-trial must be at most "),
    "GPU and a half": ([*GRID, "--gpus-per-trial", "1.5"], "--gpus-per-trial must be a fraction in [0, 1] or a whole"),
    "GPU nan": ([*GRID, "--gpus-per-trial", "nan"], "--gpus-per-trial must be a fraction in [0, 1] or a whole"),
    "GPU infinite": ([*GRID, "--gpus-per-trial", "inf"], "--gpus-per-trial must be a fraction in [0, 1] or a whole"),
    "none at once": ([*GRID, "--concurrency", "0"], "--concurrency must be a whole number in [1, 1000000]; got '0'"),
    "unknown option": ([*GRID, "--treshold", "0.3"], "got '--treshold'"),
    "misspelt option": ([*GRID, "--dry_run"], "got '--dry_run'; did you mean --dry-run?"),
    "short form of an option": ([*GRID, "--dry"], "got '--dry'"),
    "a stray word": ([*GRID, "quick"], "got 'quick'"),
    "option without its value": ([*GRID, "--name"], "expected one argument"),
    "unknown search": (["--search", "foo"], "--search must be one of grid, optuna, random; got 'foo'"),
    "no search": ([], "--search must be one of grid, optuna, random; got none (or give --restore PATH)"),
    "trials of a grid": ([*GRID, "--trials", "3"], "--trials must go with --search optuna or random; got it with grid"),
    "confirming a grid": ([*GRID, "--confirm", "1"], "--confirm must go with --search optuna or random; got it with"),
    "no suggestion": (["--search", "random", "--trials", "0"], "--trials must be a whole number in [1, 1000000]; got"),
    "name of another folder": (
        [*GRID, "--name", "../x"],
        "--name must be of letters, digits, '.', '_' and '-', at most",
    ),
    "absolute name": ([*GRID, "--name", "/x"], "--name must be of letters"),
    "hidden name": ([*GRID, "--name", ".x"], "--name must be of letters"),
    "nothing to extend": ([*GRID, "--extend"], "--extend must name a run that exists; there is none in "),
    "restore and search": ([*GRID, "--restore", "x"], "--search must not be given with --restore, which runs the plan"),
    "dead cluster": ([*GRID, "--address", "127.0.0.1:1"], "--address must be of a running Ray cluster; got '127.0.0.1"),
}


@pytest.mark.parametrize(("argv", "message"), BAD.values(), ids=BAD.keys())
def test_a_bad_command_line_ends_in_one_line(refused, argv, message):
    assert message in refused(*argv)


def test_an_unknown_key_of_a_study_ends_in_one_line(refused, study_text):
    line = refused(*GRID, study=study_text.replace("question =", "qestion ="))

    assert line == "run.py: a key of [study] must be one of question, seeds; got 'qestion'\n"


def test_a_study_that_is_nowhere_ends_in_one_line(refused):
    line = refused(*GRID, "--experiment", "nowhere", study=False)

    assert line == (
        "run.py: --experiment must be a study.toml, its folder, or a name under experiments/; got 'nowhere'\n"
    )


def test_a_missing_data_root_ends_in_one_line(refused, tmp_path):
    line = refused(*GRID, images=tmp_path / "nowhere")

    assert line == f"run.py: data root must be an existing folder; got {str(tmp_path / 'nowhere')!r}\n"


def test_no_data_root_for_a_folder_ends_in_one_line(refused, study_file, tmp_path):
    line = refused(*GRID, "--experiment", study_file(), "--storage", str(tmp_path / "storage"), study=False)

    assert line == "run.py: dataset 'folder' must be given a data root; got none\n"


def test_a_data_root_for_a_data_set_that_is_embedded_ends_in_one_line(refused):
    assert "a data root must not be given with dataset" in refused(*GRID, "--set", "dataset=fashion-mnist-sample")


def test_an_empty_class_folder_ends_in_one_line(refused, own_images):
    (own_images / "train" / "zebra").mkdir()

    assert "a class folder must hold at least one image; got" in refused(*GRID, images=own_images).replace(
        f"{str(own_images / 'train' / 'zebra')!r} holds none", "got"
    )


def test_a_text_file_that_is_named_an_image_ends_in_one_line(refused, own_images):
    file = next((own_images / "train").rglob("*.png"))
    file.write_text("hello")

    line = refused(*GRID, images=own_images)

    assert "every image must be readable (or set on_bad_image = skip); 1 of 56 is not: " in line
    assert file.relative_to(own_images).as_posix() in line


def test_images_of_more_pixels_than_allowed_end_in_one_line(refused):
    line = refused(*GRID, "--max-pixels", "1023")

    assert "every image must be readable (or set on_bad_image = skip); 56 of 56 are not: " in line
    assert "/dress_0001.png (it has 1,024 pixels; --max-pixels allows 1,023), " in line


def test_storage_that_is_a_file_ends_in_one_line(capsys, finished_run, study_file, image_folder, tmp_path):
    (tmp_path / "file").write_text("")

    usual = ["--experiment", study_file(), "--data-root", str(image_folder), "--name", "small"]
    code = main([*GRID, *usual, "--storage", str(tmp_path / "file")])

    assert code == 2
    assert capsys.readouterr().err.startswith("run.py: --storage must be a folder that can be written; got ")


@pytest.mark.parametrize(
    "option", ["experiment", "name", "trials", "confirm", "seeds", "set", "data-root", "storage", "extend"]
)
def test_a_restore_takes_nothing_that_would_change_the_plan(refused, finished_run, option):
    value = {"set": ["threshold=0.3"], "extend": []}.get(option, ["1"])

    line = refused("--restore", str(finished_run), f"--{option}", *value, study=False)

    assert line == f"run.py: --{option} must not be given with --restore, which runs the plan as it was made\n"


def test_a_restore_of_nothing_ends_in_one_line(refused, tmp_path):
    line = refused("--restore", str(tmp_path), study=False)

    assert line == f"run.py: a run or study folder must hold a plan.json; got {str(tmp_path)!r}\n"


@pytest.mark.parametrize("damage", [None, b"[study", b"\xff"])
def test_a_restore_of_a_run_without_its_study_ends_in_one_line(refused, finished_run, tmp_path, damage):
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "study.toml").unlink()
    if damage is not None:
        (run / "study.toml").write_bytes(damage)

    assert "study.toml" in refused("--restore", str(run), study=False)


@pytest.mark.parametrize(
    ("option", "value", "law"),
    [
        ("--without", "speed", "--without must be one of cache, packing, reuse, sharing; got 'speed'"),
        ("--without", "", "--without must be one of cache, packing, reuse, sharing; got ''"),
        ("--cache-gb", "0", "--cache-gb must be a whole number in [1, 1000000]; got '0'"),
        ("--max-pixels", "1e8", "--max-pixels must be a whole number in [1, 4294967296]; got '1e8'"),
    ],
)
def test_what_is_left_out_must_be_known(refused, option, value, law):
    assert law in refused(*GRID, option, value)


def test_a_damaged_plan_ends_in_one_line(refused, finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    text = (run / "plan.json").read_text()
    for damaged in ("", text[:100], json.dumps({**json.loads(text), "options": {}})):
        (run / "plan.json").write_text(damaged)

        refused("--restore", str(run), study=False)
