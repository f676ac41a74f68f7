"""Select rows by a pandas query, which is computed here from its syntax tree and never run as Python."""

import ast
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from proxy_attention.errors import ConfigError, unknown

MOST_CHARACTERS = 10_000
"""The longest query that is read."""
MOST_NESTED = 100
"""The deepest syntax tree that is computed."""
HIGHEST_POWER = 64
"""The highest exponent that a query may write."""
LARGEST_NUMBER = 2**63
"""Whole numbers lie below it, as those of columns do."""
MOST_SHOWN = 200
"""Characters of a query, and of a reason, that an error shows."""

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
METHODS = ("between", "isin", "isna", "isnull", "notna", "notnull", "str.contains", "str.endswith", "str.startswith")
"""The methods of a column that a query may call."""
KEYWORDS = {"str.contains": {"case", "na", "regex"}, "str.startswith": {"na"}, "str.endswith": {"na"}}
"""The keyword arguments of these methods; each is True or False."""
NODES = {
    ast.Attribute: "an attribute",
    ast.Subscript: "a subscript",
    ast.Lambda: "a lambda",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.IfExp: "an if",
    ast.Dict: "a dict",
    ast.Starred: "a star",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
}
"""The words for what no query may hold."""

_PARTS = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|[&|@]""", re.DOTALL)
_SPECIAL = re.compile(r"[.^$*+?{}\[\]\\|()]")
"""Characters that mean something in a regular expression, which may take forever."""

Columns = Mapping[str, pd.Series]


class _NotAllowed(Exception):
    """A query holds what no query may; the text says what."""


def query(frame: pd.DataFrame, expression: str) -> pd.DataFrame:
    """Select the rows for which a pandas query holds.

    A query may hold columns, literals, comparisons, ``and``, ``or``, ``not``, ``in``, arithmetic and ``METHODS``.

    Raises: ConfigError if it holds anything else, cannot be computed, or is not true or false of each row.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of an unknown escape, or a division by zero
            tree, quoted = _parse(expression)
            columns = {str(name): frame[name] for name in frame.columns}
            holds = _compute(tree, columns | {place: _column(name, columns) for place, name in quoted.items()})
        if not (isinstance(holds, pd.Series) and pd.api.types.is_bool_dtype(holds)):
            raise _NotAllowed("it is not true or false of each row")
        return frame[holds]
    except Exception as error:  # pandas hands on whatever an operation on these values raises
        reason = _shortened(" ".join(str(error).split()) or type(error).__name__)
        raise ConfigError(
            f"query must be a pandas query over the columns; got {shown_query(expression)}: {reason}"
        ) from error


def shown_query(expression: str) -> str:
    """Return a query in quotes for an error, shortened."""
    return repr(_shortened(expression))


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _parse(expression: str) -> tuple[ast.expr, dict[str, str]]:
    """Parse a query, in which ``&`` and ``|`` bind as ``and`` and ``or`` do and a name in backticks is a column.

    Returns: the tree, and the column that each of its placeholders stands for.
    """
    if len(expression) > MOST_CHARACTERS:
        raise _NotAllowed(f"it must be at most {MOST_CHARACTERS} characters long")
    quoted: dict[str, str] = {}

    def replace(found: re.Match[str]) -> str:
        part = found[0]
        if part == "@":
            raise _NotAllowed("@ is not allowed")
        if part[0] == "`":
            place = f"quoted_column_{len(quoted)}_"
            quoted[place] = part[1:-1]
            return f" {place} "
        return {"&": " and ", "|": " or "}.get(part, part)

    source = _PARTS.sub(replace, expression).strip()
    try:
        tree = ast.parse(source, mode="eval").body
    except (RecursionError, MemoryError) as error:
        raise _NotAllowed("it is nested too deeply") from error
    except (SyntaxError, ValueError) as error:  # a null byte or half a surrogate pair is a ValueError
        raise _NotAllowed(error.msg if isinstance(error, SyntaxError) else str(error)) from error
    level: list[ast.AST] = [tree]
    for _ in range(MOST_NESTED):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    if level:
        raise _NotAllowed("it is nested too deeply")
    return tree, quoted


def _compute(node: ast.expr, columns: Columns) -> Any:
    """Compute a part of a query: a column of values, one value, or a list of values.

    Raises: _NotAllowed for anything that no query may hold.
    """
    match node:
        case ast.Name(id=name):
            return _column(name, columns)
        case ast.Constant(value=value):
            return _literal(value)
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_scalar(_compute(item, columns)) for item in items]
        case ast.BoolOp(op=op, values=parts):
            combine = operator.and_ if isinstance(op, ast.And) else operator.or_
            value = _truth(_compute(parts[0], columns))
            for part in parts[1:]:
                value = combine(value, _truth(_compute(part, columns)))
            return value
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=part):
            value = _truth(_compute(part, columns))
            return ~value if isinstance(value, pd.Series) else not value
        case ast.UnaryOp(op=op, operand=part):
            value = _number(_compute(part, columns))
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=op, right=right):
            return _arithmetic(op, _number(_compute(left, columns)), _number(_compute(right, columns)))
        case ast.Compare(left=left, ops=comparisons, comparators=others):
            values = [_compute(part, columns) for part in (left, *others)]
            result = _compared(values[0], comparisons[0], values[1])
            for comparison, one, other in zip(comparisons[1:], values[1:], values[2:], strict=False):
                result = result & _compared(one, comparison, other)
            return result
        case ast.Call():
            return _call(node, columns)
    raise _NotAllowed(f"{NODES.get(type(node), type(node).__name__)} is not allowed")


def _column(name: str, columns: Columns) -> pd.Series:
    if name not in columns:
        raise unknown("a name", name, [name for name in columns if not name.startswith("quoted_column_")])
    return columns[name]


def _literal(value: object) -> object:
    if isinstance(value, bytes | complex) or value is Ellipsis:
        raise _NotAllowed(f"{type(value).__name__} is not allowed")
    return _in_range(value)


def _in_range(value: Any) -> Any:
    if isinstance(value, int) and not -LARGEST_NUMBER <= value < LARGEST_NUMBER:
        raise _NotAllowed("a whole number must be below 2**63")
    return value


def _scalar(value: Any) -> Any:
    if isinstance(value, pd.Series | list):
        raise _NotAllowed("a list must be of literals")
    return value


def _truth(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, pd.Series) and pd.api.types.is_bool_dtype(value)):
        return value
    raise _NotAllowed("and, or, not must be of what is true or false of each row")


def _number(value: Any) -> Any:
    if isinstance(value, int | float) or (isinstance(value, pd.Series) and pd.api.types.is_numeric_dtype(value)):
        return value
    raise _NotAllowed("arithmetic must be of numbers")


def _arithmetic(op: ast.operator, left: Any, right: Any) -> Any:
    """Compute with numbers and columns of numbers; whole numbers stay in range, as those of columns do."""
    if type(op) not in ARITHMETIC:
        raise _NotAllowed(f"{type(op).__name__} is not allowed")
    if isinstance(op, ast.Pow) and not isinstance(right, pd.Series) and abs(right) > HIGHEST_POWER:
        raise _NotAllowed(f"an exponent must be at most {HIGHEST_POWER}")
    return _in_range(ARITHMETIC[type(op)](left, right))


def _compared(left: Any, op: ast.cmpop, right: Any) -> Any:
    """Compare as pandas does: a column is equal to a list if its value is in it."""
    if isinstance(op, ast.Is | ast.IsNot):
        raise _NotAllowed("is is not allowed; a column has isna() and notna()")
    if not isinstance(op, ast.In | ast.NotIn) and not isinstance(left, list) and not isinstance(right, list):
        if not isinstance(op, ast.Eq | ast.NotEq):
            left, right = _ordered(left, right), _ordered(right, left)
        return COMPARISONS[type(op)](left, right)
    if not isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
        raise _NotAllowed("a list must be compared by in, not in, == or !=")
    column, values = (left, right) if isinstance(left, pd.Series) else (right, left)
    if not isinstance(column, pd.Series):
        raise _NotAllowed("in must be of a column")
    inside = column.isin(values if isinstance(values, pd.Series | list) else [values])
    return inside if isinstance(op, ast.In | ast.Eq) else ~inside


def _ordered(value: Any, other: Any) -> Any:
    """Return the numbers of a column of numbers and texts that is compared with a number; its texts are missing.

    A threshold, for one, may be 0.3 or ``mean+2sd``.
    """
    if not isinstance(value, pd.Series) or value.dtype != object or not isinstance(other, int | float):
        return value
    numbers = value[value.map(lambda each: isinstance(each, int | float) and not isinstance(each, bool))]
    return pd.to_numeric(numbers.reindex(value.index)) if len(numbers) else value


def _call(node: ast.Call, columns: Columns) -> Any:
    """Call a method of ``METHODS`` on a column, with literals.

    Raises: _NotAllowed for any other call.
    """
    name, owner = "", node.func
    while isinstance(owner, ast.Attribute):
        name, owner = f"{owner.attr}.{name}".rstrip("."), owner.value
    if name not in METHODS or not isinstance(owner, ast.Name):
        raise _NotAllowed(f"a call is not allowed, except of a column's {', '.join(METHODS)}")
    column = _column(owner.id, columns)
    if any(isinstance(value, ast.Starred) for value in node.args):
        raise _NotAllowed("a star is not allowed")
    given = [_compute(value, columns) for value in node.args]
    options = {str(word.arg): _compute(word.value, columns) for word in node.keywords}
    for word, value in options.items():
        if word not in KEYWORDS.get(name, ()) or not isinstance(value, bool):
            raise _NotAllowed(f"{word} is not allowed in {name}")
    return _method(column, name, given, options)


def _method(column: pd.Series, name: str, given: list[Any], options: dict[str, bool]) -> Any:
    match name, given:
        case (("isna" | "isnull"), []):
            return column.isna()
        case (("notna" | "notnull"), []):
            return column.notna()
        case "isin", [list(values)]:
            return column.isin(values)
        case "between", [low, high]:
            return _ordered(column, low).between(_scalar(low), _scalar(high))
        case "str.startswith", [str(text)]:
            return column.str.startswith(text, **options)
        case "str.endswith", [str(text)]:
            return column.str.endswith(text, **options)
        case "str.contains", [str(text)]:
            if options.get("regex", True) and _SPECIAL.search(text):
                raise _NotAllowed("str.contains must be of plain text, or be given regex=False")
            return column.str.contains(text, **{**options, "regex": False})
    raise _NotAllowed(f"{name} does not take these values")
