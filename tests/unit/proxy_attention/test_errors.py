import pytest

from proxy_attention.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DivergedError,
    ProxyAttentionError,
    unknown,
)


def test_an_unknown_name_is_answered_with_the_names_there_are():
    assert str(unknown("mask", "randm", ["saliency", "random"])) == "mask must be one of random, saliency; got 'randm'"


def test_of_many_names_only_the_likeliest_are_shown():
    names = [f"model_{i}" for i in range(100)] + ["resnet18"]

    assert str(unknown("model", "resnet81", names)) == (
        "model must be one of 101 known names; got 'resnet81'; did you mean resnet18?"
    )


def test_of_many_names_none_is_shown_where_none_is_near():
    names = [f"model_{i}" for i in range(100)]

    assert str(unknown("model", "~~~~", names)) == "model must be one of 100 known names; got '~~~~'"


@pytest.mark.parametrize("kind", [ConfigError, DataError, DivergedError, CheckpointError])
def test_every_error_is_caught_by_its_base(kind):
    assert issubclass(kind, ProxyAttentionError)


def test_a_config_error_is_a_value_error_and_divergence_an_arithmetic_one():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(DivergedError, ArithmeticError)
