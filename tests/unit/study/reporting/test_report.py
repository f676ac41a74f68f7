import json
import logging

import pandas as pd
import pytest
from report_page import ReportPage
from traps import TRAPS, controls
from written_runs import SMALL, folders, reported_run, write_run, write_sheet

from proxy_attention.files import write_json
from study.analysis.findings import Findings
from study.foreign_text import printable
from study.reporting.report import finish, render, write_report

SCRIPT = "<script>alert(1)"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A complete run of eight trials, with its report. Read only."""
    return reported_run(tmp_path_factory)


@pytest.fixture(scope="module")
def source(run):
    """Its report. Read only."""
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source):
    """The same as a browser reads it. Read only."""
    return ReportPage(source)


def change(file, **values):
    write_json(file, {**json.loads(file.read_text()), **values})


def test_a_run_ends_with_its_rows_and_its_report(run):
    assert pd.read_csv(run / "results.csv")["test_accuracy"].tolist() == [test for _, _, test, _ in SMALL]
    assert {"report.html", "arms.svg"} <= {file.name for file in run.iterdir()}


def test_a_report_needs_nothing_from_elsewhere(page, source):
    assert len(page.images) >= 8
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert "url(" not in source
    assert "@import" not in source


def test_a_report_has_all_its_parts(page):
    assert "Does a small thing work?" in page.text
    for part in (
        "2 seeds are too few to tell. Test accuracy with proxies minus that of the baseline",
        "The pairs",
        "Answers",
        "so its val flatters it",
        "Arms side by side",
        "Learning",
        "Epochs to an accuracy",
        "Factors",
        "Confusion on test",
        "Calibration on test",
        "Wrong images and their proxies",
        "Failures",
        "None: all 8 trials are complete.",
        "Seconds and memory",
        "What ran",
        "python study/run.py",
        "torch ",
    ):
        assert part in page.text


def test_a_report_leaves_out_what_does_not_apply(page):
    for part in (
        "Is it explained better?",
        "the training sets differ",
        "proxy steps were skipped",
        "The same images under every method",
        "LEAKING",
        "What mattered to the search",
    ):
        assert part not in page.text


def test_every_claim_has_a_row(run, page):
    shown = {row[0] for row in page.rows}

    for claim in Findings.of(run).claims:
        assert (claim.level or claim.text.replace(" - ", " \N{MINUS SIGN} ")) in shown
    assert [row for row in page.rows if row[0] in ("0", "1")] == [["0", "+2.50", "+2.50"], ["1", "+3.00", "+3.00"]]


def test_the_report_says_over_how_many_claims_holm_went(page):
    assert "is adjusted by Holm, over 3 claims. " in page.text


def test_a_wrong_image_is_shown_with_its_class_and_its_prediction(page):
    assert "true dresspredicted trousera.png" in page.text


# ---- a run with everything that a report may have to tell


@pytest.fixture(scope="module")
def eventful(tmp_path_factory):
    """A run with scripts for names, rivals, an audit, a skipped step, failures, judged models and weights files."""
    judged = {"insertion_auc": 0.5, "judged_by": SCRIPT, "judged_images": 16}
    plain = {"classes": (SCRIPT, "b"), "confusion": ((2, 0), (1, 1)), **judged}
    trials = (
        ("baseline", 0, 50.0, plain),
        ("proxy", 0, 51.0, {"steps_skipped": True, **plain}),
        ("rival", 0, 52.0, {"schedule": "2", "weights": "/far/away/w.pt", **plain}),
        ("both", 0, 56.0, {"weights": "/far/away/w.pt", **plain}),
        ("less", 0, 40.0, {"schedule": "2", "train_fraction": 0.5, "split_digest": "half", **plain}),
        ("audit", 0, 53.0, {"schedule": "2", "split": "redrawn", "split_digest": "leaks", **plain}),
        ("proxy", 1, 0.0, {"error": SCRIPT}),
        ("baseline", 1, 0.0, {"status": "missing"}),
    )
    path = tmp_path_factory.mktemp("eventful") / "small" / "grid"
    run = write_run(path, *trials, question=f"{SCRIPT}</script> \udcff", study=f"# {SCRIPT}</script>")
    write_sheet(folders(run)[1], rows=[(f'"><{SCRIPT}.png', SCRIPT, "b")])
    return run


@pytest.fixture(scope="module")
def told(eventful):
    """Its report as a browser reads it. Read only."""
    return ReportPage(render(Findings.of(eventful)))


def test_scripts_in_names_questions_and_errors_are_shown_and_never_run(told):
    assert "script" not in told.tags
    assert told.text.count(f"{SCRIPT}</script>") == 2  # the question, and study.toml
    assert [row[2] for row in told.rows if len(row) == 3 and row[1] == "failed"] == [SCRIPT]
    assert f"true {SCRIPT}" in told.text
    assert f'"><{SCRIPT}.png' in told.text
    assert SCRIPT[:11] + "…" in told.drawn_words  # the class, at the confusion matrix
    assert not [element for figure in told.figures for element in figure.iter() if element.tag.endswith("script")]


def test_nothing_in_a_report_is_markup_mathematics_or_turns_the_direction_of_text(tmp_path):
    names = {"classes": TRAPS[-4:], "confusion": (((1, 0, 0, 0),) * 4)}
    trials = [("baseline", 0, 50.0, names), *(("proxy", 0, 0.0, {"error": trap}) for trap in TRAPS)]
    path = write_run(tmp_path / "small" / "grid", *trials, question=" ".join(TRAPS))

    source = render(Findings.of(path))

    page = ReportPage(source)
    assert controls(source) == []
    assert not [link for link in page.links if not link.startswith(("data:", "#"))]
    assert "onerror=" not in source.replace("onerror=alert(1)&gt;", "")
    told = [row[2] for row in page.rows if row[1:2] == ["failed"]]
    assert told == [printable(" ".join(trap.split("\n"))) for trap in TRAPS]
    assert TRAPS[-1][:11] + "…" in page.drawn_words


def test_a_question_that_is_no_text_is_shown_with_what_can_be_shown(told):
    assert f"{SCRIPT}</script> ?" in told.text


def test_what_is_not_complete_is_counted_and_named(told, eventful):
    names = [folder.name for folder in folders(eventful)]

    assert "6 of 8 trials are complete" in told.text
    assert [names[6], "failed", SCRIPT] in told.rows
    assert [names[7], "missing", ""] in told.rows


def test_an_arm_that_trains_on_validation_images_is_marked_wherever_its_val_stands(told):
    assert "LEAKING: audit trained on validation images" in told.text
    assert "audit (LEAKING)" in told.drawn_words  # the curves
    rows = [row for row in told.rows if row[0].startswith("audit")]
    assert next(row for row in rows if row[0] == "audit" and len(row) == 7)[2] == "58.00 LEAKING"
    assert any(row[0] == "audit (LEAKING)" for row in rows)  # the epochs to an accuracy
    (claimed,) = [row for row in rows if row[0].startswith("audit \N{MINUS SIGN}")]
    assert claimed[2].endswith(" LEAKING")
    assert "LEAKING" not in "".join(next(row for row in told.rows if row[0] == "baseline"))


def test_rivals_stand_side_by_side_with_their_differences_to_the_baseline_and_to_their_counterpart(told):
    first = next(number for number, row in enumerate(told.rows) if row[:3] == ["arm", "trials", "val %"])
    table = {row[0]: row[-2:] for row in told.rows[first + 1 : first + 7]}

    assert table["rival"] == ["+2.00", ""]
    assert table["both"] == ["+6.00", "+4.00 (to rival)"]
    assert table["less"] == ["\N{MINUS SIGN}10.00 (less data)", ""]


def test_the_report_tells_every_comparison_of_rivals_and_that_training_sets_differ(told):
    assert "Do proxies add to rival what they add to the baseline? (both \N{MINUS SIGN} rival)" in told.text
    assert "Less (or more) data: the training sets differ" in told.text
    assert "so its val flatters it" not in told.text  # no setting was chosen on val


def test_a_weights_file_is_named_by_no_folder_of_this_machine(told):
    assert "/far" not in told.text + " ".join(told.drawn_words)


def test_skipped_steps_are_told(told):
    assert "1 of 2 proxy steps were skipped, because validation accuracy had not stalled" in told.text


def test_models_that_were_judged_have_a_table_a_measure(told):
    assert "Is it explained better?" in told.text
    assert "Insertion: higher is better" in told.text
    assert f"judged by {SCRIPT} on 16 test images a trial" in told.text
    assert ["proxy", "0.500", "+0.000"] in told.rows


# ---- what is missing or damaged


def test_a_run_in_which_nothing_ran_has_a_report(tmp_path):
    trials = [(arm, seed, 0.0, {**given, "status": "missing"}) for arm, seed, _, given in SMALL]
    run = write_run(tmp_path / "small" / "grid", *trials)

    text = ReportPage(write_report(Findings.of(run)).read_text(encoding="utf-8")).text

    assert "0 of 8 trials are complete" in text
    assert "No verdict" in text
    assert not (run / "arms.svg").exists()


def test_a_run_without_bins_and_sheets_has_a_report_without_them(tmp_path):
    trials = [(arm, seed, test, {**given, "calibration": ()}) for arm, seed, test, given in SMALL[:2]]
    run = write_run(tmp_path / "small" / "grid", *trials)
    (folders(run)[1] / "proxies.png").unlink()

    text = ReportPage(render(Findings.of(run))).text

    assert "Calibration on test" not in text
    assert "Wrong images" not in text
    assert "Confusion on test" in text


def test_a_factor_of_numbers_and_words_is_drawn_and_listed(tmp_path):
    words = {"threshold": "mean+2sd"}
    trials = [(arm, seed, test, words if given == {"threshold": 0.6} else given) for arm, seed, test, given in SMALL]
    run = write_run(tmp_path / "small" / "grid", *trials)

    source = render(Findings.of(run))

    assert "mean+2sd" in ReportPage(source).text
    assert "difference in test accuracy to the baseline by threshold" in source


def test_a_report_of_other_images_does_not_call_them_wrong(tmp_path):
    trials = [(arm, seed, test, {**given, "choose": "all"}) for arm, seed, test, given in SMALL[:2]]
    run = write_run(tmp_path / "small" / "grid", *trials)

    text = ReportPage(render(Findings.of(run))).text

    assert "Chosen images and their proxies" in text
    assert "Training images that were chosen (by choose), from the newest proxy step" in text
    assert "got wrong" not in text


def test_a_report_that_cannot_be_drawn_loses_neither_the_rows_nor_the_run(tmp_path, caplog):
    run = write_run(tmp_path / "small" / "grid", *SMALL[:2])
    (run / "report.html").write_text("an older one")
    for folder in folders(run):
        change(folder / "report.json", confusion="no matrix")

    with caplog.at_level(logging.WARNING):
        results = finish(run).results

    assert len(results) == 2
    assert pd.read_csv(run / "results.csv")["trial_id"].tolist() == results["trial_id"].tolist()
    assert not (run / "report.html").exists()  # the one that was there is of other rows
    assert "report.html could not be written" in caplog.text
