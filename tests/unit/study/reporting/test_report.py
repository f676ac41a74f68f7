import base64
import dataclasses
import io
import json
import logging
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import optuna
import pandas as pd
import pytest
from PIL import Image

from study.analysis.arm_statistics import MEASURES, explanation_statistics
from study.analysis.claims import PRIMARY, Claim, claims
from study.analysis.estimates import estimate
from study.analysis.findings import Findings
from study.analysis.importance import importances
from study.analysis.pairs import with_baselines
from study.reporting import claim_tables, run_tables, summary
from study.reporting.arm_tables import explanations_by_arm
from study.reporting.report import finish, render, write_report
from study.reporting.terminal_report import show
from study.results import load_results
from study.run_folder import RunFolder

SCRIPT = "<script>alert(1)"
LEAKY = '\n[[arm]]\nname = "audit"\nschedule = "2"\nsplit = "redrawn"\n'


class Page(HTMLParser):
    """What a browser makes of a report: its tags, links, texts, tables' cells and pictures."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.links, self.text, self.rows = [], [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1] and self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        self.tags.append(f"/{tag}")

    @property
    def pictures(self):
        """The pictures as (kind, bytes)."""
        found = [link.removeprefix("data:image/").split(";base64,") for link in self.links if link.startswith("data:")]
        return [(kind, base64.b64decode(content)) for kind, content in found]

    @property
    def drawn_words(self):
        """The words in the figures."""
        figures = [ET.fromstring(content) for kind, content in self.pictures if kind == "svg+xml"]
        return ["".join(e.itertext()) for figure in figures for e in figure.iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def source(finished_run):
    """The report of the finished run. Read only."""
    return render(Findings.of(finished_run))


@pytest.fixture(scope="module")
def page(source):
    """The same as a browser reads it. Read only."""
    return Page(source)


@pytest.fixture
def copy(finished_run, tmp_path):
    """The finished run in a folder that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "small" / "grid")


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def folders(run):
    return [RunFolder(run).trial(trial.trial_id).path for trial in RunFolder(run).read_plan().trials]


def test_every_run_ends_with_its_report(finished_run, source):
    assert (finished_run / "report.html").read_text(encoding="utf-8") == source


def test_the_same_files_give_the_same_bytes_wherever_they_lie(copy, finished_run):
    assert write_report(Findings.of(copy)).read_bytes() == (finished_run / "report.html").read_bytes()


def test_a_report_needs_nothing_from_elsewhere(page, source):
    assert len(page.pictures) >= 8
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.tags)
    assert "url(" not in source
    assert "@import" not in source


def test_a_report_has_all_its_parts(page):
    assert "Does a small thing work?" in page.text
    for part in (
        "Answers",
        "Arms",
        "Learning",
        "Epochs to an accuracy",
        "Factors",
        "Confusion on test",
        "Calibration on test",
        "Wrong images and their proxies",
        "Failures",
        "Seconds and memory",
        "What ran",
        "python study/run.py",
        "torch ",
    ):
        assert part in page.text


# ---- the verdict


def test_under_five_seeds_the_verdict_is_that_they_are_too_few_and_the_pairs_are_shown(finished_run, page):
    run = Findings.of(finished_run)
    primary = run.claims[0]

    assert summary.headline(run).startswith("2 seeds are too few to tell. Test accuracy with proxies minus that of the")
    assert summary.headline(run) in page.text
    pairs = claim_tables.primary_by_seed(run.claims)
    assert [row[0] for row in pairs.rows] == ["0", "1"]
    assert [float(row[2].replace("\N{MINUS SIGN}", "-")) for row in pairs.rows] == pytest.approx(
        primary.test.values, abs=0.005
    )
    assert [list(row) for row in pairs.rows] == [row for row in page.rows if row[0] in ("0", "1")]


HEADLINES = {
    (1.0, 1.2, 1.1, 0.9, 1.3): "Proxies helped. Test accuracy with proxies minus that of the baseline: "
    "+1.10 points (95 % interval +0.90 to +1.30, n = 5 seeds, p < 0.001).",
    (-1.0, -1.2, -1.1, -0.9, -1.3): "Proxies did harm. Test accuracy with proxies minus that of the baseline: "
    "−1.10 points (95 % interval −1.30 to −0.90, n = 5 seeds, p < 0.001).",
    (-1.0, 1.2, -1.1, 0.9, 0.0): "No difference was shown. Test accuracy with proxies minus that of the baseline: "
    "+0.00 points (95 % interval −1.31 to +1.31, n = 5 seeds, p = 1.00).",
    (2.0,): "1 seed is too few to tell. Test accuracy with proxies minus that of the baseline: "
    "+2.00 points (no interval, n = 1 seed, no p).",
}


@pytest.mark.parametrize(("differences", "said"), HEADLINES.items(), ids=["helped", "harm", "none", "one seed"])
def test_a_verdict_is_told_with_the_same_care_whichever_way_it_goes(finished_run, differences, said):
    found = estimate(differences)
    claim = Claim("proxies - baseline", tuple(range(len(differences))), found, found, role=PRIMARY)

    run = dataclasses.replace(Findings.of(finished_run), claims=[claim])

    assert summary.headline(run).replace("\N{NO-BREAK SPACE}", " ") == said


def test_attention_is_set_against_chance_in_words(finished_run):
    said = summary.sentences(Findings.of(finished_run).claims)

    assert len(said) == 2
    assert said[0].startswith("The setting that was best on val (threshold 0.")
    assert said[1].startswith("Is it the attention? The same proxies with the map minus with random-mask: ")
    assert said[1].endswith("; 2 seeds: too few to tell.")


def test_an_arm_called_saliency_is_not_told_as_the_attention():
    found = estimate([1.0])

    assert summary.sentences([Claim("saliency - baseline", (0,), found, found)]) == []


def test_that_val_flatters_is_told_only_of_a_setting_that_was_chosen_on_it(page, rivals):
    assert "so its val flatters it" in page.text
    assert "so its val flatters it" not in Page(render(Findings.of(rivals))).text


def test_the_one_seed_of_a_search_cannot_judge_what_it_chose(finished_run):
    run = Findings.of(finished_run)
    search = dataclasses.replace(run.plan, search="random", seeds=(0,))

    said = summary.headline(dataclasses.replace(run, plan=search, claims=[]))

    assert said.startswith("No verdict: the one seed of this run chose the settings")


def test_every_claim_has_a_row(finished_run, page):
    answers = claims(with_baselines(load_results(finished_run)))

    first_cells = [row[0] for row in page.rows]
    for claim in answers:
        named = claim.level or claim.text.replace(" - ", " \N{MINUS SIGN} ")
        assert named in first_cells


# ---- the tables


def small_run(plan, scope, epochs):
    whole = dict.fromkeys(("results", "rows", "selected", "scope"), scope)
    return Findings(plan=plan, run=None, all_epochs=epochs, arms=[], explanations=[], claims=[], tables={}, **whole)


def test_the_epochs_to_an_accuracy_are_the_median_over_trials_and_how_many_reached_it(finished_run):
    scope = pd.DataFrame(
        [("baseline", 100.0, "fixed"), ("proxy", 0, "fixed"), ("proxy", 0, "fixed"), ("proxy", 0, "fixed")],
        columns=["arm", "val_accuracy", "split"],
    ).assign(trial_id=["a", "b", "c", "d"])
    values = {"a": [80, 95, 100], "b": [90, 96, 97], "c": [91, 94, 94], "d": [10, 89, 90]}
    epochs = pd.DataFrame(
        [
            ("baseline" if trial == "a" else "proxy", trial, epoch, value)
            for trial, series in values.items()
            for epoch, value in enumerate(series)
        ],
        columns=["arm", "trial_id", "epoch", "val_accuracy"],
    )

    table = run_tables.epochs_to_accuracy(small_run(RunFolder(finished_run).read_plan(), scope, epochs))

    assert table.columns == ("arm", "val 90.0 %", "val 95.0 %", "val 100.0 %")
    assert table.rows == (
        ("baseline", "2 (1 of 1)", "2 (1 of 1)", "3 (1 of 1)"),
        ("proxy", "1 (3 of 3)", "1 of 3", "0 of 3"),
    )


def test_steps_that_were_skipped_are_told_and_the_trials_that_took_none():
    rows = [("baseline", False, False), ("a", True, False), ("a", False, True), ("b", False, True), ("c", True, False)]
    epochs = pd.DataFrame(rows, columns=["trial_id", "proxy_step", "step_skipped"])

    assert summary.skipped_steps(epochs) == (
        "2 of 4 proxy steps were skipped, because validation accuracy had not stalled; 1 of 3 trials took none."
    )
    assert summary.skipped_steps(epochs[epochs["trial_id"].isin(["baseline", "c"])]) == ""
    assert summary.skipped_steps(epochs[:0]) == ""


def test_a_report_and_the_tables_tell_of_skipped_steps(copy, capsys):
    told = "1 of 6 proxy steps were skipped, because validation accuracy had not stalled; 1 of 6 trials took none."
    assert told not in render(Findings.of(copy))
    trial = next(trial for trial in RunFolder(copy).read_plan().trials if trial.config.has_proxies)
    file = RunFolder(copy).trial(trial.trial_id).epochs_file
    epochs = json.loads(file.read_text())
    file.write_text(
        json.dumps([{**epoch, "step_skipped": epoch["proxy_step"], "proxy_step": False} for epoch in epochs])
    )

    show(Findings.of(copy))

    assert told in Page(render(Findings.of(copy))).text
    assert told in " ".join(capsys.readouterr().out.split())


def test_what_a_run_cost_is_told_by_arm(finished_run):
    results = load_results(finished_run)
    table = run_tables.cost_by_arm(Findings.of(finished_run))

    assert [row[:2] for row in table.rows] == [("baseline", "2"), ("proxy", "4"), ("random-mask", "2"), ("all", "8")]
    assert table.rows[0][2].startswith(f"{results['train_seconds'][results['arm'] == 'baseline'].mean():.2f} ± ")
    assert table.rows[-1][5] == f"{results['peak_memory_mb'].max():.0f}"


def test_what_is_not_complete_is_counted_and_named_with_its_error(broken_run):
    page = Page(render(Findings.of(broken_run)))
    rows = load_results(broken_run).set_index("status")

    assert "1 of 4 trials are complete" in page.text
    for status in ("failed", "interrupted", "missing"):
        named = [row for row in page.rows if row[0] == rows.loc[status, "trial_id"]]
        assert named == [[rows.loc[status, "trial_id"], status, rows.loc[status, "error"]]]
    assert "No verdict: no proxy trial and its baseline are both complete." in page.text


def test_a_run_in_which_nothing_ran_has_a_report(prepared_run, tmp_path):
    prepared = prepared_run(tmp_path / "small" / "grid")

    text = Page(write_report(Findings.of(prepared.run.path)).read_text(encoding="utf-8")).text

    assert "0 of 8 trials are complete" in text
    assert "No verdict" in text


# ---- pictures of real images


def test_the_sheet_shows_wrong_images_with_what_they_are_and_what_they_were_taken_for(finished_run, page):
    folder = folders(finished_run)[1]
    rows = json.loads((folder / "proxies.json").read_text())["rows"]

    assert 1 <= len(rows) <= 8
    for row in rows:
        assert row["true"] != row["predicted"]
        assert f"true {row['true']}predicted {row['predicted']}" in page.text
        assert row["image"] in page.text


def test_a_row_of_the_sheet_is_cut_out_of_it_without_loss(finished_run, page):
    folder = folders(finished_run)[1]
    with Image.open(folder / "proxies.png") as picture:
        whole = np.array(picture)
    strips = [np.array(Image.open(io.BytesIO(c))) for kind, c in page.pictures if kind == "png"]

    count = len(json.loads((folder / "proxies.json").read_text())["rows"])
    for number, strip in enumerate(strips[:count]):
        top = 4 + number * 100
        assert np.array_equal(strip[2:98], whole[top : top + 96])


def test_an_older_run_without_bins_and_sheets_has_a_report_without_them(copy):
    for folder in folders(copy):
        report = json.loads((folder / "report.json").read_text())
        del report["calibration"]
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "proxies.png").unlink(missing_ok=True)

    text = Page(render(Findings.of(copy))).text

    assert "Calibration on test" not in text
    assert "Wrong images" not in text
    assert "Confusion on test" in text


@pytest.mark.parametrize("damage", [b"", b"\x89PNG\r\n", "truncated"], ids=["empty", "head", "truncated"])
def test_a_damaged_sheet_is_left_out(copy, damage):
    for folder in folders(copy):
        file = folder / "proxies.png"
        if file.exists():
            file.write_bytes(file.read_bytes()[:500] if damage == "truncated" else damage)

    assert "Wrong images" not in Page(render(Findings.of(copy))).text


# ---- what others wrote


@pytest.fixture
def hostile(prepared_run, run_one, own_images, study_text, tmp_path):
    """A run whose question, class, image and error are scripts."""
    for part in ("train", "test"):
        folder = sorted((own_images / part).iterdir())[0].rename(own_images / part / SCRIPT)
        first = sorted(folder.iterdir())[0]
        first.rename(folder / f"{SCRIPT}.png")
    text = study_text.replace("Does a small thing work?", f"{SCRIPT}</script>").replace("[0, 1]", "[0]")
    prepared = prepared_run(tmp_path / "small" / "grid", text, data_root=own_images)
    for number in (0, 1):
        run_one(prepared, number)
    failed = prepared.plan.trials[2]
    prepared.run.trial(failed.trial_id).write_error(failed, SCRIPT)
    return prepared.run.path


def test_scripts_in_names_questions_and_errors_are_shown_and_never_run(hostile):
    page = Page(render(Findings.of(hostile)))

    assert "script" not in page.tags
    assert page.text.count(f"{SCRIPT}</script>") >= 2  # the question, and study.toml
    assert [row[2] for row in page.rows if len(row) == 3 and row[1] == "failed"] == [SCRIPT]
    assert SCRIPT[:11] + "…" in page.drawn_words  # the class, at the confusion matrix
    for kind, content in page.pictures:
        if kind == "svg+xml":
            assert not [element for element in ET.fromstring(content).iter() if element.tag.endswith("script")]


def test_a_class_that_is_a_script_is_named_beside_its_wrong_images(hostile):
    folder = folders(hostile)[1]
    rows = json.loads((folder / "proxies.json").read_text())["rows"]
    change(folder / "proxies.json", rows=[{**row, "true": SCRIPT, "image": f"{SCRIPT}.png"} for row in rows])

    page = Page(render(Findings.of(hostile)))

    assert f"true {SCRIPT}" in page.text
    assert "script" not in page.tags


def test_a_name_that_is_no_text_is_shown_with_what_can_be_shown(copy):
    change(copy / "plan.json", question="a\udcffb")

    assert "a?b" in Page(write_report(Findings.of(copy)).read_text(encoding="utf-8")).text


# ---- LEAKING


def test_an_arm_that_trains_on_validation_images_is_marked_wherever_its_val_stands(
    prepared_run, run_one, study_text, tmp_path
):
    prepared = prepared_run(tmp_path / "small" / "grid", study_text.replace("[0, 1]", "[0]") + LEAKY)
    for number in (0, 1, 4):  # the baseline, a proxy, the audit
        run_one(prepared, number)

    page = Page(render(Findings.of(prepared.run.path)))

    assert "LEAKING: audit trained on validation images" in page.text
    assert "audit (LEAKING)" in page.drawn_words  # the curves
    rows = [row for row in page.rows if row[0].startswith("audit")]
    by_arm = next(row for row in rows if row[0] == "audit" and len(row) == 7)
    assert by_arm[2].endswith(" LEAKING")
    assert any(row[0] == "audit (LEAKING)" for row in rows)  # the epochs to an accuracy
    marked = [row for row in page.rows if row[0].startswith("audit \N{MINUS SIGN}")]
    assert marked
    assert all(row[2].endswith(" LEAKING") for row in marked)
    honest = next(row for row in page.rows if row[0] == "baseline")
    assert "LEAKING" not in "".join(honest)


# ---- arms side by side


RIVALS = """
[[arm]]
name = "rival"
schedule = "2"
augment = "none"
[[arm]]
name = "both"
schedule = "1,p"
threshold = 0.3
augment = "none"
[[arm]]
name = "less"
schedule = "2"
train_fraction = 0.5
"""


@pytest.fixture(scope="module")
def rivals(prepared_run, run_one, study_text, tmp_path_factory):
    """A run of one seed: baseline, one setting of proxies, a rival, both, and half the training images. Read only."""
    text = study_text.replace("[0, 1]", "[0]").replace("threshold = [0.3, 0.6]", "threshold = [0.3]")
    text = text[: text.index("[[arm]]")] + RIVALS
    prepared = prepared_run(tmp_path_factory.mktemp("rivals") / "small" / "grid", text)
    for number in range(5):
        run_one(prepared, number)
    return prepared.run.path


def minus(value):
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")


def test_rivals_stand_side_by_side_with_their_differences_to_the_baseline_and_to_their_twin(rivals):
    test = load_results(rivals).set_index("arm")["test_accuracy"]
    page = Page(render(Findings.of(rivals)))

    table = {row[0]: row[1:] for row in [row for row in page.rows if len(row) == 7][:6]}
    assert list(table) == ["arm", "baseline", "proxy", "rival", "both", "less"]
    assert table["rival"][-2:] == [minus(test["rival"] - test["baseline"]), ""]
    assert table["both"][-2:] == [
        minus(test["both"] - test["baseline"]),
        f"{minus(test['both'] - test['rival'])} (to rival)",
    ]


def test_the_report_tells_every_comparison_of_rivals_over_how_many_and_that_training_sets_differ(rivals):
    page = Page(render(Findings.of(rivals)))
    answers = Findings.of(rivals).claims

    assert [claim.text for claim in answers] == [
        "proxies - baseline",
        "rival - baseline",
        "both - rival",
        "both - proxies",
        "both - baseline",
        "(both - rival) - (proxies - baseline)",
        "less - baseline (less data)",
    ]
    assert {claim.text.replace(" - ", " \N{MINUS SIGN} ") for claim in answers} <= {row[0] for row in page.rows}
    assert "Do proxies add to rival what they add to the baseline? (both \N{MINUS SIGN} rival)" in page.text
    assert "Less (or more) data: the training sets differ" in page.text


def test_what_ran_tells_the_training_images_of_every_arm(rivals):
    assert (
        dict(run_tables.facts(Findings.of(rivals)))["data"]
        == "folder: 4 classes, 16 or 32 train, 8 val, 16 test images"
    )


def test_a_report_names_a_weights_file_by_no_folder_of_this_machine(copy):
    plan = json.loads((copy / "plan.json").read_text())
    for number, trial in enumerate(plan["trials"]):
        if number % 4 > 1:  # what was another threshold and a control becomes a baseline and proxies of other weights
            trial["arm"] = "baseline" if number % 4 == 2 else "proxy"
            schedule = "2" if number % 4 == 2 else "1,p"
            trial["config"] |= {"schedule": schedule, "threshold": 0.3, "mask": "saliency", "weights": "/far/away/w.pt"}
    change(copy / "plan.json", trials=plan["trials"])

    page = Page(render(Findings.of(copy)))

    assert [row[0] for row in page.rows if row[0] in ("w.pt", "/far/away/w.pt")] == ["w.pt"]
    assert "weights w.pt" in page.text
    assert "/far" not in page.text + " ".join(page.drawn_words)


def test_a_run_without_rivals_says_nothing_of_other_training_sets(page):
    assert "the training sets differ" not in page.text


def test_the_report_says_over_how_many_claims_holm_went(copy, page):
    for number, folder in enumerate(folders(copy)):
        change(folder / "report.json", test_accuracy=float(number * number))

    assert "is adjusted by Holm. " in page.text  # on 16 test images no difference of these varied: there is no p
    assert "is adjusted by Holm, over 4 claims. " in Page(render(Findings.of(copy))).text


def test_the_terminal_shows_rivals_side_by_side_and_a_control_alone_as_ever(rivals, finished_run, capsys):
    show(Findings.of(rivals))
    told = capsys.readouterr().out
    show(Findings.of(finished_run))

    assert "side by side" in told
    assert "(to rival)" in told
    assert "side by side" not in capsys.readouterr().out


def judged_run(finished_run, **values):
    """The finished run, as if its trials had been judged so."""
    run = Findings.of(finished_run)
    columns = {**dict.fromkeys(MEASURES, float("nan")), "judged_by": "eigengradcam", "judged_images": 16, **values}
    rows = run.rows.assign(**columns)
    return dataclasses.replace(run, rows=rows, scope=rows, explanations=explanation_statistics(rows, rows))


def test_how_well_models_are_explained_is_told_measure_by_measure_by_whom_and_which_way_is_better(finished_run):
    values = [0.5, 0.6, 0.6, 0.25, 0.25, 0.5, 0.3, 0.25]  # of each seed baseline, two settings, control

    found = explanations_by_arm(judged_run(finished_run, deletion_auc=values))

    assert found.judges == "by eigengradcam on 16 test images a trial"
    ((title, table),) = found.measures
    assert title == "Deletion: lower is better"
    assert table.rows == (
        ("baseline", "0.375 ± 0.177", ""),
        ("proxy", "0.500 ± 0.141", "+0.125 [\N{MINUS SIGN}0.193, +0.443]"),
        ("random-mask", "0.250 ± 0.000", "\N{MINUS SIGN}0.125 [\N{MINUS SIGN}1.713, +1.463]"),
    )


def test_models_that_nobody_judged_have_no_part_of_their_own(finished_run, copy):
    assert explanations_by_arm(judged_run(finished_run, judged_by=None, judged_images=0)) is None
    for folder in folders(copy):
        change(folder / "report.json", **dict.fromkeys([*MEASURES, "judged_by"]), judged_images=0)

    assert "Is it explained better?" not in Page(render(Findings.of(copy))).text


def test_models_that_were_judged_have_a_table_a_measure(copy):
    for folder in folders(copy):
        change(folder / "report.json", insertion_auc=0.5, judged_by=SCRIPT, judged_images=16)

    page = Page(render(Findings.of(copy)))

    assert "Is it explained better?" in page.text
    assert "Insertion: higher is better" in page.text
    assert f"judged by {SCRIPT} on 16 test images a trial" in page.text
    assert ["proxy", "0.500 ± 0.000", "+0.000 [+0.000, +0.000]"] in page.rows
    assert "script" not in page.tags


# ---- a failure to draw


def test_a_report_that_cannot_be_drawn_loses_neither_the_rows_nor_the_run(copy, caplog):
    for folder in folders(copy):
        change(folder / "report.json", confusion="no matrix")

    with caplog.at_level(logging.WARNING):
        results = finish(copy).results

    assert len(results) == 8
    assert pd.read_csv(copy / "results.csv")["trial_id"].tolist() == results["trial_id"].tolist()
    assert not (copy / "report.html").exists()  # the one that was there is of other rows
    assert "report.html could not be written" in caplog.text


def test_what_analyses_a_run_loads_nothing_that_draws_trains_or_runs():
    heavy = ["torch", "ray", "optuna", "matplotlib", "jinja2", "PIL"]
    code = f"import sys, study.analyse; print([name for name in {heavy} if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# ---- what mattered to a search


@pytest.fixture
def searched(finished_run, tmp_path):
    """Make a run's optuna.db of as many trials, the first a baseline; threshold decides the value, weight does not."""

    def make(trials):
        storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
        study = optuna.create_study(storage=storage, study_name="small", direction="maximize")
        schedule = optuna.distributions.CategoricalDistribution(["2", "1,p"])
        unit = optuna.distributions.FloatDistribution(0, 1)
        study.add_trial(
            optuna.trial.create_trial(params={"schedule": "2"}, distributions={"schedule": schedule}, value=99.0)
        )
        for number in range(trials):
            threshold, weight = number / trials, (number * 7 % trials) / trials
            study.add_trial(
                optuna.trial.create_trial(
                    params={"schedule": "1,p", "threshold": threshold, "weight": weight},
                    distributions={"schedule": schedule, "threshold": unit, "weight": unit},
                    value=80 + 10 * threshold,
                )
            )
        storage.engine.dispose()
        return tmp_path, dataclasses.replace(RunFolder(finished_run).read_plan(), search="optuna", name="small")

    return make


def test_the_importance_of_a_search_is_of_its_trials_with_proxies(searched):
    values, count = importances(*searched(16))

    assert list(values) == ["threshold", "weight"]  # the schedule is the same in all of them
    assert values["threshold"] > 0.8
    assert sum(values.values()) == pytest.approx(1)
    assert count == 16


def test_the_importance_is_the_same_every_time(searched):
    run, plan = searched(8)

    assert importances(run, plan) == importances(run, plan)


def test_a_few_trials_say_nothing_of_importance(searched):
    assert importances(*searched(3)) == ({}, 0)


def test_a_damaged_optuna_db_says_nothing_of_importance_and_is_named(finished_run, tmp_path, caplog):
    (tmp_path / "optuna.db").write_bytes(b"no database" * 100)

    found = importances(tmp_path, dataclasses.replace(RunFolder(finished_run).read_plan(), search="optuna"))

    assert found == ({}, 0)
    assert "optuna.db" in caplog.text


def test_a_grid_has_no_importance(finished_run):
    assert importances(finished_run, RunFolder(finished_run).read_plan()) == ({}, 0)
