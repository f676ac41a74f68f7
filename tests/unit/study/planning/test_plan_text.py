from dataclasses import replace

from proxy_attention.data.white_level import WhiteLevel
from study.planning.plan_text import cost_lines, plan_lines, result_lines, shown_path
from study.planning.study_data import StudyData
from study.run_folder import RunFolder


def test_a_plan_says_in_one_line_which_methods_are_one(prepared_run, study_text, tmp_path):
    text = study_text.replace("threshold = [0.3, 0.6]", 'saliency = ["gradcam", "layercam", "hirescam"]')

    lines = plan_lines(prepared_run(tmp_path / "small" / "grid", text), 0)

    told = [str(line) for line in lines if str(line).startswith("the same")]
    assert told == [
        "the same     gradcam, hirescam are one method under test_resnet's linear head: their rows will be equal"
    ]


def test_a_plan_opens_with_its_name_and_its_question_and_ends_with_its_folder(prepared_run, tmp_path):
    lines = [str(line) for line in plan_lines(prepared_run(tmp_path / "small" / "grid", write=False), 3)]

    assert lines[:2] == ["small · grid · seeds 0, 1", "Does a small thing work?"]
    assert lines[-2:] == ["done before  3 of 8 trials", f"run          {tmp_path / 'small' / 'grid'}"]


def test_the_white_of_a_data_set_is_told_with_the_images_that_come_out_flat(prepared_run, monkeypatch, tmp_path):
    prepared = prepared_run(tmp_path / "run", write=False)
    found = WhiteLevel(4095.0, 60, 4000.0, tuple(f"{n}.png" for n in range(11)))
    for whites, level in (([found], 4095.0), ([], 4095.0), ([], "auto")):
        monkeypatch.setattr(StudyData, "white_levels", property(lambda self, whites=whites: whites))
        shown = replace(prepared, example=replace(prepared.example, white_level=level))
        told = [str(line) for line in plan_lines(shown, 0) if str(line).startswith(("white", "flat"))]

        assert len(told) == {1: 2, 0: level != "auto"}[len(whites)]
        assert all("4095" in line or "0.png, 1.png, " in line for line in told)


def test_groups_are_told_with_the_part_of_the_split_that_lacks_one(prepared_run, own_images, tmp_path):
    files = sorted(path.relative_to(own_images).as_posix() for path in own_images.rglob("*.png"))
    for groups, told in (((), []), (("sea",), ["groups       sea"]), (("land", "sea"), [LACKING])):
        rows = [f"{file},{groups[0] if file.startswith('train') else groups[-1]}\n" for file in files if groups]
        if groups:
            (own_images / "groups.csv").write_text("file,group\n" + "".join(rows))

        lines = plan_lines(prepared_run(tmp_path / "run", data_root=own_images, write=False), 0)

        assert [str(line) for line in lines if str(line).startswith("groups")] == told


def test_shortcuts_are_told_with_their_groups(prepared_run, study_text, tmp_path):
    text = study_text.replace("threshold = [0.3, 0.6]", 'shortcut = ["none", "patch:0.9", "patch:0.5:none"]')

    lines = plan_lines(prepared_run(tmp_path / "run", text, write=False), 0)

    assert [str(line) for line in lines if str(line).startswith("shortcut")] == [
        "shortcut     patch:0.5:none:none, patch:0.9:aligned:none (their groups: aligned, conflicting, without)"
    ]


LACKING = "groups       land, sea (no train image of sea; no val image of sea; no test image of land)"


def test_words_of_a_study_are_told_as_they_are(prepared_run, study_text, tmp_path):
    text = study_text.replace("Does a small thing work?", "Is [bold]this[/bold] it?")

    assert str(plan_lines(prepared_run(tmp_path / "run", text, write=False), 0)[1]) == "Is [bold]this[/bold] it?"


def test_nothing_left_costs_no_line():
    assert cost_lines(None) == []


def test_a_path_below_the_working_directory_is_shown_from_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert shown_path(tmp_path / "a" / "b") == "a/b"
    assert shown_path(tmp_path.parent / "c") == str(tmp_path.parent / "c")


def test_the_places_of_results_name_what_is_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "my runs" / "optuna")
    kinds = [line.split()[0] for line in result_lines(run, "optuna")]
    run.path.mkdir(parents=True)
    run.report_html.write_text("")

    lines = result_lines(run, "grid")

    assert kinds == ["rows", "tables", "curves", "search"]
    assert lines[0] == "report       my runs/optuna/report.html"
    assert lines[2].endswith("study/analyse.py 'my runs/optuna'")
    assert lines[3] == "curves       tensorboard --logdir 'my runs/optuna/trials'"
