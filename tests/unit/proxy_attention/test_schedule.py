import re

import pytest

from proxy_attention.errors import ConfigError
from proxy_attention.schedule import MAX_EPOCHS, PlannedEpoch, Schedule, has_stalled


@pytest.mark.parametrize(
    ("text", "items", "epochs", "steps"),
    [
        ("40", (40,), 40, 0),
        ("20,p,19", (20, "p", 19), 40, 1),
        ("5,p,9,p,9,p,9,p,4", (5, "p", 9, "p", 9, "p", 9, "p", 4), 40, 4),
        ("p", ("p",), 1, 1),
        ("p,p", ("p", "p"), 2, 2),
        (" 3 , p,2 ", (3, "p", 2), 6, 1),
        ("5,p?,4", (5, "p?", 4), 10, 1),
        ("p?", ("p?",), 1, 1),
        ("1,p,\tp? ,p?", (1, "p", "p?", "p?"), 4, 3),
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
     "?", "p??", "p ?", "?p", "P?", "3?", "3,p?2", "p\uff1f",
     "\u0663", "\uff13", "3,\uff50", "1\n2", "99999999999", None, 5, ["3"]],
)  # fmt: skip
def test_anything_but_counts_and_p_is_refused_with_the_law_and_what_was_given(text):
    law = "schedule must be counts of epochs >= 1 and p or p?, separated by commas, such as 20,p,19"

    with pytest.raises(ConfigError, match=f"^{re.escape(law)}; got {re.escape(repr(text))}$"):
        Schedule.parse(text)


@pytest.mark.parametrize("text", [str(MAX_EPOCHS + 1), f"{MAX_EPOCHS},p", f"{MAX_EPOCHS},p?", "9999999999"])
def test_more_epochs_than_anyone_trains_are_refused(text):
    with pytest.raises(ConfigError, match=re.escape(f"at most {MAX_EPOCHS} epochs; got '{text}'")):
        Schedule.parse(text)


def test_a_schedule_prints_as_it_is_written():
    assert str(Schedule.parse(" 2, p,p ,010, p? ")) == "2,p,p,10,p?"


def test_only_the_epoch_of_a_p_ends_with_a_proxy_step():
    assert list(Schedule.parse("2,p,1").epochs()) == [
        PlannedEpoch(index=0, item=0, step=None),
        PlannedEpoch(index=1, item=0, step=None),
        PlannedEpoch(index=2, item=1, step=0),
        PlannedEpoch(index=3, item=2, step=None),
    ]


def test_steps_are_numbered_as_they_are_planned_and_only_those_of_a_p_with_a_question_mark_may_be_skipped():
    schedule = Schedule.parse("p,1,p?,2,p")

    assert schedule.steps == (
        PlannedEpoch(index=0, item=0, step=0),
        PlannedEpoch(index=2, item=2, step=1, only_if_stalled=True),
        PlannedEpoch(index=5, item=4, step=2),
    )
    assert schedule.may_skip
    assert not Schedule.parse("p,1,p,2,p").may_skip


@pytest.mark.parametrize("text", ["1", "p", "p?", "3,p,2", "3,p?,2", "5,p,9,p,4", "p,p,1"])
def test_the_epochs_are_as_many_as_the_total_and_numbered_from_zero(text):
    schedule = Schedule.parse(text)

    assert [epoch.index for epoch in schedule.epochs()] == list(range(schedule.total_epochs))


@pytest.mark.parametrize(
    ("accuracies", "patience", "stalled"),
    [
        ([], 1, False),
        ([50], 1, False),  # no epoch is before the last
        ([50, 40], 1, True),
        ([50, 50], 1, True),  # as good as the best is not above it
        ([50, 51], 1, False),
        ([50, 40], 2, False),
        ([50, 40, 45], 2, True),  # 45 is above 40, not above the best
        ([50, 51, 45], 2, False),  # 51 is one of the last two
        ([50, 51, 45, 51], 2, True),
        ([50, 60, 45, 51], 1, True),  # the best need not be the last before
        ([10, 20, 30, 40, 39, 38, 40], 3, True),
        ([10, 20, 30, 40, 39, 38, 40.1], 3, False),
        ([0, 0, 0], 2, True),
        ([50, 40, 40], 1000, False),
    ],
)
def test_a_trial_has_stalled_if_none_of_its_last_epochs_is_above_the_best_before_them(accuracies, patience, stalled):
    assert has_stalled(accuracies, patience=patience) is stalled


@pytest.mark.parametrize(
    ("text", "patience", "never"),
    [
        ("p?,5", 1, True),
        ("1,p?,4", 1, False),
        ("1,p?,4", 2, True),
        ("p?,p?", 1, False),
        ("3,p,p?", 5, True),
        ("3", 9, False),
        ("p", 9, False),
    ],
)
def test_a_schedule_can_be_asked_whether_all_its_stalls_come_too_early(text, patience, never):
    assert Schedule.parse(text).never_stalls(patience) is never


def test_what_can_never_stall_never_has():
    for patience in range(1, 6):
        first = next(
            index for index in range(9) if not Schedule.parse(f"{index},p?" if index else "p?").never_stalls(patience)
        )
        assert has_stalled([50.0] * (first + 1), patience=patience)
        assert not has_stalled([50.0] * first, patience=patience)
