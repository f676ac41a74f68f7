import numpy as np
import pytest

from proxy_attention.errors import ConfigError
from study.analysis.grouping import group, tables
from study.analysis.pairs import with_baselines


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


def test_a_field_of_numbers_and_texts_has_a_row_for_each_numbers_first(frame):
    results = with_baselines(
        frame(
            ("baseline", 0, 80, 70, {}),
            *(("proxy", 0, 81, 71 + n, {"threshold": t}) for n, t in enumerate(("mean+2sd", 0.6, 0.3))),
        )
    )

    assert tables(results)["threshold"][["threshold", "test_mean"]].to_numpy().tolist() == [
        [0.3, 73.0],
        [0.6, 72.0],
        ["mean+2sd", 71.0],
    ]
