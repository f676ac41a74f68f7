"""Imports go down only, in both packages; read from the imports of every file."""

import ast
import functools
import graphlib
import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "proxy_attention").rglob("*.py"))
STUDY = sorted((ROOT / "study").rglob("*.py"))

LEVELS = [
    {"errors"},
    {"schedule", "shortcut", "seeds", "classification_metrics", "checksums", "field_rules"},
    {"config_fields"},
    {"config", "records", "memory", "locks"},
    {"files"},
    {"checkpoints", "state_keys", "data", "models", "saliency", "augment", "region_maps"},
    {"shared_states", "training", "proxies", "evaluation", "group_metrics"},
    {"explanation_metrics", "validation"},
    {"trial_setup"},
    {"trial_state"},
    {"trial_store"},
    {"trial"},
]
"""Parts of the library, lowest first; the errors lie below the other plain values, which may raise them."""

STUDY_LEVELS = [
    {"plan", "provenance", "file_formats", "foreign_text", "streams"},
    {"run_folder"},
    {"results", "planned_images"},
    {"analysis"},
    {"console"},
    {"progress"},
    {"planning", "reporting"},
    {"execution", "inference"},
    {"run", "analyse", "predict", "data"},
    {"reference"},
]
"""Parts of the study, lowest first: values, files, statistics, what is planned and shown, what runs, the commands."""

LEVEL_OF = {
    f"{package}.{part}": level
    for package, levels in (("proxy_attention", LEVELS), ("study", STUDY_LEVELS))
    for level, parts in enumerate(levels)
    for part in parts
}
OUTSIDE = {"ray", "optuna", "pandas", "study", "experiments"}

OPTUNA = {"study.execution.suggestions", "study.analysis.importance"}
"""The modules that may import optuna."""


def name_of(path):
    """The dotted name of a file's module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def imports_of(path):
    """Every dotted name that the file imports, wherever in it; ``from a import b`` gives ``a`` and ``a.b``."""
    package = name_of(path).split(".")
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            keep = len(package) - node.level + (path.name == "__init__.py")
            above = ".".join(package[:keep]) + "." if node.level else ""
            base = (above + (node.module or "")).rstrip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def part_of(dotted):
    """The first two words of a dotted name that lies in one of the packages: the part that has a level; else None."""
    words = dotted.split(".")
    return ".".join(words[:2]) if words[0] in ("proxy_attention", "study") and len(words) > 1 else None


def arrows(path):
    """(from, to) between the parts of the file's package, without those inside one part."""
    here = part_of(name_of(path))
    package = name_of(path).partition(".")[0]
    there = {part_of(name) for name in imports_of(path) if name.partition(".")[0] == package}
    return {(here, part) for part in there if part in LEVEL_OF} - {(here, here)}


def importers(library):
    """The modules of both packages that import this library, wherever in the file."""
    return {name_of(path) for path in LIBRARY + STUDY if library in {n.partition(".")[0] for n in imports_of(path)}}


def test_there_are_files_to_read():
    assert len(LIBRARY) >= 20
    assert len(STUDY) >= 1


def test_imports_are_found_wherever_they_stand(tmp_path, monkeypatch):
    """The control of this file: what would break the rules is seen."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    folder = tmp_path / "proxy_attention" / "data"
    folder.mkdir(parents=True)
    (folder / "bad.py").write_text(
        "import ray.tune as t\nfrom proxy_attention import trial\n\n"
        "def f():\n    from optuna import Study\n    from ..models import build\n    from . import images\n"
    )

    found = imports_of(folder / "bad.py")

    assert {"ray.tune", "proxy_attention.trial", "optuna", "proxy_attention.models.build"} <= found
    assert "proxy_attention.data.images" in found
    here, trial, models = (f"proxy_attention.{part}" for part in ("data", "trial", "models"))
    assert arrows(folder / "bad.py") == {(here, trial), (here, models)}


def test_every_part_of_both_packages_has_a_level():
    parts = {part_of(name_of(path)) for path in LIBRARY + STUDY} - {None}

    assert parts == set(LEVEL_OF)


def test_the_library_imports_nothing_that_is_built_around_it():
    imported = {(name_of(path), name.partition(".")[0]) for path in LIBRARY for name in imports_of(path)}

    assert [(module, name) for module, name in imported if name in OUTSIDE] == []


def test_imports_go_down_and_never_sideways():
    found = [(name_of(path), here, there) for path in LIBRARY + STUDY for here, there in arrows(path)]

    assert [arrow for arrow in found if arrow[1] is None or LEVEL_OF[arrow[2]] >= LEVEL_OF[arrow[1]]] == []


@pytest.mark.parametrize("files", [LIBRARY, STUDY], ids=["proxy_attention", "study"])
def test_no_module_imports_itself_through_others(files):
    names = {name_of(path) for path in files}

    order = graphlib.TopologicalSorter({name_of(path): imports_of(path) & names for path in files}).static_order()

    assert set(order) == names  # a cycle is an error that names its modules


def test_ray_is_imported_by_the_execution_alone_and_optuna_where_it_searches_and_weighs():
    assert {part_of(name) for name in importers("ray")} == {"study.execution"}
    assert importers("optuna") == OPTUNA


def test_nothing_but_the_study_imports_ray_or_optuna():
    skipped = {"tests", "experiments", "study", ".venv", "build", ".ci"}
    others = [path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in skipped]
    importers = [path for path in others if {name.partition(".")[0] for name in imports_of(path)} & {"ray", "optuna"}]

    assert len(others) >= len(LIBRARY)
    assert not importers


def test_no_file_of_the_study_is_named_after_a_library(monkeypatch):
    """``python study/run.py`` puts ``study/`` first on the path: such a file would stand in for the library."""
    folder = ROOT / "study"
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() not in (folder, ROOT)]
    monkeypatch.setattr(sys, "path", elsewhere)
    names = {path.stem for path in folder.glob("*.py")} | {path.name for path in folder.iterdir() if path.is_dir()}
    names -= {"__init__", "__main__", "__pycache__"}

    assert importlib.util.find_spec("json") is not None
    assert names
    assert not [name for name in sorted(names) if importlib.util.find_spec(name) is not None]
