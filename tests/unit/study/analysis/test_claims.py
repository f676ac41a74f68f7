import dataclasses
import math

import pytest

from study.analysis.claims import Claim, claims
from study.analysis.estimates import estimate, holm
from study.analysis.pairs import with_baselines
from study.results import with_weights_named


def claim_named(text, frame, **options):
    (found,) = [claim for claim in claims(frame, **options) if claim.text == text]
    return found


def test_the_primary_claim_is_the_mean_over_the_settings_of_each_seed(study):
    claim = claims(study)[0]

    assert (claim.text, claim.seeds) == ("proxies - baseline", (0, 1))
    assert claim.val.values == (2.0, 1.0)
    assert claim.test.values == (2.0, -0.5)
    assert claim.test.mean == 0.75


def test_an_arm_is_compared_with_the_baseline(study):
    claim = claim_named("random-mask - baseline", study)

    assert (claim.val.values, claim.test.values) == ((0.5, 1.0), (2.5, 3.0))


def test_the_seed_on_which_a_search_chose_is_left_out(study):
    found = claims(study, chosen_on=0)

    assert found[0].text == "chosen proxies - baseline"
    assert {claim.seeds for claim in found} == {(1,)}
    assert found[0].test.values == (-0.5,)


def test_trials_that_are_not_complete_are_no_part_of_a_claim(frame):
    results = with_baselines(
        frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {}), ("proxy", 0, 0, 0, {"weight": 0, "status": "x"}))
    )

    assert claims(results)[0].test.values == (3.0,)


def test_no_pair_is_no_claim(frame):
    assert claims(with_baselines(frame(("baseline", 0, 80, 70, {})))) == []


def test_what_was_asked_in_advance_is_not_adjusted_and_all_the_rest_is(study):
    found = claims(study)
    named, rest = found[:2], found[2:]

    assert [claim.role for claim in found] == ["primary", "secondary", "further", "further", "level", "level"]
    assert all(math.isnan(claim.adjusted) for claim in named)
    assert [claim.adjusted for claim in rest] == pytest.approx(holm([claim.test.p for claim in rest]))


def test_the_secondary_claim_is_of_the_setting_that_is_best_on_val_and_is_read_on_test(study):
    claim = claim_named("best on val - baseline", study)  # val means: 72.5 of threshold 0.3, 70.5 of 0.6

    assert claim.setting == (("threshold", "0.3"),)
    assert (claim.val.values, claim.test.values) == ((1.0, 4.0), (3.0, 1.0))


def test_a_setting_that_misses_a_seed_cannot_be_the_best_on_val(frame):
    results = with_baselines(
        frame(
            *(("baseline", seed, 80, 70, {}) for seed in (0, 1)),
            *(("proxy", seed, 81, 71, {"threshold": tau}) for seed in (0, 1) for tau in (0.1, 0.2)),
            ("proxy", 0, 99, 99, {"threshold": 0.3}),
        )
    )

    assert claim_named("best on val - baseline", results).setting == (("threshold", "0.1"),)


def test_an_audit_cannot_be_the_best_on_val(frame):
    leaks = {"split": "redrawn", "split_digest": "another"}
    results = with_baselines(
        frame(
            ("baseline", 0, 80, 70, {}),
            ("baseline", 0, 99, 70, leaks),
            ("proxy", 0, 81, 71, {"threshold": 0.3}),
            ("proxy", 0, 82, 72, {"threshold": 0.6}),
            ("proxy", 0, 99, 73, {"threshold": 0.3, **leaks}),
        )
    )

    assert claim_named("best on val - baseline", results).setting == (("threshold", "0.6"),)


def test_where_there_is_one_setting_there_is_nothing_to_choose(frame):
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {})))

    assert [claim.text for claim in claims(results)] == ["proxies - baseline"]


def test_the_best_of_a_search_is_the_one_that_was_best_on_the_seed_it_chose_on(study):
    claim = claim_named("best on val - baseline", study, chosen_on=0)  # val there: 81 of 0.3, 83 of 0.6

    assert claim.setting == (("threshold", "0.6"),)
    assert (claim.seeds, claim.test.values) == ((1,), (-2.0,))


def test_each_level_of_a_factor_is_a_claim_over_the_seeds(study):
    found = [claim for claim in claims(study) if claim.role == "level"]

    assert [(claim.factor, claim.level, claim.test.values) for claim in found] == [
        ("threshold", "0.3", (3.0, 1.0)),
        ("threshold", "0.6", (1.0, -2.0)),
    ]


def test_a_claim_says_whether_it_rests_on_a_leaking_split(frame):
    results = with_baselines(
        frame(
            *(("baseline", 0, 80, 70, {"split": split}) for split in ("fixed", "redrawn")),
            ("proxy", 0, 81, 73, {}),
            ("audit", 0, 99, 73, {"split": "redrawn"}),
        )
    )

    assert [(claim.text, claim.leaking) for claim in claims(results)] == [
        ("proxies - baseline", False),
        ("audit - baseline", True),
    ]


def claim_of(*differences):
    return Claim("x", tuple(range(len(differences))), estimate(differences), estimate(differences))


VERDICTS = {
    (5.0,): "1 seed: too few to tell",
    (5.0, 5.1, 5.0, 5.1): "4 seeds: too few to tell",
    (5.0, 5.1, 5.0, 5.1, 5.0): "higher",
    (-5.0, -5.1, -5.0, -5.1, -5.0): "lower",
    (-5.0, 5.1, -5.0, 5.1, 0.5): "no difference shown",
}


@pytest.mark.parametrize(("differences", "verdict"), VERDICTS.items(), ids=VERDICTS.values())
def test_a_verdict_needs_five_seeds_and_an_interval_without_zero(differences, verdict):
    assert claim_of(*differences).verdict == verdict


def test_a_difference_that_does_not_outlast_holm_is_not_shown():
    claim = claim_of(5.0, 5.1, 5.0, 5.1, 5.0)

    assert dataclasses.replace(claim, adjusted=0.04).verdict == "higher"
    assert dataclasses.replace(claim, adjusted=0.05).verdict == "no difference shown (Holm)"


def test_a_verdict_is_of_the_test_images_not_of_those_that_chose():
    claim = Claim("x", (0, 1, 2, 3, 4), val=estimate([5.0] * 4 + [5.1]), test=estimate([-5.0] * 4 + [-5.1]))

    assert claim.verdict == "lower"


# ---- other training


def test_every_contrast_of_the_arms_is_claimed_after_the_primary(four_arms):
    found = claims(four_arms())

    assert [(claim.text, claim.test.values) for claim in found] == [
        ("proxies - baseline", (1.0, 2.0)),
        ("rival - baseline", (2.0, 3.0)),
        ("both - rival", (4.0, 6.0)),
        ("both - proxies", (5.0, 7.0)),
        ("both - baseline", (6.0, 9.0)),
        ("(both - rival) - (proxies - baseline)", (3.0, 4.0)),
    ]
    assert [claim.question for claim in found][-1] == "Do proxies add to rival what they add to the baseline?"
    assert [claim.role for claim in found] == ["primary", *["further"] * 5]
    assert [claim.adjusted for claim in found[1:]] == pytest.approx(holm([claim.test.p for claim in found[1:]]))


def test_a_claim_of_one_seed_has_its_difference_and_no_p(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("rival", 0, 80, 72, {"schedule": "2", "augment": "cutmix"}))

    (claim,) = claims(with_baselines(results))

    assert (claim.text, claim.test.values) == ("rival - baseline", (2.0,))
    assert math.isnan(claim.adjusted)
    assert claim.verdict == "1 seed: too few to tell"


def test_the_seed_on_which_a_search_chose_is_in_no_claim_of_other_training(four_arms):
    found = claims(four_arms(), chosen_on=0)

    assert {claim.text: claim.test.values for claim in found} == {
        "chosen proxies - baseline": (2.0,),
        "both - rival": (6.0,),
        "both - chosen proxies": (7.0,),
        "both - baseline": (9.0,),
        "(both - rival) - (chosen proxies - baseline)": (4.0,),
        "rival - baseline": (3.0,),
    }


def test_two_arms_of_one_setting_are_claimed_once(four_arms):
    again = [
        trial
        for seed, rival, both in ((0, 72, 76), (1, 72, 78))
        for trial in (
            ("again", seed, 62, rival, {"schedule": "2", "augment": "cutmix"}),
            ("both-again", seed, 66, both, {"augment": "cutmix"}),
        )
    ]

    assert [claim.text for claim in claims(four_arms(extra=again))] == [claim.text for claim in claims(four_arms())]


def test_a_setting_that_was_suggested_twice_counts_once_in_every_claim(four_arms):
    twice = four_arms(extra=[("both", 0, 66, 76, {"augment": "cutmix"}), ("proxy", 0, 61, 71, {})])

    assert {claim.text: claim.test.values for claim in claims(twice)} == {
        claim.text: claim.test.values for claim in claims(four_arms())
    }


def test_proxies_at_a_level_of_the_training_are_named_with_their_own_baseline(levels):
    found = claims(with_baselines(levels("augment", "none", "cutmix")))

    assert [(claim.text, claim.level, claim.test.values) for claim in found if claim.role == "level"] == [
        ("augment cutmix + proxies - augment cutmix", "cutmix", (2.0, 2.0)),
        ("augment none + proxies - augment none", "none", (1.0, 1.0)),
    ]


def test_levels_of_two_weights_files_of_one_name_are_told_apart_without_their_paths(levels):
    found = claims(with_baselines(with_weights_named(levels("weights", "/far/a/w.pt", "/far/b/w.pt"))))

    assert "weights b/w.pt - weights a/w.pt" in [claim.text for claim in found]
    assert [claim.level for claim in found if claim.role == "level"] == ["a/w.pt", "b/w.pt"]
    assert [claim.setting for claim in found if claim.setting] == [(("weights", "a/w.pt"),)]
