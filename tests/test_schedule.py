import re

import pytest

from proxy_attention.errors import ConfigError
from proxy_attention.schedule import MAX_EPOCHS, PlannedEpoch, Schedule


@pytest.mark.parametrize(
    ("text", "items", "epochs", "steps"),
    [
        ("40", (40,), 40, 0),
        ("20,p,19", (20, 0, 19), 40, 1),
        ("5,p,9,p,9,p,9,p,4", (5, 0, 9, 0, 9, 0, 9, 0, 4), 40, 4),
        ("p", (0,), 1, 1),
        ("p,p", (0, 0), 2, 2),
        (" 3 , p,2 ", (3, 0, 2), 6, 1),
        ("007", (7,), 7, 0),
        (str(MAX_EPOCHS), (MAX_EPOCHS,), MAX_EPOCHS, 0),
    ],
)
def test_a_schedule_counts_its_epochs_and_its_proxy_steps(text, items, epochs, steps):
    schedule = Schedule.parse(text)

    assert schedule.items == items
    assert schedule.total_epochs == epochs
    assert schedule.proxy_steps == steps


@pytest.mark.parametrize(
    "text",
    ["", " ", "0", "00", "3,q", "20,,3", ",", "3,", ",3", "P", "pp", "-1", "+1", "1.5", "1e3", "1_0", "3;p", "3 4",
     "\u0663", "\uff13", "3,\uff50", "1\n2", "99999999999", None, 5, ["3"]],
)  # fmt: skip
def test_anything_but_counts_and_p_is_refused_with_the_law_and_what_was_given(text):
    law = "schedule must be counts of epochs >= 1 and p, separated by commas, such as 20,p,19"

    with pytest.raises(ConfigError, match=f"^{re.escape(law)}; got {re.escape(repr(text))}$"):
        Schedule.parse(text)


@pytest.mark.parametrize("text", [str(MAX_EPOCHS + 1), f"{MAX_EPOCHS},p", "9999999999"])
def test_more_epochs_than_anyone_trains_are_refused(text):
    with pytest.raises(ConfigError, match=f"at most {MAX_EPOCHS} epochs; got '{text}'"):
        Schedule.parse(text)


def test_a_schedule_prints_as_it_is_written():
    assert str(Schedule.parse(" 2, p,p ,010")) == "2,p,p,10"


def test_only_the_epoch_of_a_p_ends_with_a_proxy_step():
    assert list(Schedule.parse("2,p,1").epochs()) == [
        PlannedEpoch(index=0, item=0, ends_with_proxy_step=False),
        PlannedEpoch(index=1, item=0, ends_with_proxy_step=False),
        PlannedEpoch(index=2, item=1, ends_with_proxy_step=True),
        PlannedEpoch(index=3, item=2, ends_with_proxy_step=False),
    ]


@pytest.mark.parametrize("text", ["1", "p", "3,p,2", "5,p,9,p,4", "p,p,1"])
def test_the_epochs_are_as_many_as_the_total_and_numbered_from_zero(text):
    schedule = Schedule.parse(text)

    assert [epoch.index for epoch in schedule.epochs()] == list(range(schedule.total_epochs))
