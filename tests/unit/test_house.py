"""The size of the house: short files, short functions, and a test file for every module."""

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = [
    path.relative_to(ROOT)
    for package in ("proxy_attention", "study")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.name != "__init__.py"
]
TESTS = [path.relative_to(ROOT) for path in sorted((ROOT / "tests").rglob("*.py"))]
FILE_LINES, MEDIAN_LINES, FUNCTION_LINES = 350, 180, 60
LOOP, LOOP_LINES = "proxy_attention/trial.py:run_trial", 80


def lines_of(path):
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def functions_of(path):
    """Each function of a module with its lines, decorators left out."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.as_posix()}:{node.name}", node.end_lineno - node.lineno + 1


def test_there_are_modules_to_measure():
    assert len(MODULES) > 100
    assert len(TESTS) > 100


def test_no_file_is_longer_than_a_reader_can_hold():
    assert [f"{path}: {lines_of(path)}" for path in [*MODULES, *TESTS] if lines_of(path) > FILE_LINES] == []
    assert statistics.median(map(lines_of, MODULES)) < MEDIAN_LINES


def test_no_function_is_long_but_the_loop():
    long = {name: lines for path in MODULES for name, lines in functions_of(path) if lines > FUNCTION_LINES}
    loop = long.pop(LOOP, 0)

    assert long == {}
    assert loop <= LOOP_LINES


def test_every_module_has_a_test_file():
    expected = [Path("tests", "unit", module.parent, f"test_{module.name}") for module in MODULES]

    assert [str(path) for path in expected if path not in TESTS] == []
