import dataclasses

import pandas as pd
import pytest

from study.analysis.claims import PRIMARY, Claim
from study.analysis.estimates import estimate
from study.plan import Extension
from study.reporting.report import render
from study.reporting.run_tables import facts
from study.reporting.summary import extensions, headline, sentences, skipped_steps
from study.reporting.terminal_report import show

HEADLINES = {
    (1.0, 1.2, 1.1, 0.9, 1.3): "Proxies helped. Test accuracy with proxies minus that of the baseline: "
    "+1.10 points (95 % interval +0.90 to +1.30, n = 5 seeds, p < 0.001).",
    (-1.0, -1.2, -1.1, -0.9, -1.3): "Proxies did harm. Test accuracy with proxies minus that of the baseline: "
    "−1.10 points (95 % interval −1.30 to −0.90, n = 5 seeds, p < 0.001).",
    (-1.0, 1.2, -1.1, 0.9, 0.0): "No difference was shown. Test accuracy with proxies minus that of the baseline: "
    "+0.00 points (95 % interval −1.31 to +1.31, n = 5 seeds, p = 1.00).",
    (2.0, 3.0): "2 seeds are too few to tell. Test accuracy with proxies minus that of the baseline: "
    "+2.50 points (95 % interval −3.85 to +8.85, n = 2 seeds, p = 0.13).",
    (2.0,): "1 seed is too few to tell. Test accuracy with proxies minus that of the baseline: "
    "+2.00 points (no interval, n = 1 seed, no p).",
}


def claim_of(*differences, text="proxies - baseline", **changes):
    found = estimate(differences)
    return Claim(text, tuple(range(len(differences))), found, found, **changes)


def breakable(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("differences", "said"), HEADLINES.items(), ids=["helped", "harm", "none", "two seeds", "one seed"]
)
def test_a_verdict_is_told_with_the_same_care_whichever_way_it_goes(findings, differences, said):
    primary = claim_of(*differences, role=PRIMARY)

    assert breakable(headline(dataclasses.replace(findings, claims=[primary]))) == said


EXTENDED = Extension("2026-11-27T12:00:00", "run.py", "abc", "f" * 64, "", ("seeds 2, 3",), 2, 8, 6, 0, False)


def test_an_extension_is_told_with_its_date_its_seeds_and_whether_there_was_a_look(findings, capsys):
    unseen = dataclasses.replace(EXTENDED, seeds_before=1, complete_before=0, added=("arm late", "threshold 0.9"))
    plan = dataclasses.replace(findings.plan, extensions=(unseen, EXTENDED))
    findings = dataclasses.replace(findings, plan=plan)

    said = extensions(plan)

    assert said[0] == (
        "This study was extended on 2026-11-27, after 1 seed, by arm late, threshold 0.9, when no trial was complete, "
        "so that nothing could be looked at."
    )
    assert len(said) == 2
    assert said[1] == (
        "This study was extended on 2026-11-27, after 2 seeds, by seeds 2, 3, when 6 of its 8 trials were complete and "
        "could be looked at: the intervals and p values here take no account of that look."
    )
    assert said[1] in render(findings, with_images=False)
    show(findings)
    assert said[1] in " ".join(capsys.readouterr().out.split())
    assert dict(facts(findings))["extended"].endswith("after 2 seeds, 6 of 8 trials complete: by seeds 2, 3 (run.py)")


def test_without_a_pair_there_is_no_verdict(findings):
    said = headline(dataclasses.replace(findings, claims=[]))

    assert said == "No verdict: no proxy trial and its baseline are both complete."


def test_the_one_seed_of_a_search_cannot_judge_what_it_chose(findings):
    search = dataclasses.replace(findings.plan, search="random", seeds=(0,))

    said = headline(dataclasses.replace(findings, plan=search, claims=[]))

    assert said.startswith("No verdict: the one seed of this run chose the settings")


def test_the_setting_chosen_on_val_and_attention_against_chance_are_told_in_words(findings):
    chosen, control = map(breakable, sentences(findings.claims))

    assert chosen == (
        "The setting that was best on val (threshold 0.6), read on test: "
        "+3.00 points (95 % interval −9.71 to +15.71, n = 2 seeds, p = 0.20)."
    )
    assert control == (
        "Is it the attention? The same proxies with the map minus with random-mask: "
        "+1.50 points (95 % interval −4.85 to +7.85, n = 2 seeds, p = 0.41 after Holm); 2 seeds: too few to tell."
    )


def test_a_claim_that_answers_a_question_is_told_after_it():
    asked = claim_of(3.0, text="(both - rival) - (proxies - baseline)", question="Do proxies add to rival?")

    (said,) = map(breakable, sentences([asked]))

    assert said == (
        "Do proxies add to rival? (both − rival) − (proxies − baseline): "
        "+3.00 points (no interval, n = 1 seed, no p); 1 seed: too few to tell."
    )


def test_an_arm_called_saliency_is_not_told_as_the_attention():
    assert sentences([claim_of(1.0, text="saliency - baseline")]) == []


def test_steps_that_were_skipped_are_told_and_the_trials_that_took_none():
    rows = [("baseline", False, False), ("a", True, False), ("a", False, True), ("b", False, True), ("c", True, False)]
    epochs = pd.DataFrame(rows, columns=["trial_id", "proxy_step", "step_skipped"])

    assert skipped_steps(epochs) == (
        "2 of 4 proxy steps were skipped, because validation accuracy had not stalled; 1 of 3 trials took none."
    )
    assert skipped_steps(epochs[epochs["trial_id"].isin(["baseline", "c"])]) == ""
    assert skipped_steps(epochs[:0]) == ""
