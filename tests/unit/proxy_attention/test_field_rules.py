"""The rules that fields share: what each takes, what it refuses, and how it says so."""

import math

import pytest

from proxy_attention import field_rules as rule
from proxy_attention.errors import ConfigError

TAKEN = [
    (rule.NAME, ["gradcam"], ["", "  ", 1]),
    (rule.FLAG, [True, False], [0, 1, "true"]),
    (rule.UNIT_INTERVAL, [0.0, 0.5, 1.0], [-0.1, 1.1, math.nan, "0.5"]),
    (rule.POSITIVE_FRACTION, [1e-9, 1.0], [0.0, 1.1]),
    (rule.PROPER_FRACTION, [0.5], [0.0, 1.0]),
    (rule.POSITIVE, [1e-9, 1e9], [0.0, math.inf]),
    (rule.POSITIVE_OR_AUTO, ["auto", 4095.0], ["white", 0.0, math.inf]),
    (
        rule.THRESHOLD,
        [0.0, 0.3, 1.0, "mean+2sd", "mean+9sd"],
        [1.1, -0.1, "mean", "mean+0sd", "mean+2.5sd", "Mean+2sd"],
    ),
    (rule.NOT_NEGATIVE, [0.0, 1e9], [-1e-9, math.inf]),
    (rule.SIDE, [16, 4096], [15, 4097, 32.0]),
    (rule.SIGMA, [0.0, 256.0], [-1.0, 257.0]),
    (rule.count(1, 3), [1, 3], [0, 4, 2.0, True]),
    (rule.count_or_text(1, 3, "auto"), [1, "auto"], [0, "many"]),
    (rule.count_or_none(0, 3), [None, 0, 3], [4, "0"]),
]


@pytest.mark.parametrize(("each", "taken", "refused"), TAKEN, ids=[each.text for each, _, _ in TAKEN])
def test_a_rule_takes_its_values_and_names_field_rule_and_value_of_any_other(each, taken, refused):
    assert [each.check("field", value) for value in taken] == taken
    for value in refused:
        with pytest.raises(ConfigError) as error:
            each.check("field", value)
        assert str(error.value) == f"field must be {each.text}; got {value!r}"


def test_a_threshold_in_words_holds_its_standard_deviations():
    texts = ("mean+2sd", "mean+9sd", "mean+2sd ", "2sd")

    assert [rule.deviations_of(text) for text in texts] == [2, 9, None, None]


def test_a_whole_number_becomes_a_float_where_the_rule_asks_for_one_and_minus_zero_becomes_zero():
    assert type(rule.UNIT_INTERVAL.check("field", 1)) is float
    assert math.copysign(1, rule.UNIT_INTERVAL.check("field", -0.0)) == 1
