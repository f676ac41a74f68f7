"""A query selects rows as pandas does, and does nothing else whatever it holds."""

import ast
import random

import pandas as pd
import pytest

from proxy_attention.errors import ConfigError
from study.analysis.query import MOST_CHARACTERS, query, shown_query

SEED = 20261126
REFUSED = "query must be a pandas query over the columns; got "

ORDINARY = [
    "threshold > 0.5",
    "threshold > 0.5 and seed == 1",
    "status == 'complete'",
    "arm == 'baseline'",
    "threshold == 0.3 and arm == 'proxy' and seed == 0",
    "seed >= 0",
    "arm != 'baseline' or not seed == 1",
    "0.2 < threshold <= 0.3",
    "0 <= seed < 1 and 0 < weight",
    "arm in ['proxy', 'random-mask']",
    "arm not in ('proxy', 'baseline')",
    "arm == ['proxy', 'baseline']",
    "arm != ['proxy', 'baseline']",
    "['proxy'] == arm",
    "'proxy' in arm",
    "seed in [0]",
    "lr in [0.001, 1e-2, -1]",
    "arm == 'proxy' & seed == 0",
    "(arm == 'proxy') & (seed == 0) | threshold > 0.5",
    "~(arm == 'proxy')",
    "not (arm == 'proxy' or arm == 'baseline')",
    "`threshold` > 0.5 and `val_accuracy`>=60",
    "`an arm` == 'proxy' and `an arm` != '`'",
    "arm == 'a & b' or arm == \"it's\"",
    "val_accuracy - test_accuracy > 10",
    "val_accuracy / 2 ** 1 + -seed * 3 // 2 % 5 > 30",
    "-threshold < -0.3",
    "(val_accuracy - 60) ** 2 > 100",
    "threshold == threshold",
    "threshold != threshold",
    "weights == None",
    "threshold.isna()",
    "threshold.notnull() and seed == 0",
    "not threshold.isnull()",
    "threshold.notna() & arm.isin(['proxy'])",
    "seed.isin([1, 2])",
    "threshold.between(0.3, 0.5)",
    "arm.str.contains('ro')",
    "arm.str.contains('RO', case=False)",
    "trial_id.str.contains('000[12]', regex=False)",
    "arm.str.startswith('random') or trial_id.str.endswith('seed0')",
    "`an arm`.str.startswith('p', na=False)",
    "epochs_done > 1",
    "epochs_done.isna()",
    "proxy_images > test_accuracy",
    "compile == False",
    "not compile",
    "compile and seed == 0",
    "2 > 1 and seed == 0",
    "lr != 0.1 | weight == 0",
]

ATTACKS = [
    "@__builtins__['__import__']('os').system('touch acted') == 0",
    "@pd.io.common.os.system('touch acted') == seed",
    "__import__('os').system('touch acted') == 0",
    "().__class__.__base__.__subclasses__() == seed",
    "seed.__class__.__init__.__globals__ == 1",
    "seed.__class__",
    "''.__class__ == arm",
    "pd.read_pickle('acted.pickle') == seed",
    "@pd.read_pickle('acted.pickle')",
    "@pd.eval('1')",
    "index.map(@print)",
    "seed.map(@exec)",
    "seed.map('x')",
    "seed.pipe(@eval, '1')",
    "seed.apply('to_csv', args=('acted',))",
    "seed.agg('to_csv', 0, 'acted')",
    "seed.transform('sqrt')",
    "seed.to_csv('acted')",
    "seed.to_pickle('acted')",
    "arm.to_json('acted') == arm",
    "seed.to_frame().to_html('acted')",
    "seed.values.tofile('acted')",
    "seed.values.dump('acted') == None",
    "seed.array.__init__()",
    "seed.eval('1')",
    "seed.attrs.update({'a': 1}) == None",
    "seed.pop(0) == seed",
    "seed.update([9, 9]) == None",
    "seed.drop(0, inplace=True) == None",
    "seed.isna(*[])",
    "seed.isin([x for x in [1]])",
    "seed.isin(open('acted', 'w'))",
    "seed.str.__class__",
    "arm.str.format('x')",
    "arm.str.repeat(1000000000) == arm",
    "arm.str.contains('(a+)+$')",
    "arm.str.contains('x', flags=1)",
    "arm.str.ljust(1000000000) == arm",
    "arm.str.startswith(arm)",
    "(lambda: 1)() == seed",
    "lambda: seed == 0",
    "[print(1) for x in [1]] == seed",
    "{x: 1 for x in [1]} == seed",
    "f'{seed}' == arm",
    'f\'{__import__("os").system("touch acted")}\' == arm',
    "(seed := 0) == 0",
    "seed = 3",
    "seed == 0; import os",
    "seed == 0\nimport os",
    "import os",
    "del seed",
    "seed[0] == 0",
    "arm[::-1] == arm",
    "seed == 0 if seed else arm",
    "print(seed) == None",
    "exec('1') == seed",
    "sin(seed) > 0",
    "open('acted', 'w')",
    "arm == b'proxy'",
    "seed == 1j",
    "seed == ...",
    "seed is None",
    "seed << 40 > 0",
    "seed ^ 1",
    "seed @ seed",
    "9 ** 9 ** 9 > seed",
    "seed ** 999999999 > 1",
    "2 ** 64 > seed",
    "seed < 99999999999999999999",
    "'a' * 999999999 == arm",
    "arm * 999999999 == arm",
    "'%9999999999d' % 1 == arm",
    "[0] * 999999999 == seed",
    "(0,) * 999999999 == seed",
    "seed == [seed]",
    "seed == [[0]]",
    "seed < [0]",
    "seed == *[0]",
    "`` == 0",
    "`nothing` == 0",
    "`seed == 0",
    "quoted_column_0_ == 0",
    "seed == 0 # `arm`\n@x",
    "\x00",
    "seed == 0\x00",
    "\ud800 == 0",
    "(" * 3000 + "seed" + ")" * 3000 + " == 0",
    "-" * 9000 + "seed == 0",
    "not " * 2000 + "compile",
    "[" * 3000,
    "seed" + "+seed" * 1900 + " == 0",
    "seed == 0 or " * 2000 + "compile",
    "1" * 5000 + " > seed",
    "",
    "threshold >",
    "treshold > 0.5",
    "threshold == @x",
]


@pytest.fixture(scope="module")
def rows(study):
    epochs_done = pd.array([1, None, 3, 3, 3, None, 3, 3], dtype="Int64")
    return study.assign(epochs_done=epochs_done, proxy_images=epochs_done * 40, **{"an arm": study["arm"]})


@pytest.mark.parametrize("expression", ORDINARY)
def test_an_ordinary_query_selects_the_rows_that_pandas_selects(rows, expression):
    pd.testing.assert_frame_equal(query(rows, expression), rows.query(expression))


def test_random_ordinary_queries_select_the_rows_that_pandas_selects(rows):
    draw = random.Random(SEED)
    terms = [f"({text})" for text in ORDINARY if "&" not in text and "|" not in text]

    for _ in range(150):
        words = [draw.choice(("", "not ")) + draw.choice(terms) for _ in range(draw.randint(2, 4))]
        expression = draw.choice((" and ", " or ", " & ", " | ")).join(words)
        pd.testing.assert_frame_equal(query(rows, expression), rows.query(expression), obj=expression)


def test_a_query_leaves_out_the_rows_for_which_it_is_unknown(rows):
    assert len(query(rows, "epochs_done > 1")) == 5


def test_a_column_is_equal_to_a_set_if_its_value_is_in_it(rows):
    assert query(rows, "seed in {1, 2}")["seed"].tolist() == [1] * 4


@pytest.mark.parametrize("expression", ATTACKS, ids=range(len(ATTACKS)))
def test_whatever_a_query_may_not_hold_is_refused_in_one_short_line(rows, expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = rows.copy()

    with pytest.raises(ConfigError, match=REFUSED) as caught:
        query(rows, expression)

    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 2000
    assert not any(tmp_path.iterdir())
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize("expression", ["1 + 1", "seed", "val_accuracy + 1", "True", "'arm'", "[seed]", "arm.isna"])
def test_a_query_that_is_not_true_or_false_of_each_row_is_refused(rows, expression):
    with pytest.raises(ConfigError, match=REFUSED):
        query(rows, expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("seed.real > 0", "an attribute is not allowed"),
        ("seed[0] > 0", "a subscript is not allowed"),
        ("print(seed)", "a call is not allowed, except of a column's between, isin, "),
        ("seed == @x", "@ is not allowed"),
        ("treshold > 1", "a name must be one of .*threshold"),
        ("2 ** seed ** 65 > 1", "an exponent must be at most 64"),
        ("-" * 5000 + "1", "it is nested too deeply"),
        ("seed == 0 or " * 1000, "it must be at most 10000 characters long"),
    ],
)
def test_the_error_names_what_is_not_allowed(rows, expression, reason):
    with pytest.raises(ConfigError, match=reason):
        query(rows, expression)


def test_an_error_shows_the_beginning_of_a_long_query():
    assert shown_query("seed == 0") == "'seed == 0'"
    assert shown_query("x" * MOST_CHARACTERS) == "'" + "x" * 200 + "...'"


PYTHON = "and or not in is if else for lambda @ ( ) [ ] { } . , : := = == != < > <= >= & | ~ ^ + - * ** / // %"
TERMS = (
    "seed arm threshold compile 0 1 0.3 1e999 1j 'proxy' `arm` None True @x __import__ os .isna() .isin( .map( print("
)
SIGNS = ("`", "'", '"', "'''", "f'", "\\", "#", ";", "\n", "\t", "\x00", "\x1b", "\u202e", "é", "漢", "\ud800")
WORDS = (*PYTHON.split(), *TERMS.split(), *SIGNS)


def selects(rows, expression):
    """Whether the query selects rows; False if it is refused in one line. Any other end fails the test."""
    refusal = None
    try:
        query(rows, expression)
    except ConfigError as error:
        refusal = str(error)
    assert len((refusal or "").splitlines()) <= 1, ascii(expression)
    return refusal is None


def test_random_text_ends_in_rows_or_in_an_error(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(SEED)

    selected = 0
    for _ in range(2000):
        joint = draw.choice(("", " "))
        selected += selects(rows, joint.join(draw.choice(WORDS) for _ in range(draw.randint(1, 9))))

    assert selected > 0
    assert not any(tmp_path.iterdir())


def random_tree(draw, depth):
    """A random expression of Python over the columns, as text; most of it is no query."""
    if depth == 0:
        return draw.choice(("seed", "arm", "threshold", "compile", "0", "0.3", "'proxy'", "None", "os", "__builtins__"))
    one, other, third = (f"({random_tree(draw, depth - draw.randint(1, depth))})" for _ in range(3))
    forms = [
        *(f"{one} {op} {other}" for op in ("<", "==", "!=", "in", "not in", "is", "and", "or", "&", "|", "^")),
        *(f"{one} {op} {other}" for op in ("+", "-", "*", "/", "//", "%", "**", "@", "<<")),
        *(f"{op} {one}" for op in ("not", "~", "-", "+")),
        *(f"{one}.{name}" for name in ("isna()", "str", "values", "__class__", "to_csv('acted')", "map(print)")),
        f"{one} < {other} <= {third}",
        f"{one} if {other} else {third}",
        f"{one}({other}, {third})",
        f"{one}[{other}]",
        f"[{one}, {other}]",
        f"{{{one}: {other}}}",
        f"lambda x: {one}",
        f"[{one} for x in {other}]",
        f"(x := {one})",
        f"{one}.isin([{other}])",
    ]
    return draw.choice(forms)


def test_random_syntax_trees_end_in_rows_or_in_an_error(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = random.Random(SEED)

    selected = 0
    for _ in range(1500):
        expression = random_tree(draw, draw.randint(1, 4))
        ast.parse(expression, mode="eval")
        selected += selects(rows, expression)

    assert selected > 10
    assert not any(tmp_path.iterdir())


# ---- columns of numbers and texts


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("threshold > 0.2", [1]),
        ("0.1 <= threshold", [0, 1]),
        ("0.1 <= threshold < 0.3", [0]),
        ("threshold.between(0.1, 0.2)", [0]),
        ("threshold == 'mean+2sd'", [2]),
        ("threshold != 'mean+2sd' and threshold.notna()", [0, 1]),
        ("threshold == 0.3 or threshold.isna()", [1, 3]),
        ("threshold in [0.1, 'mean+2sd']", [0, 2]),
        ("threshold.str.startswith('mean', na=False)", [2]),
    ],
)
def test_in_a_column_of_numbers_and_texts_a_text_is_neither_above_nor_below_a_number(expression, rows):
    frame = pd.DataFrame({"threshold": [0.1, 0.3, "mean+2sd", None]})

    assert query(frame, expression).index.tolist() == rows


def test_a_column_of_texts_alone_has_no_order_with_a_number():
    with pytest.raises(ConfigError, match=r"^query must be"):
        query(pd.DataFrame({"arm": ["baseline", "proxy"]}), "arm > 1")
