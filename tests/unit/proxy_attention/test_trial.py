"""What a trial tells, and what it refuses before it trains."""

import dataclasses

import pytest

from proxy_attention.errors import ConfigError, DivergedError
from proxy_attention.trial import run_trial
from proxy_attention.validation import CHOICES, check


@pytest.mark.parametrize("field", CHOICES)
def test_every_name_of_every_table_passes(config, field):
    assert CHOICES[field]
    for name in CHOICES[field]:
        assert getattr(check(config(**{field: name})), field) == name


@pytest.mark.parametrize("field", CHOICES)
def test_an_unknown_name_is_answered_with_the_names_there_are(config, field):
    known = ", ".join(sorted(CHOICES[field])).replace("+", r"\+")

    with pytest.raises(ConfigError, match=f"^{field} must be one of {known}; got 'nonesuch'$"):
        check(config(**{field: "nonesuch"}))


def test_an_unknown_model_is_refused(config):
    with pytest.raises(ConfigError, match=r"model must be one of .* known names; got 'nonesuch'"):
        check(config(model="nonesuch"))


def test_a_trial_checks_names_before_it_trains(config, tiny):
    with pytest.raises(ConfigError, match="mask must be one of"):
        next(run_trial(config(mask="nonesuch"), tiny))


@pytest.mark.parametrize("field", ["precision", "threads"])
def test_a_trial_that_is_not_resolved_is_refused(config, tiny, field):
    with pytest.raises(ConfigError, match=f"{field} must be a plain value in a trial; got 'auto'"):
        next(run_trial(config(**{field: "auto"}), tiny))


def test_fp16_on_a_cpu_is_refused(config, tiny):
    with pytest.raises(ConfigError, match="precision must be fp32 or bf16 on a cpu; got 'fp16'"):
        next(run_trial(config(precision="fp16"), tiny))


def test_a_trial_tells_every_epoch_and_ends_with_the_report(config, tiny):
    progress = list(run_trial(config(schedule="1,p,1"), tiny))

    assert [item.record.epoch for item in progress] == [0, 1, 2, 2]
    assert [item.record.item for item in progress] == [0, 1, 2, 2]
    assert [item.record.proxy_step for item in progress] == [False, True, False, False]
    assert [item.examples is not None for item in progress] == [False, True, False, False]
    assert [item.report is not None for item in progress] == [False, False, False, True]


def test_a_learning_rate_beyond_reason_ends_in_an_error_that_says_so(config, tiny, finish):
    with pytest.raises(DivergedError, match="try a smaller lr"):
        finish(config(schedule="6", lr=1e30), tiny)


def test_skipped_images_are_counted_in_the_report(config, tiny, finish):
    _, report = finish(config(schedule="1"), dataclasses.replace(tiny, skipped=("a.png", "b.png")))

    assert report.skipped_images == 2
