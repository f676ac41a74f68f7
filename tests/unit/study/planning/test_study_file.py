import dataclasses
import re
from pathlib import Path

import pytest

from proxy_attention.errors import ConfigError
from study.planning.study_file import load_study, parse_setting, parse_study, to_toml
from study.planning.study_spec import ArmSpec, Range

EXPERIMENTS = sorted((Path(__file__).parents[4] / "experiments").glob("*/study.toml"))

SEEDS_LAW = "seeds must be distinct whole numbers >= 0, at least one; got "

ERRORS = {
    "not TOML": ("[study", "study.toml must be TOML; got an error: "),
    "unknown table": ("[serach]", "a table of study.toml must be one of arm, fixed, search, study; got 'serach'"),
    "unknown key": ("[study]\nseed = [1]", "a key of [study] must be one of question, seeds; got 'seed'"),
    "question no text": ("[study]\nquestion = 3", "question must be text; got 3"),
    "table is a value": ("fixed = 3", "[fixed] must be a table; got 3"),
    "unknown fixed field": ("[fixed]\nlearning_rate = 0.1", "got 'learning_rate'"),
    "unknown search field": ("[search]\ntreshold = [0.1]", "got 'treshold'; did you mean threshold"),
    "unknown arm field": ('[[arm]]\nname = "a"\ntresh = 0.1', "got 'tresh'"),
    "seed fixed": ("[fixed]\nseed = 1", "seed must not be fixed or searched; list the seeds in [study] or in --seeds"),
    "seed searched": ("[search]\nseed = [1, 2]", "seed must not be fixed or searched"),
    "seed of an arm": ('[[arm]]\nname = "a"\nseed = 1', "seed must not be fixed or searched"),
    "field twice": ("[fixed]\nlr = 0.1\n[search]\nlr = [0.1]", "in [fixed] or in [search]; got 'lr' in both"),
    "empty list": ("[search]\nlr = []", "lr must be a list of at least one choice in [search]; got []"),
    "repeated choice": ("[search]\nlr = [0.1, 0.2, 0.1]", "lr must be a list of distinct choices in [search]; got 0.1"),
    "one value searched": ("[search]\nlr = 0.1", "lr must be a list or { low, high } in [search]; got 0.1"),
    "range backwards": ("[search]\nlr = { low = 0.2, high = 0.1 }", "lr must be { low = a, high = b } of numbers"),
    "range of a point": ("[search]\nlr = { low = 0.2, high = 0.2 }", "with a < b in [search]"),
    "range half open": ("[search]\nlr = { low = 0.2 }", "lr must be { low = a, high = b }"),
    "range of texts": ('[search]\nlr = { low = "0.1", high = "0.2" }', "lr must be { low = a, high = b }"),
    "range of flags": ("[search]\nlr = { low = false, high = true }", "lr must be { low = a, high = b }"),
    "range with more": ("[search]\nlr = { low = 0.1, high = 0.2, step = 1 }", "lr must be { low = a, high = b }"),
    "range of a name": ("[search]\nmodel = { low = 1, high = 2 }", "model must be { low = a, high = b }"),
    "range of a flag": ("[search]\ncompound = { low = 0, high = 1 }", "compound must be { low = a, high = b }"),
    "log no flag": ("[search]\nlr = { low = 0.1, high = 0.2, log = 1 }", "lr must be { low = a, high = b }"),
    "log of zero": ("[search]\nlr = { low = 0, high = 1.0, log = true }", "lr must have low > 0 where log = true"),
    "low breaks the law": ("[search]\nthreshold = { low = -1.0, high = 1.0 }", "threshold must be a number in [0, 1]"),
    "high breaks the law": ("[search]\nthreshold = { low = 0.0, high = 2.0 }", "threshold must be a number in [0, 1]"),
    "choice breaks the law": (
        "[search]\nthreshold = [0.5, 1.5]",
        "threshold must be a number in [0, 1] or 'mean+Ksd' with K from 1 to 9; got 1.5",
    ),
    "fixed breaks the law": (
        "[fixed]\nthreshold = 1.5",
        "threshold must be a number in [0, 1] or 'mean+Ksd' with K from 1 to 9; got 1.5",
    ),
    "arm breaks the law": ('[[arm]]\nname = "a"\nweight = 2', "weight must be a number in [0, 1]; got 2"),
    "unknown fixed name": ('[fixed]\nsaliency = "cam"', "saliency must be one of "),
    "unknown choice": ('[search]\nmask = ["saliency", "rnd"]', "mask must be one of "),
    "unknown name of an arm": ('[[arm]]\nname = "a"\nmask = "rnd"', "mask must be one of "),
    "arms no tables": ("[arm]\nname = 'a'", "arms must be [[arm]] tables; got {'name': 'a'}"),
    "arm no table": ("arm = [3]", "arms must be [[arm]] tables; got "),
    "arm without a name": ('[[arm]]\nschedule = "20"', "not baseline or proxy; got None"),
    "arm named baseline": ('[[arm]]\nname = "baseline"', "not baseline or proxy; got 'baseline'"),
    "arm named proxy": ('[[arm]]\nname = "proxy"', "not baseline or proxy; got 'proxy'"),
    "arm of another folder": ('[[arm]]\nname = "../x"', "name of an [[arm]] must be of letters, digits, '.', '_' and"),
    "arm with a space": ('[[arm]]\nname = "a b"', "got 'a b'"),
    "arm with a dot first": ('[[arm]]\nname = ".a"', "got '.a'"),
    "arm with a long name": (f'[[arm]]\nname = "{"a" * 65}"', "at most 64"),
    "arm with a line break": ('[[arm]]\nname = "a\\n"', r"got 'a\n'"),
    "arm name a number": ("[[arm]]\nname = 3", "name of an [[arm]] must be of letters"),
    "arm twice": ('[[arm]]\nname = "a"\n[[arm]]\nname = "a"', "name of an [[arm]] must be its own; got 'a' twice"),
    "seeds no list": ("[study]\nseeds = 3", SEEDS_LAW + "3"),
    "no seeds": ("[study]\nseeds = []", SEEDS_LAW + "[]"),
    "seed twice": ("[study]\nseeds = [0, 1, 0]", SEEDS_LAW + "0 twice"),
    "seed a flag": ("[study]\nseeds = [true]", SEEDS_LAW + "True"),
    "seed negative": ("[study]\nseeds = [0, -1]", SEEDS_LAW + "-1"),
    "seed no whole number": ("[study]\nseeds = [0.5]", SEEDS_LAW + "0.5"),
    "deep": ("[study]\nquestion = " + "[" * 5000 + "]" * 5000, "study.toml must be TOML; got an error: "),
    "huge number": ("[fixed]\nlr = " + "9" * 5000, "study.toml must be TOML; got an error: "),
    "unequal totals": (
        '[search]\nschedule = ["4", "3,p,2"]',
        "schedule must have the same total in all trials of a study; got '4' (4 epochs) and '3,p,2' (6 epochs)",
    ),
    "unequal total of an arm": (
        '[fixed]\nschedule = "4"\n[[arm]]\nname = "a"\nschedule = "5"',
        "got '4' (4 epochs) and '5' (5 epochs)",
    ),
    "unequal total of the default": ('[[arm]]\nname = "a"\nschedule = "5"', "got '20' (20 epochs) and '5' (5 epochs)"),
    "schedule a number": ("[search]\nschedule = [6]", "schedule must be counts of epochs >= 1 and p"),
}


@pytest.mark.parametrize(("text", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_a_study_that_breaks_a_law_is_refused_in_words(text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_study(text)


def test_a_study_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "study.toml").write_bytes(b"[study]\nquestion = '\xff'\n")

    with pytest.raises(ConfigError, match=r"study\.toml must be TOML"):
        load_study(tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_study(tmp_path, study_text):
    (tmp_path / "study.toml").write_text(study_text, encoding="utf-8-sig")

    assert load_study(tmp_path) == parse_study(study_text)


def test_a_study_is_found_by_its_folder_and_by_its_file(tmp_path):
    (tmp_path / "study.toml").write_text('[study]\nquestion = "Why?"')

    assert load_study(tmp_path) == load_study(tmp_path / "study.toml")
    assert load_study(tmp_path).question == "Why?"


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"--experiment must be a study\.toml, its folder, or a name under experiments"
    ):
        load_study(tmp_path)


SETTINGS = {
    "lr=0.5": ("lr", 0.5),
    "lr = 0.5": ("lr", 0.5),
    "batch_size=8": ("batch_size", 8),
    "compound=true": ("compound", True),
    'model="resnet34"': ("model", "resnet34"),
    "model=resnet34": ("model", "resnet34"),
    "schedule=3,p,2": ("schedule", "3,p,2"),
    "schedule=6": ("schedule", "6"),
    "weights=a=b.safetensors": ("weights", "a=b.safetensors"),
    "threshold=[0.1, 0.2]": ("threshold", [0.1, 0.2]),
    "threshold=mean+2sd": ("threshold", "mean+2sd"),
    'threshold=[0.3, "mean+2sd"]': ("threshold", [0.3, "mean+2sd"]),
    "threshold={low = 0.1, high = 0.2}": ("threshold", {"low": 0.1, "high": 0.2}),
    "threads=auto": ("threads", "auto"),
    "threads=1": ("threads", 1),
    "white_level=4095": ("white_level", 4095),
    "white_level=0.5": ("white_level", 0.5),
    "white_level=auto": ("white_level", "auto"),
    "batch_size=auto": ("batch_size", "auto"),
}


@pytest.mark.parametrize(("text", "expected"), SETTINGS.items(), ids=SETTINGS.keys())
def test_a_setting_is_toml_or_bare_text(text, expected):
    key, value = parse_setting(text)

    assert (key, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize("text", ["threshold", "=3", " =3", ""])
def test_a_setting_without_key_and_value_is_refused(text):
    with pytest.raises(ConfigError, match=re.escape(f"--set must be key=value; got {text!r}")):
        parse_setting(text)


def test_a_setting_of_an_unknown_field_is_refused():
    with pytest.raises(ConfigError, match="got 'treshold'; did you mean threshold"):
        parse_setting("treshold=0.3")


def test_a_setting_of_the_seed_is_refused():
    with pytest.raises(ConfigError, match="seed must not be fixed or searched"):
        parse_setting("seed=3")


def test_a_setting_with_a_value_takes_the_field_out_of_the_search():
    study = parse_study("[search]\nthreshold = [0.1, 0.2]", settings=["threshold=0.9"])

    assert dict(study.fixed) == {"threshold": 0.9}
    assert dict(study.search) == {}


def test_a_setting_with_a_list_makes_a_fixed_field_a_dimension():
    study = parse_study("[fixed]\nlr = 0.1", settings=["lr=[0.2, 0.3]"])

    assert dict(study.fixed) == {}
    assert dict(study.search) == {"lr": (0.2, 0.3)}


def test_a_setting_with_a_range_makes_a_range():
    study = parse_study("", settings=["lr={low = 0.001, high = 0.1, log = true}"])

    assert dict(study.search) == {"lr": Range(0.001, 0.1, log=True)}


def test_the_last_of_two_settings_of_a_field_holds():
    assert dict(parse_study("", settings=["lr=0.1", "lr=0.2"]).fixed) == {"lr": 0.2}


def test_a_setting_obeys_the_law_of_its_field():
    with pytest.raises(ConfigError, match=r"threshold must be a number in \[0, 1\] or .*; got 1.5"):
        parse_study("", settings=["threshold=1.5"])


def test_seeds_of_the_command_line_stand_for_those_of_the_file():
    assert parse_study("[study]\nseeds = [0, 1]", seeds=(5, 3)).seeds == (5, 3)


def test_a_fixed_field_that_the_command_line_implies_wins():
    study = parse_study('[fixed]\ndataset = "fashion-mnist-sample"', fixed={"dataset": "folder"})

    assert study.fixed["dataset"] == "folder"


ODD = "Is \"it\" the attention?\n\\ → \t ü \x7f \x01 # [x] = 'y'"


def test_a_study_is_the_same_after_it_was_written_and_read():
    study = parse_study(
        "[study]\nseeds = [3, 1]\n"
        '[fixed]\nlr = 1e-5\ncompound = true\nbatch_size = 8\nmodel = "resnet34"\nschedule = "3,p,2"\n'
        "[search]\nthreshold = { low = 0.1, high = 0.9 }\nweight_decay = { low = 1e-6, high = 1e-2, log = true }\n"
        'subset = [0.5, 1.0]\nclear_every_step = [true, false]\nmask = ["saliency", "random"]\n'
        '[[arm]]\nname = "a.b-c_1"\nschedule = "6"\nlr = 0.25\n[[arm]]\nname = "z"\n'
    )
    assert study.arms == (ArmSpec("a.b-c_1", {"schedule": "6", "lr": 0.25}), ArmSpec("z", {}))

    assert parse_study(to_toml(study)) == study


def test_numbers_and_words_may_stand_in_one_list():
    study = parse_study('[fixed]\nschedule = "3,p,2"\n[search]\nthreshold = [0.3, "mean+2sd"]\n')

    assert parse_study(to_toml(study)) == study
    assert [study.config(values, 0).threshold for _, values in study.grid()] == [0.3, "mean+2sd"]


def test_the_order_of_the_search_is_kept_because_random_draws_follow_it():
    settings = ["lr={low = 0.001, high = 0.1}", "mask=['saliency', 'random']", "weight={low = 0.1, high = 0.9}"]
    study = parse_study("", settings=settings)

    assert list(parse_study(to_toml(study)).search) == list(study.search) == ["lr", "mask", "weight"]


def test_odd_text_is_the_same_after_it_was_written_and_read():
    study = dataclasses.replace(parse_study(""), question=ODD)

    assert parse_study(to_toml(study)).question == ODD


def test_what_the_command_line_changed_is_in_the_written_study():
    study = parse_study("[search]\nlr = [0.1]", settings=["lr=0.5", "threshold=[0.1, 0.2]"], seeds=(7,))

    again = parse_study(to_toml(study))

    assert (again.seeds, again.fixed["lr"], again.search["threshold"]) == ((7,), 0.5, (0.1, 0.2))


def test_there_are_experiments():
    assert "quick" in [path.parent.name for path in EXPERIMENTS]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.parent.name)
def test_an_experiment_is_checked_says_why_and_what_to_expect(path):
    study = load_study(path)
    expected = re.search(r"Expect ([0-9]+) trials", path.read_text(encoding="utf-8"))

    assert study.question.endswith("?")
    assert expected is not None
    assert len(study.grid()) * len(study.seeds) == int(expected[1])


def test_the_quick_study_has_ten_settings_on_two_seeds():
    study = load_study(next(path for path in EXPERIMENTS if path.parent.name == "quick"))
    arms = [arm for arm, _ in study.grid()]

    assert (arms.count("baseline"), arms.count("proxy"), arms.count("random-mask")) == (1, 8, 1)
    assert len(study.grid()) * len(study.seeds) == 20
