import numpy as np
from report_page import as_xml, words_of

from study.reporting import figures, report_figures
from study.reporting.inline_image import InlineImage

LEAKS = {"split": "redrawn", "schedule": "2"}


def words(image):
    return words_of(as_xml(image))


def test_val_stands_beside_test_for_every_arm_and_an_audit_is_marked(findings_of):
    found = findings_of(("baseline", 0, 50.0, {}), ("audit", 0, 51.0, LEAKS))

    drawn = report_figures.val_beside_test(found).decode()

    assert ">baseline<" in drawn
    assert ">audit (LEAKING)<" in drawn


def test_the_curves_name_every_arm_and_mark_an_audit(findings_of):
    drawn = report_figures.curves(findings_of(("baseline", 0, 50.0, {}), ("audit", 0, 51.0, LEAKS)))

    assert drawn.alt == "val accuracy by epoch of baseline, audit (LEAKING)"
    assert {"baseline", "audit (LEAKING)"} <= set(words(drawn))


def test_every_claim_but_those_of_levels_is_drawn_and_told_in_words(findings):
    drawn = report_figures.claims(findings)

    assert drawn.alt == (
        "differences in test accuracy, points. proxies - baseline: +2.75; best on val - baseline: +3.00; "
        "random-mask - baseline: +1.00; saliency - random-mask: +1.50"
    )


def test_each_factor_that_varies_has_its_figure_and_its_table(findings):
    ((factor, image, table),) = report_figures.factors(findings)

    assert factor == "threshold"
    assert image.alt == "difference in test accuracy to the baseline by threshold"
    assert [row[0] for row in table.rows] == ["0.3", "0.6"]


def test_baseline_and_proxies_have_a_confusion_matrix_each_over_their_trials(findings):
    assert [image.alt for image in report_figures.confusions(findings)] == [
        "confusion matrix of baseline: 2 trials, % of each true class",
        "confusion matrix of proxy: 4 trials, % of each true class",
    ]


def test_trials_with_other_classes_are_left_out_of_the_confusion(findings_of):
    other = {"classes": ("a", "b"), "confusion": ((1, 0), (0, 1))}

    found = findings_of(("baseline", 0, 50.0, {}), ("baseline", 1, 50.0, other))

    assert [image.alt for image in report_figures.confusions(found)] == [
        "confusion matrix of baseline: 1 trial, % of each true class"
    ]


def test_the_bins_of_an_arm_are_those_of_all_its_images(findings_of):
    bins = [((2, 0.5, 0.5), (0, 0.0, 0.0)), ((6, 0.75, 1.0), (4, 0.75, 0.5))]
    found = findings_of(*(("baseline", n, 50.0, {"calibration": rows}) for n, rows in enumerate(bins)))

    drawn = report_figures.reliability(found)

    assert drawn.alt == "accuracy against confidence of baseline"
    together = {"baseline": np.array([[8, 0.6875, 0.875], [4, 0.75, 0.5]])}
    assert drawn == InlineImage.of(figures.reliability(together), drawn.alt)


def test_a_report_without_bins_has_no_reliability_diagram(findings_of):
    assert report_figures.reliability(findings_of(("baseline", 0, 50.0, {"calibration": ()}))) is None


def test_where_nothing_is_complete_nothing_is_drawn(findings_of):
    found = findings_of(("baseline", 0, 50.0, {"status": "missing"}))

    assert report_figures.val_beside_test(found) is None
    assert report_figures.curves(found) is None
    assert report_figures.claims(found) is None
    assert report_figures.factors(found) == []
    assert report_figures.importance(found) is None
    assert report_figures.confusions(found) == []
