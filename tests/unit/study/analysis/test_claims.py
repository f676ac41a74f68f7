import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from proxy_attention.config import DEFAULTS, PROXY_FIELDS, TrialConfig
from proxy_attention.errors import ConfigError
from study.analysis.claims import Claim, claims
from study.analysis.estimates import estimate, holm
from study.analysis.grouping import group, query, tables
from study.analysis.pairs import with_baselines
from study.results import COLUMNS, METRICS, load_results, with_weights_named


@pytest.fixture
def frame():
    """Make results of (arm, seed, val, test, changed fields) by hand; a baseline has schedule 2, all else 1,p."""

    def make(*trials):
        rows = []
        for number, (arm, seed, val, test, given) in enumerate(trials):
            changes = {"precision": "fp32", "threads": 1, **given}  # a trial of a plan has nothing left auto
            schedule = "2" if arm == "baseline" else "1,p"
            fields = {name: value for name, value in changes.items() if name in DEFAULTS}
            config = TrialConfig(**{"schedule": schedule, "seed": seed, **fields}).canonical()
            missing = {} if config.has_proxies else dict.fromkeys(PROXY_FIELDS)
            row = {
                "trial_id": f"{number:04d}-{arm}-seed{seed}",
                "config_digest": config.digest(data="x", weights=None),
                "search": "grid",
                "arm": arm,
                "status": "complete",
                "error": "",
                **config.as_dict(),
                **missing,
                **dict.fromkeys(METRICS, 0.0),
                "epochs_done": 2,
                "val_accuracy": val,
                "test_accuracy": test,
                "split_digest": f"split of seed {seed}",
                "commit": "",
            }
            rows.append({**row, **{name: value for name, value in changes.items() if name not in DEFAULTS}})
        return pd.DataFrame(rows, columns=list(COLUMNS))

    return make


def test_an_estimate_is_that_of_numpy_and_scipy():
    values = [1.0, 2.5, -0.5, 4.0, 3.0]

    found = estimate(values)

    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert found.n == 5
    assert found.values == tuple(values)
    assert (found.mean, found.sd) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_an_interval_of_two_is_as_wide_as_it_should_be():
    found = estimate([1.0, 3.0])

    assert (found.mean, found.sd) == pytest.approx((2.0, math.sqrt(2)))
    assert (found.low, found.high) == pytest.approx((2 - 12.7062047, 2 + 12.7062047))


def test_one_value_has_no_spread():
    found = estimate([7.0])

    assert (found.n, found.mean) == (1, 7.0)
    assert all(math.isnan(value) for value in (found.sd, found.low, found.high))


def test_no_value_has_no_mean():
    found = estimate([math.nan])

    assert found.n == 0
    assert math.isnan(found.mean)


def test_missing_values_are_left_out_of_an_estimate():
    assert estimate([1.0, math.nan, 3.0]).values == (1.0, 3.0)


def differences(results):
    return [None if math.isnan(value) else value for value in with_baselines(results)["test_difference"]]


def test_a_trial_is_compared_with_the_baseline_of_its_seed(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 80, 70, {}),
            ("proxy", 0, 81, 73, {}),
            ("baseline", 1, 60, 50, {}),
            ("proxy", 1, 62, 49, {}),
        )
    )

    assert list(results["baseline_id"].dropna()) == ["0000-baseline-seed0", "0002-baseline-seed1"]
    assert list(results["val_difference"].dropna()) == [1, 2]
    assert list(results["test_difference"].dropna()) == [3, -1]
    assert results["baseline_id"].isna().tolist() == [True, False, True, False]


CHANGED = {
    "lr": 0.01,
    "weight_decay": 0.5,
    "batch_size": 64,
    "model": "resnet34",
    "weights": "imagenet",
    "image_size": 32,
    "augment": "none",
    "precision": "bf16",
    "threads": 2,
    "compile": True,
    "freeze_trunk": True,
    "train_fraction": 0.5,
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "split": "merged",
    "split_seed": 9,
    "folds": 3,
    "on_bad_image": "skip",
    "label_function": "file-prefix",
    "dataset": "folder",
    "judge": "gradcam++",
    "judge_images": 8,
    "split_digest": "another",
    "epochs_done": 3,
}


def test_every_field_that_is_no_proxy_field_is_changed_below():
    assert set(DEFAULTS) - set(PROXY_FIELDS) - {"schedule", "seed", "fold"} <= set(CHANGED)


@pytest.mark.parametrize("field", CHANGED)
def test_a_baseline_that_differs_in_what_is_no_proxy_field_is_not_used(frame, field):
    results = frame(("baseline", 0, 80, 70, {field: CHANGED[field]}), ("proxy", 0, 81, 73, {}))

    assert differences(results) == [None, None]


def test_of_two_baselines_the_one_that_agrees_is_used(frame):
    results = frame(
        ("baseline", 0, 0, 10, {"lr": 0.5}),
        ("baseline", 0, 0, 70, {}),
        ("proxy", 0, 0, 73, {}),
        ("proxy", 0, 0, 12, {"lr": 0.5}),
    )

    assert differences(results) == [None, None, 3, 2]


def test_a_baseline_that_is_not_complete_is_not_used(frame):
    results = frame(("baseline", 0, 80, 70, {"status": "failed"}), ("proxy", 0, 81, 73, {}))

    assert differences(results) == [None, None]


def test_a_trial_that_is_not_complete_has_no_difference(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {"status": "interrupted"}))

    assert differences(results) == [None, None]


def test_an_arm_without_proxies_is_no_proxy_trial(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("rival", 0, 81, 73, {"schedule": "2", "lr": 0.5}))

    assert differences(results) == [None, None]


@pytest.mark.parametrize("audit", [{"split": "redrawn"}, {"split": "merged", "schedule": "2"}])
def test_an_audit_is_set_against_the_honest_baseline_of_its_seed(frame, audit):
    results = frame(
        ("baseline", 0, 80.0, 79.0, {}),
        ("baseline", 1, 70.0, 69.0, {}),
        ("leaky", 0, 95.0, 79.5, {**audit, "split_digest": "another"}),
    )

    audited = with_baselines(results).iloc[2]

    assert audited["baseline_id"] == "0000-baseline-seed0"
    assert (audited["val_difference"], audited["test_difference"]) == (15.0, 0.5)


def test_a_trial_whose_only_step_may_be_skipped_is_compared_with_the_baseline_and_is_none(frame):
    results = frame(
        ("baseline", 0, 80, 70, {}),
        ("proxy", 0, 81, 73, {"schedule": "1,p?"}),
        ("proxy", 0, 82, 74, {"schedule": "1,p?", "patience": 1}),
        ("proxy", 0, 79, 69, {"schedule": "1,p"}),
    )

    assert differences(results) == [None, 3, 4, -1]


def test_an_audit_is_never_the_baseline_of_an_honest_trial(frame):
    results = frame(
        ("merged", 0, 95.0, 79.5, {"split": "merged", "schedule": "2"}),
        ("proxy", 0, 81.0, 80.0, {}),
    )

    assert with_baselines(results)["baseline_id"].isna().all()


def test_an_audit_of_other_training_has_no_baseline(frame):
    results = frame(("baseline", 0, 80.0, 79.0, {}), ("leaky", 0, 95.0, 79.5, {"split": "redrawn", "lr": 0.1}))

    assert with_baselines(results)["baseline_id"].isna().all()


def test_the_rows_that_were_given_are_not_changed(frame):
    results = frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {}))
    before = results.copy()

    with_baselines(results)

    pd.testing.assert_frame_equal(results, before)


@pytest.fixture
def study(frame):
    """Two seeds of a baseline, two thresholds and a control of the first threshold."""
    return with_baselines(
        frame(
            ("baseline", 0, 80.0, 70.0, {}),
            ("proxy", 0, 81.0, 73.0, {"threshold": 0.3}),
            ("proxy", 0, 83.0, 71.0, {"threshold": 0.6}),
            ("random-mask", 0, 80.5, 72.5, {"threshold": 0.3, "mask": "random"}),
            ("baseline", 1, 60.0, 50.0, {}),
            ("proxy", 1, 64.0, 51.0, {"threshold": 0.3}),
            ("proxy", 1, 58.0, 48.0, {"threshold": 0.6}),
            ("random-mask", 1, 61.0, 53.0, {"threshold": 0.3, "mask": "random"}),
        )
    )


def test_a_group_has_n_means_standard_deviations_and_paired_differences(study):
    table = group(study, ["arm"]).set_index("arm")

    assert list(table["n"]) == [2, 4, 2]
    assert list(table["pairs"]) == [0, 4, 2]
    assert list(table.index) == ["baseline", "proxy", "random-mask"]
    proxy = table.loc["proxy"]
    assert proxy["val_mean"] == pytest.approx((81 + 83 + 64 + 58) / 4)
    assert proxy["val_sd"] == pytest.approx(np.std([81, 83, 64, 58], ddof=1))
    assert proxy["val_difference"] == pytest.approx((1 + 3 + 4 - 2) / 4)
    assert proxy["val_difference_sd"] == pytest.approx(np.std([1, 3, 4, -2], ddof=1))
    assert proxy["test_mean"] == pytest.approx((73 + 71 + 51 + 48) / 4)
    assert proxy["test_difference"] == pytest.approx((3 + 1 + 1 - 2) / 4)
    assert proxy["test_difference_sd"] == pytest.approx(np.std([3, 1, 1, -2], ddof=1))
    assert table.loc["baseline"].filter(like="difference").isna().all()


def test_a_group_may_be_by_several_columns(study):
    table = group(study, ["seed", "threshold"])

    assert table[["seed", "threshold", "n", "test_mean"]].to_numpy().tolist() == [
        [0, 0.3, 2, 72.75],
        [0, 0.6, 1, 71.0],
        [1, 0.3, 2, 52.0],
        [1, 0.6, 1, 48.0],
    ]


def test_rows_that_lack_a_column_of_the_group_are_left_out(study):
    assert group(study, ["threshold"])["n"].tolist() == [4, 2]


def test_trials_that_are_not_complete_are_no_part_of_a_group(frame):
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), ("baseline", 1, 0, 0, {"status": "failed"})))

    assert group(results, ["arm"])[["n", "test_mean"]].to_numpy().tolist() == [[1, 70]]


def test_a_setting_that_was_tried_twice_counts_once(frame):
    twice = ("proxy", 0, 81, 73, {})
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), twice, twice, ("proxy", 0, 82, 74, {"weight": 0.1})))

    assert group(results, ["arm"]).set_index("arm").loc["proxy", ["n", "pairs"]].tolist() == [2, 2]
    assert claims(results)[0].test.values == (3.5,)


def test_a_column_that_is_not_there_is_refused(study):
    with pytest.raises(ConfigError, match=r"group-by must be one of .*; got 'treshold'.*threshold"):
        group(study, ["treshold"])


@pytest.mark.parametrize(("field", "values"), [("saliency", ("gradcam", "layercam")), ("lr", (0.1, 0.2))])
def test_any_field_may_be_such_a_factor(frame, field, values):
    trials = [(arm, 0, 80, 70, {field: value}) for value in values for arm in ("baseline", "proxy")]

    found = tables(with_baselines(frame(*trials)))

    assert set(found) == {field, "schedule", "arm"}
    assert sorted(set(found[field][field])) == sorted(values)


def test_there_is_a_table_for_every_factor_that_varies_and_always_one_by_arm(study):
    found = tables(study)

    assert list(found) == ["schedule", "threshold", "arm"]
    assert found["threshold"][["threshold", "n"]].to_numpy().tolist() == [[0.3, 2], [0.6, 2]]  # without the control
    assert found["schedule"][["schedule", "n"]].to_numpy().tolist() == [["1,p", 4], ["2", 2]]


def test_a_factor_of_the_training_is_shown_by_arm(frame):
    results = with_baselines(frame(*(("baseline", 0, 80, 70, {"model": model}) for model in ("resnet18", "resnet34"))))

    assert tables(results)["model"][["model", "arm", "n"]].to_numpy().tolist() == [
        ["resnet18", "baseline", 1],
        ["resnet34", "baseline", 1],
    ]


def test_a_searched_range_is_shown_by_quarters(frame):
    draws = [("proxy", 0, 80, 70, {"threshold": number / 16}) for number in range(1, 17)]

    table = tables(with_baselines(frame(*draws)))["threshold"]

    assert table["n"].tolist() == [4, 4, 4, 4]


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


def test_attention_is_compared_with_chance_only_where_nothing_but_the_mask_differs(study):
    claim = claim_named("saliency - random-mask", study)

    assert (claim.val.values, claim.test.values) == ((0.5, 3.0), (0.5, -2.0))  # threshold 0.3, never 0.6
    assert [claim.text for claim in claims(study) if claim.text.startswith("saliency")] == ["saliency - random-mask"]


def test_an_arm_with_the_mask_of_the_search_is_no_control(frame):
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), ("proxy", 0, 81, 73, {}), ("twin", 0, 81, 73, {})))

    assert [claim.text for claim in claims(results)] == ["proxies - baseline", "twin - baseline"]


def test_a_searched_mask_is_no_attention(frame):
    results = with_baselines(
        frame(
            ("proxy", 0, 81, 73, {}),
            ("proxy", 0, 81, 60, {"mask": "random"}),
            ("inverse", 0, 80, 72, {"mask": "inverse"}),
        )
    )

    assert claim_named("saliency - inverse", results).test.values == (1.0,)


def test_only_a_control_is_told_as_one_whatever_an_arm_is_called(study, frame):
    results = with_baselines(frame(("baseline", 0, 80, 70, {}), ("saliency", 0, 81, 73, {})))

    assert claim_named("saliency - baseline", results).control == ""
    assert claim_named("saliency - random-mask", study).control == "random-mask"


def test_a_control_of_another_split_is_not_compared(frame):
    results = with_baselines(
        frame(("proxy", 0, 81, 73, {}), ("random-mask", 0, 80, 72, {"mask": "random", "split_digest": "another"}))
    )

    assert claims(results) == []


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


def test_p_is_that_of_scipys_paired_t_test():
    before, after = [70.0, 71.5, 69.0, 72.0], [71.0, 71.0, 70.5, 74.0]

    found = estimate(b - a for a, b in zip(before, after, strict=True))

    assert found.p == pytest.approx(stats.ttest_rel(after, before).pvalue)


@pytest.mark.parametrize("values", [[], [2.0], [2.0, 2.0, 2.0], [0.0, 0.0], [0.1 + 0.2, 0.3, 0.3]])
def test_there_is_no_p_of_values_that_do_not_vary(values):
    assert math.isnan(estimate(values).p)


def test_holm_by_hand():
    # smallest first: 4 * 0.005, 3 * 0.01, 2 * 0.03, then 1 * 0.04, which may not fall below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_an_adjusted_p_is_at_most_one():
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_a_claim_without_p_is_not_counted_by_holm():
    found = holm([0.01, math.nan, 0.02])

    assert math.isnan(found[1])
    assert [found[0], found[2]] == pytest.approx([0.02, 0.02])


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


def test_a_query_picks_rows(study):
    assert len(query(study, "threshold > 0.5 and seed == 1")) == 1


@pytest.mark.parametrize("expression", ["", "threshold >", "treshold > 0.5", "threshold == @x", "import os"])
def test_a_query_that_pandas_cannot_read_is_refused_in_one_line(study, expression):
    with pytest.raises(ConfigError, match="query must be a pandas query over the columns; got ") as caught:
        query(study, expression)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("expression", ["1 + 1", "seed", "val_accuracy + 1", "seed = 3", "True"])
def test_a_query_that_is_not_true_or_false_of_each_row_is_refused(study, expression):
    with pytest.raises(ConfigError, match="query must be a pandas query over the columns; got "):
        query(study, expression)


def test_a_query_leaves_out_the_rows_for_which_it_is_unknown(study):
    some = study.assign(epochs_done=pd.array([1, None, 3, 3, 3, None, 3, 3], dtype="Int64"))

    assert len(query(some, "epochs_done > 1")) == 5


def test_a_real_run_pairs_every_trial_of_a_seed_with_its_baseline(finished_run):
    results = with_baselines(load_results(finished_run))

    ids = list(results["trial_id"])
    assert results["baseline_id"].fillna("").tolist() == ["", *[ids[0]] * 3, "", *[ids[4]] * 3]
    assert [claim.text for claim in claims(results)] == [
        "proxies - baseline",
        "best on val - baseline",
        "random-mask - baseline",
        "saliency - random-mask",
        "threshold 0.3 - baseline",
        "threshold 0.6 - baseline",
    ]


# ---- rivals: augmentation alone, proxies alone, both

TWO_BY_TWO = (("baseline", 70), ("rival", 72), ("proxy", 71), ("both", 76))
CUT = {"augment": "cutmix"}
FIELDS = {"rival": {"schedule": "2", **CUT}, "both": CUT}


def trials_of(*arms, seeds=(0, 1), fields=FIELDS):
    """A trial of each (arm, test) on each seed; on the second seed the baseline is 1 lower, and both 2 higher."""
    shift = {"baseline": -1, "both": 2}
    return [
        (arm, seed, test - 10, test + seed * shift.get(arm, 0), fields.get(arm, {}))
        for seed in seeds
        for arm, test in arms
    ]


@pytest.fixture
def rivals(frame):
    """Two seeds of baseline, rival, proxies and both; returned with its rows changed."""

    def make(*arms, drop=(), change=lambda row: row, **given):
        trials = [change(trial) for trial in trials_of(*(arms or TWO_BY_TWO), **given) if trial[:2] not in drop]
        return with_baselines(frame(*trials))

    return make


def told(results, **options):
    """Of every claim that is not level by level its text and its values on test."""
    return {claim.text: claim.test.values for claim in claims(results, **options) if claim.role != "level"}


def test_augmentation_proxies_and_both_are_compared_with_each_other_and_with_the_baseline(rivals):
    assert told(rivals()) == {
        "proxies - baseline": (1.0, 2.0),
        "both - rival": (4.0, 6.0),
        "both - proxies": (5.0, 7.0),
        "both - baseline": (6.0, 9.0),
        "(both - rival) - (proxies - baseline)": (3.0, 4.0),
        "rival - baseline": (2.0, 3.0),
    }


def test_only_what_proxies_add_to_a_rival_is_told_as_an_answer_to_a_question(rivals):
    assert [(claim.text, claim.question) for claim in claims(rivals()) if claim.question] == [
        ("(both - rival) - (proxies - baseline)", "Do proxies add to rival what they add to the baseline?")
    ]


def test_the_primary_claim_is_unadjusted_and_all_of_rivals_is_one_family(rivals):
    found = claims(rivals())

    assert [claim.role for claim in found] == ["primary", *["further"] * 5]
    assert [claim.adjusted for claim in found[1:]] == pytest.approx(holm([claim.test.p for claim in found[1:]]))


def test_a_seed_that_misses_one_of_four_has_no_part_in_what_proxies_add_to_a_rival(rivals):
    assert told(rivals(drop=[("proxy", 1)])) == {
        "proxies - baseline": (1.0,),
        "both - rival": (4.0, 6.0),
        "both - proxies": (5.0,),
        "both - baseline": (6.0, 9.0),
        "(both - rival) - (proxies - baseline)": (3.0,),
        "rival - baseline": (2.0, 3.0),
    }


def test_a_trial_that_failed_is_in_no_claim_of_rivals(rivals):
    def fail(trial):
        arm, seed, val, test, fields = trial
        return (arm, seed, val, test, {**fields, "status": "failed"} if (arm, seed) == ("rival", 0) else fields)

    found = told(rivals(change=fail))

    assert found["rival - baseline"] == (3.0,)
    assert found["both - rival"] == (6.0,)
    assert found["both - baseline"] == (6.0, 9.0)


def test_a_rival_of_one_seed_has_its_difference_and_no_p(rivals):
    (claim,) = [claim for claim in claims(rivals(seeds=(0,))) if claim.text == "rival - baseline"]

    assert claim.test.values == (2.0,)
    assert math.isnan(claim.adjusted)
    assert claim.verdict == "1 seed: too few to tell"


def test_the_seed_on_which_a_search_chose_is_in_no_claim_of_rivals(rivals):
    assert told(rivals(), chosen_on=0) == {
        "chosen proxies - baseline": (2.0,),
        "both - rival": (6.0,),
        "both - chosen proxies": (7.0,),
        "both - baseline": (9.0,),
        "(both - rival) - (chosen proxies - baseline)": (4.0,),
        "rival - baseline": (3.0,),
    }


def test_both_is_set_against_the_proxies_of_its_own_setting_alone(rivals):
    arms = (*TWO_BY_TWO, ("proxy", 60))

    def change(trial):  # the other setting of the search is weaker
        arm, seed, val, test, fields = trial
        return (arm, seed, val, test, {**fields, "threshold": 0.9} if test == 60 else fields)

    found = told(rivals(*arms, change=change))

    assert found["both - proxies"] == (5.0, 7.0)
    assert found["(both - rival) - (proxies - baseline)"] == (3.0, 4.0)


def test_proxies_alone_may_be_an_arm(rivals):
    arms = (("baseline", 70), ("rival", 72), ("masked", 71), ("both-masked", 76))
    fields = {"masked": {"mask": "random"}, "rival": FIELDS["rival"], "both-masked": {"mask": "random", **CUT}}

    found = told(rivals(*arms, fields=fields))

    assert found["both-masked - masked"] == (5.0, 5.0)
    assert found["(both-masked - rival) - (masked - baseline)"] == (3.0, 2.0)


def test_both_without_a_rival_alone_is_set_against_proxies_and_baseline(rivals):
    arms = [arm for arm in TWO_BY_TWO if arm[0] != "rival"]

    assert told(rivals(*arms)) == {
        "proxies - baseline": (1.0, 2.0),
        "both - proxies": (5.0, 7.0),
        "both - baseline": (6.0, 9.0),
    }


def quarters(split="quarter of seed {}"):
    """Less data: another split digest on each seed, since train is a part of the other's."""

    def change(trial):
        arm, seed, val, test, fields = trial
        part = {"train_fraction": 0.25, "split_digest": split.format(seed)}
        fields = {key: value for key, value in fields.items() if key != "augment"}
        return (arm, seed, val, test, {**fields, **part} if arm in FIELDS else fields)

    return change


def test_less_data_is_compared_where_val_and_test_are_the_same_images_and_is_named(rivals):
    assert told(rivals(change=quarters())) == {
        "proxies - baseline": (1.0, 2.0),
        "both - rival": (4.0, 6.0),
        "(both - rival) - (proxies - baseline)": (3.0, 4.0),
        "rival - baseline (less data)": (2.0, 3.0),
    }


def test_more_data_is_named_too(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 80, 70, {"train_fraction": 0.25, "split_digest": "a quarter"}),
            ("whole", 0, 80, 79, {"schedule": "2"}),
        )
    )

    assert told(results) == {"whole - baseline (more data)": (9.0,)}


OTHER_IMAGES = {
    "dataset": "folder",
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "folds": 3,
    "split_seed": 9,
    "on_bad_image": "skip",
    "label_function": "file-prefix",
    "split_digest": "another",
    "epochs_done": 3,
}


@pytest.mark.parametrize("field", OTHER_IMAGES)
def test_a_rival_that_is_tested_on_other_images_or_trained_longer_is_not_compared(frame, field):
    rival = {"schedule": "2", "augment": "cutmix", field: OTHER_IMAGES[field]}

    assert told(with_baselines(frame(("baseline", 0, 80, 70, {}), ("rival", 0, 80, 72, rival)))) == {}


@pytest.mark.parametrize("field", ["weights", "model", "lr", "image_size", "batch_size", "weight_decay"])
def test_an_arm_without_proxies_may_differ_in_any_field_of_its_training(frame, field):
    rival = {"schedule": "2", field: CHANGED[field]}

    found = told(with_baselines(frame(("baseline", 0, 80, 70, {}), ("rival", 0, 80, 72, rival))))

    assert found == {"rival - baseline": (2.0,)}


def test_a_rival_is_set_against_the_baseline_that_differs_least(frame):
    results = frame(
        ("baseline", 0, 0, 70, {"lr": 0.1}),
        ("baseline", 0, 0, 60, {"lr": 0.2}),
        ("rival", 0, 0, 72, {"schedule": "2", "augment": "cutmix", "lr": 0.2}),
    )

    assert told(with_baselines(results)) == {"rival - baseline": (12.0,)}


def test_a_rival_as_near_to_one_baseline_as_to_another_is_set_against_none(frame):
    results = frame(
        ("baseline", 0, 0, 70, {"lr": 0.1}),
        ("baseline", 0, 0, 60, {"lr": 0.2}),
        ("rival", 0, 0, 72, {"schedule": "2", "augment": "cutmix", "lr": 0.3}),
    )

    assert told(with_baselines(results)) == {}


def test_a_baseline_that_a_query_leaves_out_leaves_its_place_to_no_other(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 0, 70, {"lr": 0.1}),
            ("baseline", 0, 0, 60, {"lr": 0.2}),
            ("rival", 0, 0, 72, {"schedule": "2", "augment": "cutmix", "lr": 0.1}),
        )
    )
    part = query(results, "arm == 'rival' or lr == 0.2")

    assert told(part) == {"rival - baseline": (12.0,)}
    assert told(part, planned=results) == {}


def test_a_baseline_that_failed_leaves_its_place_to_no_other(frame):
    results = frame(
        ("baseline", 0, 0, 70, {"lr": 0.1}),
        ("baseline", 0, 0, 60, {"lr": 0.2, "status": "failed"}),
        ("rival", 0, 0, 72, {"schedule": "2", "augment": "cutmix", "lr": 0.2}),
    )

    assert told(with_baselines(results)) == {}


def test_an_audit_is_no_rival_and_no_reference(frame):
    leaks = {"split": "merged", "split_digest": "another"}
    results = frame(
        ("baseline", 0, 80, 70, {}),
        ("proxy", 0, 80, 71, {}),
        ("merged", 0, 99, 72, {"schedule": "2", **leaks}),
        ("merged-both", 0, 99, 75, leaks),
    )

    assert told(with_baselines(results)) == {
        "proxies - baseline": (1.0,),
        "merged - baseline": (2.0,),
        "merged-both - merged": (3.0,),
    }


def test_two_arms_of_one_setting_are_claimed_once(rivals):
    arms = (*TWO_BY_TWO, ("again", 72), ("both-again", 76))
    fields = {**FIELDS, "again": FIELDS["rival"], "both-again": CUT}

    found = told(rivals(*arms, fields=fields))

    assert found == told(rivals())


def test_an_arm_that_is_the_baseline_is_not_set_against_itself(frame):
    assert told(with_baselines(frame(("baseline", 0, 80, 70, {}), ("same", 0, 80, 70, {"schedule": "2"})))) == {}


def test_a_setting_that_was_suggested_twice_counts_once_in_a_claim_of_rivals(frame):
    trials = trials_of(*TWO_BY_TWO, ("both", 76))

    assert told(with_baselines(frame(*trials)))["both - baseline"] == (6.0, 9.0)


def searched(field, *levels):
    """A grid over a field: of each level a baseline of (70 + 2 x its place) and proxies 1 + its place above."""
    return [
        ("proxy" if more else "baseline", seed, 0, 70 + 2 * place + more * (1 + place), {field: level})
        for seed in (0, 1)
        for place, level in enumerate(levels)
        for more in (0, 1)
    ]


def test_levels_of_a_searched_augmentation_are_rivals_of_the_first(frame):
    found = told(with_baselines(frame(*searched("augment", "none", "cutmix"))))

    assert next(iter(found)) == "proxies - baseline"
    assert {text: values for text, values in found.items() if text.startswith(("augment", "("))} == {
        "augment cutmix - augment none": (2.0, 2.0),
        "augment cutmix + proxies - augment none + proxies": (3.0, 3.0),
        "augment cutmix + proxies - augment none": (4.0, 4.0),
        "(augment cutmix + proxies - augment cutmix) - (augment none + proxies - augment none)": (1.0, 1.0),
    }


def test_proxies_at_a_level_are_named_with_their_own_baseline(frame):
    found = claims(with_baselines(frame(*searched("augment", "none", "cutmix"))))

    assert [(claim.text, claim.level, claim.test.values) for claim in found if claim.role == "level"] == [
        ("augment cutmix + proxies - augment cutmix", "cutmix", (2.0, 2.0)),
        ("augment none + proxies - augment none", "none", (1.0, 1.0)),
    ]


@pytest.mark.parametrize(("field", "count"), [("lr", 0), ("augment", 3)])
def test_levels_of_a_field_that_is_no_rival_are_not_claimed_against_each_other(frame, field, count):
    found = told(with_baselines(frame(*searched(field, *((0.1, 0.2) if field == "lr" else ("none", "cutmix"))))))

    assert len([text for text in found if text.startswith(field)]) == count


def test_levels_of_two_weights_files_of_one_name_are_told_apart_without_their_paths(frame):
    results = with_baselines(with_weights_named(frame(*searched("weights", "/far/a/w.pt", "/far/b/w.pt"))))

    found = claims(results)

    assert "weights b/w.pt - weights a/w.pt" in [claim.text for claim in found]
    assert [claim.level for claim in found if claim.role == "level"] == ["a/w.pt", "b/w.pt"]
    assert [claim.setting for claim in found if claim.setting] == [(("weights", "a/w.pt"),)]


def test_levels_of_two_searched_rivals_have_more_than_one_reading_and_none_is_claimed(frame):
    trials = [
        ("baseline", 0, 0, 70, {"augment": augment, "weights": weights})
        for augment in ("none", "cutmix")
        for weights in ("none", "imagenet")
    ]

    assert told(with_baselines(frame(*trials))) == {}


@pytest.mark.parametrize(("levels", "count"), [(4, 3), (5, 0)])
def test_few_levels_are_claimed_against_each_other_and_many_are_not(frame, levels, count):
    trials = [("baseline", 0, 0, 70 + level, {"augment": f"augment-{level}"}) for level in range(levels)]

    assert len(told(with_baselines(frame(*trials)))) == count


def test_a_rival_arm_stands_against_its_level_of_a_searched_augmentation(frame):
    trials = [*searched("augment", "none", "cutmix"), ("masked", 0, 0, 75, {"augment": "cutmix", "mask": "random"})]

    found = told(with_baselines(frame(*trials)))

    assert found["masked - augment cutmix"] == (3.0,)
