import dataclasses
import math

import pytest
from written_runs import write_run

from proxy_attention.errors import ConfigError
from study.analysis import control
from study.analysis.control import (
    ABOVE,
    BELOW,
    RULE,
    WITHIN,
    Control,
    control_line,
    lies,
    line_of,
    measure,
    read_control,
    write_control,
)
from study.analysis.estimates import estimate
from study.analysis.findings import Findings


def planted(path, dataset, gains, *, seeds=(0, 1, 2)):
    """A control: on each seed a baseline at 50 %, proxies at 50 plus the gain, and the random mask a point above 50."""
    trials = []
    for seed, gain in zip(seeds, gains, strict=True):
        common = {"dataset": dataset}
        trials += [
            ("baseline", seed, 50.0, common),
            ("proxy", seed, 50.0 + gain, {**common, "threshold": 0.3}),
            ("random-mask", seed, 51.0, {**common, "threshold": 0.3, "mask": "random"}),
            ("inverse", seed, 50.0 + gain / 10, {**common, "threshold": 0.3, "mask": "inverse"}),
        ]
    return Findings.of(write_run(path / dataset / "grid", *trials, seeds=tuple(seeds)))


@pytest.fixture
def found(tmp_path):
    """Planted effects of +7, -5 and none."""
    return {
        "planted-swapped": planted(tmp_path, "planted-swapped", (7.0, 8.0, 6.0)),
        "planted-decoy": planted(tmp_path, "planted-decoy", (-5.0, -4.0, -6.0)),
        "planted-none": planted(tmp_path, "planted-none", (1.0, 1.2, 0.8)),
    }


@pytest.fixture
def passed(found):
    return Control("1.2.3", "abc123", "2026-11-27T12:00:00", measure(found))


def test_every_difference_of_the_rule_is_measured_by_hand(passed):
    assert [(one.dataset, one.claim, one.n, one.mean, one.met) for one in passed.measured] == [
        ("planted-swapped", "saliency - random-mask", 3, 6.0, True),
        ("planted-decoy", "saliency - random-mask", 3, -6.0, True),
        ("planted-none", "saliency - random-mask", 3, 0.0, True),
        ("planted-swapped", "inverse - baseline", 3, 0.7, True),
    ]
    half = 4.302652729696142 / math.sqrt(3)  # Student's t of two degrees of freedom, by a sample deviation of 1
    assert (passed.measured[0].low, passed.measured[0].high) == pytest.approx((6 - half, 6 + half), abs=1e-5)
    assert passed.passed


@pytest.mark.parametrize(
    ("dataset", "gains"),
    [
        ("planted-swapped", (1.0, 1.5, 0.5)),
        ("planted-swapped", (40.0, 41.0, 39.0)),
        ("planted-decoy", (7.0, 8.0, 6.0)),
        ("planted-none", (5.0, 5.5, 4.5)),
    ],
    ids=["no effect seen", "even the inverse helps", "the sign is wrong", "an effect where none is"],
)
def test_an_instrument_that_is_wrong_about_one_set_does_not_pass(found, tmp_path, dataset, gains):
    found[dataset] = planted(tmp_path / "wrong", dataset, gains)

    assert not Control("1.2.3", "", "", measure(found)).passed


def test_a_control_of_one_set_alone_does_not_pass(found):
    one = measure({"planted-swapped": found["planted-swapped"]})

    assert [measured.met for measured in one] == [True, True]
    assert not Control("1.2.3", "", "", one).passed


def test_a_control_on_one_seed_is_none(tmp_path):
    with pytest.raises(ConfigError, match="must measure saliency - random-mask on two seeds or more"):
        measure({"planted-none": planted(tmp_path, "planted-none", (1.0,), seeds=(0,))})


@pytest.mark.parametrize(
    ("values", "where", "holds"),
    [
        ((1.0, 1.1), ABOVE, True),
        ((-1.0, 4.0), ABOVE, False),
        ((-1.0, -1.1), BELOW, True),
        ((-1.0, 4.0), BELOW, False),
        ((0.1, 0.0), WITHIN, True),
        ((-1.0, 4.0), WITHIN, False),
    ],
)
def test_the_interval_decides_and_not_the_mean(values, where, holds):
    assert lies(estimate(values), where) is holds


def test_the_judgement_is_read_back_as_it_was_written(passed, tmp_path):
    file = tmp_path / "control.json"
    write_control(passed, file)

    assert read_control(file) == passed
    file.write_text(file.read_text().replace("6.0", "9.0"))
    assert read_control(file) is None
    write_control(dataclasses.replace(passed, measured=()), file)
    assert read_control(file) is None
    assert read_control(tmp_path / "nothing.json") is None


def test_the_line_says_how_this_versions_control_ended(passed):
    assert line_of(passed, "1.2.3").startswith("positive control of version 1.2.3 (commit abc123): passed on 3 seeds")
    assert line_of(passed, "1.2.3").endswith("; see experiments/positive-control")
    first = dataclasses.replace(passed.measured[0], met=False)
    failed = dataclasses.replace(passed, measured=(first, *passed.measured[1:]))
    assert "FAILED" in line_of(failed, "1.2.3")
    for none in (None, dataclasses.replace(passed, version="1.2.2")):
        assert line_of(none, "1.2.3").startswith("positive control: version 1.2.3 has none")


def test_every_study_but_the_control_itself_has_the_line(found, tmp_path, monkeypatch, passed):
    write_control(passed, tmp_path / "control.json")
    monkeypatch.setattr(control, "read_control", lambda: read_control(tmp_path / "control.json"))
    other = Findings.of(write_run(tmp_path / "small" / "grid", ("baseline", 0, 50.0, {})))

    assert control_line(other).startswith("positive control")
    assert [control_line(findings) for findings in found.values()] == ["", "", ""]


def test_each_planted_set_has_a_rule():
    assert {rule.dataset for rule in RULE} == set(control.DATA_SETS)
