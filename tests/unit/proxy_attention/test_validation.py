"""The names in a config are checked against the tables of the library."""

import dataclasses

import pytest

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.validation import CHOICES, check


def test_a_config_whose_names_are_known_is_returned_as_it_is(config):
    trial = config()

    assert check(trial) is trial


@pytest.mark.parametrize("field", CHOICES)
def test_an_unknown_name_is_refused_with_the_field_and_the_names_that_are_known(config, field):
    with pytest.raises(ConfigError, match=f"^{field} must be ") as error:
        check(config(**{field: "no-such-name"}))

    assert "no-such-name" in str(error.value)


@pytest.mark.parametrize(("field", "value"), [("augment", "flip-rotate+no-such-name"), ("model", "no_such_model")])
def test_augmentations_and_models_are_checked_by_their_own_tables(config, field, value):
    with pytest.raises(ConfigError, match=f"^{field} must be "):
        check(config(**{field: value}))


def test_every_field_with_choices_is_a_field_whose_default_is_one_of_them():
    defaults = {field.name: field.default for field in dataclasses.fields(TrialConfig)}

    assert set(CHOICES) <= set(defaults)
    for field, known in CHOICES.items():
        assert defaults[field] in known or defaults[field] is dataclasses.MISSING, field
