"""Makes text from elsewhere, such as names and errors, harmless in a terminal, a spreadsheet and LaTeX."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""How a cell begins that a spreadsheet may compute."""
ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that steer a terminal or the direction of text, end a line, or are half of one."""
LATEX = {
    "\\": r"\textbackslash ",
    "~": r"\textasciitilde ",
    "^": r"\textasciicircum ",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def printable(text: str, *, keep: str = "") -> str:
    """Replace the characters that would steer a terminal, such as ESC, by visible escapes.

    Args:
        keep: such characters that stay, as line feeds may in text of several lines.
    """
    if text.isascii() and text.isprintable():  # nearly all, such as an image in a report
        return text
    return "".join(
        sign.encode("unicode_escape").decode("ascii")
        if sign not in keep and unicodedata.category(sign) in ACTING
        else sign
        for sign in text
    )


# ---- spreadsheets


def spreadsheet_cell(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would compute; a number stays, as a class may be one."""
    return f"'{text}" if _is_formula(text.lstrip("'")) else text


def _is_formula(text: str) -> bool:
    if not text.startswith(FORMULA):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return text.startswith(("\t", "\r", "\n"))


def csv_text(frame: pd.DataFrame) -> str:
    """Write a frame as CSV whose text no spreadsheet computes; line breaks in a cell become line feeds."""

    def cell(text: str) -> str:
        one_kind = text.replace("\r\n", "\n").replace("\r", "\n")  # a bare \r would end the row: it is not quoted
        return spreadsheet_cell(one_kind).encode("utf-8", "backslashreplace").decode("utf-8")

    return _with_text(frame, cell).to_csv(index=False)


# ---- LaTeX


def latex_cell(text: str) -> str:
    """Escape text for a cell of a LaTeX table."""
    escaped = "".join(LATEX.get(sign, sign) for sign in printable(text))
    # the end of a row takes a star and an argument in brackets, even from the next line
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped[:1] in ("[", "*") else escaped


def latex_table(frame: pd.DataFrame) -> str:
    """Write a frame as a LaTeX table, numbers with two digits."""
    return _with_text(frame, latex_cell).to_latex(index=False, float_format="%.2f", escape=False, na_rep="")


def _with_text(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Change every text of a frame and of its column names; a column without text stays as it is."""
    changed = frame.copy()
    for name in frame.columns:
        if any(isinstance(value, str) for value in frame[name]):
            cells = [change(value) if isinstance(value, str) else value for value in frame[name]]
            changed[name] = pd.Series(cells, index=frame.index, dtype=object)
    return changed.rename(columns=lambda name: change(name) if isinstance(name, str) else name)


def sqlite_url(file: Path, *, read_only: bool = False) -> str:
    """Return a database file's address for SQLAlchemy and optuna-dashboard, in which no letter of its path acts."""
    path = quote(str(file))  # they decode it
    return f"sqlite:///file:{quote(path)}?mode=ro&uri=true" if read_only else f"sqlite:///{path}"
