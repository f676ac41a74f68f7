import io

from rich.console import Console

from study.run import _show_plan


def test_a_plan_says_in_one_line_which_methods_are_one(prepared_run, study_text, tmp_path):
    text = study_text.replace("threshold = [0.3, 0.6]", 'saliency = ["gradcam", "layercam", "hirescam"]')
    written = io.StringIO()

    _show_plan(prepared_run(tmp_path / "small" / "grid", text), Console(file=written, width=60), 0)

    told = [line for line in written.getvalue().splitlines() if line.startswith("the same")]
    assert told == [
        "the same     gradcam, hirescam are one method under test_resnet's linear head: their rows will be equal"
    ]
