import re
import tomllib
from pathlib import Path

import pytest

from proxy_attention.augment.batch import Augmentation
from proxy_attention.augment.registry import AUGMENTATIONS
from proxy_attention.config import DEFAULTS
from proxy_attention.data.registry import SOURCES
from proxy_attention.errors import ConfigError
from proxy_attention.models.build import build
from proxy_attention.models.input_size import FAMILIES
from proxy_attention.proxies.masks import MASKS
from proxy_attention.proxies.replacement import REPLACEMENTS, SCOPES
from proxy_attention.proxies.scoring import CHOOSE
from proxy_attention.saliency.interface import Method
from proxy_attention.saliency.registry import METHODS, check_method
from study import reference
from study.planning.study_file import parse_study
from study.reference import PAGES, main, rewritten

ROOT = Path(__file__).parents[3]
README = (ROOT / "proxy_attention" / "README.md").read_text(encoding="utf-8")
BLOCKS = PAGES["proxy_attention/README.md"]
SWEEP = (ROOT / "experiments" / "saliency-sweep" / "study.toml").read_text(encoding="utf-8")
EMPTY = "\n".join(f"<!-- {name} -->\n<!-- end of {name} -->" for name in BLOCKS)


def block(name, text=README):
    return text.split(f"<!-- {name} -->\n\n")[1].split(f"\n\n<!-- end of {name} -->")[0]


def rows(table):
    """The cells of a Markdown table, without its heads."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]
    return [[cell.strip().replace("\\|", "|") for cell in line] for line in cells]


def named(table):
    """The names in the first cells; a row of methods over others stands for each of them."""
    found = []
    for first, second, *_ in rows(table):
        head, slash, _ = re.sub(r"\[(.*)\]\(.*\)", r"\1", first).strip("`").partition("/…")
        over = re.findall("`([^`]+)`", second.split("over any of ")[1]) if slash else [""]
        found += [f"{head}/{other}" if slash else head for other in over]
    return found


@pytest.mark.parametrize(("page", "name"), [(page, name) for page, blocks in PAGES.items() for name in blocks])
def test_a_table_of_a_readme_is_as_the_code_has_it(page, name):
    text = (ROOT / page).read_text(encoding="utf-8")

    assert block(name, text) == PAGES[page][name](), "python study/reference.py writes it"


def test_a_field_has_its_default_its_rule_and_its_meaning():
    found = {row[0].strip("`"): row[1:] for row in rows(block("fields"))}

    assert found["subset"] == ["1.0", "a fraction in (0, 1]", "which part of the images of `choose` is chosen"]
    assert found["collect"][:2] == ["`clean`", "`clean`, `online`"]
    assert found["clear_every_step"][:2] == ["true", "true or false"]
    assert found["split_seed"][0] == "unset"
    assert found["schedule"][1] == "a schedule"


def test_every_anchor_in_a_table_of_fields_is_a_heading_of_its_page():
    headings = re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    linked = set(re.findall(r"\(#([a-z-]+)\)", block("fields")))
    assert len(linked) >= 4
    assert linked <= anchors


@pytest.mark.parametrize("page", ["README.md", *PAGES])
def test_the_python_examples_of_a_readme_import_what_there_is(page):
    examples = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    imports = [line for example in examples for line in example.splitlines() if line.startswith(("from ", "import "))]

    assert imports
    exec("\n".join(imports), {})


def test_the_front_page_stays_short():
    assert len((ROOT / "README.md").read_bytes()) < 12 * 1024


def test_every_option_of_the_commands_has_a_meaning():
    for name in PAGES["study/README.md"]:
        assert all(meaning for _, meaning in rows(block(name, (ROOT / "study/README.md").read_text(encoding="utf-8"))))


@pytest.mark.parametrize(
    ("name", "table"),
    {
        "augmentations": AUGMENTATIONS,
        "data sets": SOURCES,
        "methods": METHODS,
        "models": FAMILIES,
        "replacements": REPLACEMENTS,
        "choices": CHOOSE,
        "scopes": SCOPES,
        "masks": MASKS,
        "fields": DEFAULTS,
    }.items(),
)
def test_every_row_of_a_table_is_named_in_the_readme_once(name, table):
    found = [row for row in named(block(name)) if row != "any other of timm's"]

    assert len(table) >= 3
    assert sorted(found) == sorted(table)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_in_a_line_what_its_map_is_and_where_it_is_from(name):
    method = METHODS[name]

    assert 10 < len(method.what) <= 160
    assert "\n" not in method.what
    assert not method.what.endswith(".")
    assert method.source
    assert method.cost


def test_a_method_over_another_explains_what_the_other_does():
    over = [name for name in METHODS if "/" in name]

    assert len(over) >= 3
    for name in over:
        for model in reference._models().values():
            assert METHODS[name].lacks(model) == METHODS[name.partition("/")[2]].lacks(model)


@pytest.mark.parametrize("name", ["choices", "replacements", "masks", "scopes"])
def test_a_row_says_what_it_is(name):
    found = rows(BLOCKS[name]())

    assert len(found) >= 3
    assert all(len(what) >= 5 for _, what in found)
    assert len({what for _, what in found}) == len(found)


def test_a_row_of_a_rival_says_whether_it_mixes_and_what_it_asks(monkeypatch):
    rival = Augmentation("images laid over each other", "A paper", 1, lambda batch, draws, task: batch, True, 2)
    monkeypatch.setattr(reference, "AUGMENTATIONS", {"rival": rival, "none": AUGMENTATIONS["none"]})

    first, second = rows(reference.augmentations())

    assert first == ["`rival`", "images laid over each other", "yes", "2", "A paper"]
    assert second[2:4] == ["no", "none"]


def test_a_data_set_is_linked_to_its_home_and_says_how_it_is_brought():
    found = {row[0]: row[1:] for row in rows(reference.data_sets())}

    assert found["folder"][0] == "as found"
    assert found["[fashion-mnist-sample](https://github.com/zalandoresearch/fashion-mnist)"][4] == "in the package"


def test_a_row_that_is_new_gone_or_changed_makes_the_readme_differ(monkeypatch):
    before = reference.methods()
    for changed in (
        {**METHODS, "new": Method("A paper", "something of which a line is written")},
        {name: method for name, method in METHODS.items() if name != "gradcam"},
        {**METHODS, "gradcam": Method("Another paper", METHODS["gradcam"].what)},
    ):
        monkeypatch.setattr(reference, "METHODS", changed)
        assert reference.methods() != before


def test_methods_over_others_are_one_row_that_names_the_others(monkeypatch):
    table = {
        "first": Method("A", "a gradient", cost="4"),
        "second": Method("A", "another", cost="8"),
        "noisy/first": Method("B", "first, under noise", cost="9 x (4)"),
        "noisy/second": Method("B", "second, under noise", cost="9 x (8)"),
    }
    monkeypatch.setattr(reference, "METHODS", table)

    *_, last = rows(reference.methods())

    what = "another map, under noise; over any of `first`, `second`"
    assert last == ["`noisy/…`", what, "9 x (the other's)", "as the other", "B"]
    assert named(reference.methods()) == list(table)


def test_a_name_cannot_break_out_of_its_cell(monkeypatch):
    monkeypatch.setattr(reference, "SCOPES", {"a|b": "one | two\n| three", "c": "<script>"})

    table = reference.scopes()

    assert table.splitlines()[2:] == ["| `a\\|b` | one \\| two \\| three |", "| `c` | &lt;script> |"]
    assert rows(table)[0] == ["`a|b`", "one | two | three"]


# ---- the command line


@pytest.fixture
def root(tmp_path):
    """Both pages with empty blocks between words of their own."""
    for page, blocks in PAGES.items():
        file = tmp_path / page
        file.parent.mkdir()
        empty = "\n".join(f"<!-- {name} -->\n<!-- end of {name} -->" for name in blocks)
        file.write_text(f"before\n{empty}\nafter\n", encoding="utf-8")
    return tmp_path


def test_the_blocks_are_rewritten_and_nothing_beside_them(root, capsys):
    assert main(["--root", str(root)]) == 0
    text = (root / "proxy_attention/README.md").read_text(encoding="utf-8")

    assert text.startswith("before\n<!-- fields -->\n\n| field | default |")
    assert text.endswith("\n\n<!-- end of test metrics -->\nafter\n")
    assert block("masks", text) == reference.masks()
    assert rewritten(text, BLOCKS) == text
    assert capsys.readouterr().out.splitlines() == [f"wrote the tables of {page}" for page in PAGES]


def test_a_check_changes_nothing_and_tells_by_its_exit_code(root):
    before = (root / "study/README.md").read_text(encoding="utf-8")

    assert main(["--check", "--root", str(root)]) == 1
    assert (root / "study/README.md").read_text(encoding="utf-8") == before
    assert main(["--root", str(root)]) == 0
    assert main(["--check", "--root", str(root)]) == 0


@pytest.mark.parametrize(
    "text",
    [
        EMPTY.replace("<!-- methods -->", ""),
        EMPTY.replace("<!-- end of scopes -->", ""),
        EMPTY + "<!-- masks -->",
        "<!-- end of masks -->" + EMPTY.replace("<!-- end of masks -->", ""),
    ],
    ids=["no begin", "no end", "twice", "end first"],
)
def test_a_readme_without_its_markers_is_refused(text):
    with pytest.raises(ConfigError, match=r"the README must hold <!-- .* --> once, and <!-- end of .* --> once after"):
        rewritten(text, BLOCKS)


def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert main(["--root", str(tmp_path / "none")]) == 2
    assert main(["--chek"]) == 2

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["reference.py", "reference.py"]
    assert "did you mean --check" in lines[1]


# ---- the study of all methods


def asked():
    """Every (model, method) that the sweep asks."""
    study = parse_study(SWEEP)
    settings = [study.config(values, seed=0) for _, values in study.grid()]
    return [(config.model, config.saliency) for config in settings if config.has_proxies]


def test_the_sweep_asks_no_method_twice():
    """A published study is not edited when a method joins: it asks those that there were."""
    listed = tomllib.loads(SWEEP)["search"]["saliency"]
    methods = [saliency for _, saliency in asked()]

    assert len(listed) > 5
    assert len(methods) == len(set(methods)) > 40
    assert set(methods) <= set(METHODS)


def test_the_sweep_asks_a_method_of_a_model_that_it_can_explain():
    models = {name: build(name, classes=10, image_size=64, weights="none", seed=0) for name in {m for m, _ in asked()}}

    for model, saliency in asked():
        check_method(saliency, models[model], name=model)


def test_each_model_of_the_sweep_has_a_baseline_of_its_own():
    study = parse_study(SWEEP)
    configs = [study.config(values, seed=0) for _, values in study.grid()]

    assert study.seeds == (0,)
    assert {config.model for config in configs} == {config.model for config in configs if not config.has_proxies}
