import math

from study.analysis.claims import LEVEL, PRIMARY, Claim
from study.analysis.estimates import estimate
from study.reporting.claim_tables import claims_table, holm_count, levels_table, p_text, primary_by_seed

MINUS = "\N{MINUS SIGN}"


def claim(*differences, text="a - b", **changes):
    found = estimate(differences)
    return Claim(text, tuple(range(len(differences))), found, found, **changes)


def test_under_five_seeds_the_primary_claim_is_shown_seed_by_seed():
    table = primary_by_seed([claim(1.0, -0.5, role=PRIMARY)])

    assert table.columns == ("seed", "val difference", "test difference")
    assert table.rows == (("0", "+1.00", "+1.00"), ("1", f"{MINUS}0.50", f"{MINUS}0.50"))


def test_from_five_seeds_on_and_without_a_primary_claim_no_seed_is_shown():
    assert primary_by_seed([claim(1.0, 2.0, 3.0, 4.0, 5.0, role=PRIMARY)]) is None
    assert primary_by_seed([claim(1.0)]) is None


def test_the_val_of_an_audit_is_marked_seed_by_seed():
    assert primary_by_seed([claim(1.0, role=PRIMARY, leaking=True)]).columns[1] == "val difference, LEAKING"


def test_every_claim_but_those_of_levels_is_shown_with_its_interval_its_p_and_its_verdict():
    audit = claim(1.0, text="audit - b", leaking=True)
    table = claims_table([claim(1.0, 3.0, role=PRIMARY), claim(1.0, 3.0, adjusted=0.5), audit, claim(2.0, role=LEVEL)])

    interval = f"+2.00 [{MINUS}10.71, +14.71]"
    too_few = "2 seeds: too few to tell"
    assert table.columns == ("difference", "seeds", "val [95 %]", "test [95 %]", "p on test", "verdict")
    assert table.rows == (
        (f"a {MINUS} b", "2", interval, interval, "0.30", too_few),
        (f"a {MINUS} b", "2", interval, interval, "0.50 (Holm)", too_few),
        (f"audit {MINUS} b", "1", "+1.00 LEAKING", "+1.00", "–", "1 seed: too few to tell"),
    )


def test_the_levels_of_a_factor_have_a_row_each():
    table = levels_table("threshold", [claim(1.0, 3.0, level="0.3", adjusted=0.04), claim(-1.0, level="0.6")])

    assert table.columns == ("threshold", "seeds", "val", "test [95 %]", "p (Holm)")
    assert table.rows == (
        ("0.3", "2", "+2.00", f"+2.00 [{MINUS}10.71, +14.71]", "0.040"),
        ("0.6", "1", f"{MINUS}1.00", f"{MINUS}1.00", "–"),
    )


def test_the_claims_that_holm_adjusted_are_counted():
    assert holm_count([claim(1.0), claim(1.0, adjusted=0.2), claim(1.0, adjusted=1.0)]) == 2


def test_p_is_written_with_as_many_digits_as_it_takes():
    assert [p_text(value) for value in (0.0004, 0.023, 0.25, math.nan)] == ["< 0.001", "= 0.023", "= 0.25", "–"]
