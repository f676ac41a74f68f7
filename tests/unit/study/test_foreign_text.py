import io

import pandas as pd
import pytest
from traps import TRAPS, controls

from study.foreign_text import (
    csv_text,
    latex_cell,
    latex_table,
    printable,
    spreadsheet_cell,
)

FORMULAS = ["=1+1", "+1+1", "-1+cmd", "@sum(1)", "\t=1", "\r=1", "\n=1", "＝1", "=cmd|' /C calc'!A0", "-", "+"]


# ---- terminals


@pytest.mark.parametrize("trap", TRAPS)
def test_no_text_steers_a_terminal(trap):
    assert controls(printable(trap), keep="") == []


def test_control_characters_are_shown_as_escapes():
    assert printable("a\x1b[2Jb\n\x9b\u202e\u2066\ud800.png") == "a\\x1b[2Jb\\n\\x9b\\u202e\\u2066\\ud800.png"


def test_ordinary_text_is_printed_as_it_is():
    assert printable("Größe 漢 🙂 5\N{NO-BREAK SPACE}% \\ [a]") == "Größe 漢 🙂 5\N{NO-BREAK SPACE}% \\ [a]"


def test_text_of_several_lines_may_keep_its_line_feeds():
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


# ---- spreadsheets


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_has_an_apostrophe_before_it(text):
    assert spreadsheet_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-1", "+0.5", "-1e-3", "-inf", "plain", "", "a=b", "'quoted'"])
def test_a_number_and_any_other_text_stay(text):
    assert spreadsheet_cell(text) == text


@pytest.mark.parametrize("trap", [*FORMULAS, *TRAPS, "x\r=1+1", "'=1"])
def test_no_cell_or_column_name_of_a_csv_is_a_formula(trap, tmp_path):
    frame = pd.DataFrame({"name": [trap, None], "value": [-0.5, 2.0], trap: ["+x", "y"]})

    (tmp_path / "rows.csv").write_text(csv_text(frame), encoding="utf-8")

    found = pd.read_csv(tmp_path / "rows.csv")
    cells = [*found.columns, *found["name"].dropna(), *found.iloc[:, 2]]
    assert found.shape == (2, 3)
    assert found["value"].tolist() == [-0.5, 2.0]
    assert not [cell for cell in cells if cell[0] in "=+-@\t\r\n＝"]


def test_text_that_is_no_text_is_written_with_escapes():
    frame = pd.DataFrame({"name": pd.Series(["a\ud800"], dtype=object)})

    assert csv_text(frame) == "name\na\\ud800\n"


def test_a_csv_without_formulas_is_the_one_of_pandas():
    columns = {
        "arm": ["proxy", None, 'a, "b"'],
        "lr": [0.1, float("nan"), 1e-7],
        "seed": pd.array([0, None, 2], dtype="Int64"),
        "mixed": ["x", 0.1, True],
        "range": pd.qcut(pd.Series([0.1, 0.2, 0.7]), 2),
        "compile": [True, False, True],
        "nothing": [None, None, None],
    }
    frame = pd.DataFrame(columns)

    assert csv_text(frame) == frame.to_csv(index=False)


# ---- LaTeX


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("\\input{/etc/passwd}", r"\textbackslash input\{/etc/passwd\}"),
        ("$\\frac{$", r"\$\textbackslash frac\{\$"),
        ("50 % & a_b #1", r"50 \% \& a\_b \#1"),
        ("~^^5c", r"\textasciitilde \textasciicircum \textasciicircum 5c"),
        ("[red]x[/red]", "{[}red]x[/red]"),
        ("*x", "{*}x"),
        ("a\n\nb\x1b", r"a\textbackslash n\textbackslash nb\textbackslash x1b"),
        ("Größe (0.1, 0.5]", "Größe (0.1, 0.5]"),
    ],
)
def test_text_in_latex_commands_nothing(text, cell):
    assert latex_cell(text) == cell


def test_a_latex_table_has_a_line_a_row_and_escapes_names_of_columns_too():
    frame = pd.DataFrame({"a_b": ["one\ntwo", None], "\\input{x}": [1.234, float("nan")]})

    assert latex_table(frame).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a\_b & \textbackslash input\{x\} \\",
        r"\midrule",
        r"one\textbackslash ntwo & 1.23 \\",
        r" &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_an_ordinary_latex_table_is_the_one_of_pandas():
    columns = {"random_mask": ["a_b", "50 %"], "val_mean": [81.234, float("nan")], "n": [2, 3]}
    frame = pd.DataFrame(columns).assign(range=pd.qcut(pd.Series([0.1, 0.7]), 2))

    out = io.StringIO()
    frame.to_latex(out, index=False, float_format="%.2f", escape=True, na_rep="")

    assert latex_table(frame) == out.getvalue()
