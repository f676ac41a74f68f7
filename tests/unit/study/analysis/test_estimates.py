import math

import numpy as np
import pytest
from scipy import stats

from study.analysis.estimates import estimate, holm


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
