import math

from study.analysis.estimates import estimate
from study.reporting.text_tables import interval, spread


def test_a_spread_is_mean_and_standard_deviation():
    assert spread(83.125, 0.4) == "83.12 ± 0.40"
    assert spread(0.5, 0.25, signed=True) == "+0.50 ± 0.25"
    assert spread(83.0, math.nan) == "83.00"
    assert spread(math.nan, math.nan) == ""


def test_an_interval_stands_in_brackets():
    assert interval(estimate([1.0, 3.0])) == "+2.00 [-10.71, +14.71]"
    assert interval(estimate([-1.0])) == "-1.00"
    assert interval(estimate([])) == ""
