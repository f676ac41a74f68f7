"""Command line: write the tables of proxy_attention/README.md and study/README.md from the tables in the code.

python study/reference.py [--check] [--root DIR]
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm

from proxy_attention.augment.registry import AUGMENTATIONS
from proxy_attention.classification_metrics import CLASSIFICATION_METRICS
from proxy_attention.config import DEFAULTS, FIELDS
from proxy_attention.data.registry import SOURCES
from proxy_attention.errors import ConfigError, ProxyAttentionError
from proxy_attention.field_rules import NAME
from proxy_attention.files import write_text
from proxy_attention.models.build import build
from proxy_attention.models.classifier import Classifier
from proxy_attention.models.input_size import ANY, FAMILIES, Family
from proxy_attention.proxies.masks import MASKS
from proxy_attention.proxies.replacement import REPLACEMENTS, SCOPES
from proxy_attention.proxies.scoring import CHOOSE
from proxy_attention.saliency.registry import METHODS
from proxy_attention.validation import CHOICES
from study import analyse, data, predict, run
from study.console import BAD_INPUT, DONE, SOME_FAILED, Parser, fail
from study.provenance import ROOT
from study.streams import run_command

KINDS = {
    "ResNet": "resnet18",
    "EfficientNet": "test_efficientnet",
    "ConvNeXt": "test_convnext",
    "ViT": "test_vit",
}
"""A small model of each kind that saliency methods treat differently; each method is tried on all of them."""
EXAMPLES = {
    "resnet": "resnet18",
    "efficientnet": "efficientnet_b0",
    "vgg": "vgg16",
    "vision_transformer": "vit_small_patch16_224",
}
"""A well-known model of some families; of any other family, the first that timm lists is shown."""
OTHER = "convnext_tiny"
SIZES = (32, 64, 224)
ANY_MODEL = "any"
FEW_CHOICES = 6
"""The most known names that a field's row lists; more names have a table of their own."""


def fields() -> str:
    """Make the table of the fields of TrialConfig: default, rule, meaning."""
    rows = [(_code(name), _default(DEFAULTS[name]), _rule(name), FIELDS[name].meaning) for name in FIELDS]
    return _table(("field", "default", "must be", "meaning"), rows)


def _default(value: Any) -> str:
    """Format a default as in study.toml; a field whose default is None is left out there, so it is ``unset``."""
    if value is None:
        return "unset"
    return _code(value) if isinstance(value, str) else str(value).lower()


def _rule(name: str) -> str:
    """Return the rule of a field in words, or its known names if there are few."""
    known, rule = CHOICES.get(name, ()), FIELDS[name].rule
    if 0 < len(known) <= FEW_CHOICES:
        return ", ".join(map(_code, known))
    if rule is NAME:
        return "a name"
    return "a schedule" if rule is None else rule.text


def methods() -> str:
    """Make the table of saliency methods; methods that build on another, such as ``a/b``, share one row."""
    rows = []
    for name, method in METHODS.items():
        head, slash, other = name.partition("/")
        over = [one.partition("/")[2] for one in METHODS if one.startswith(f"{head}/")]
        same = f"; the same as {_code(method.pooled)} under a linear head" if method.pooled else ""
        if not slash:
            rows.append((_code(name), method.what + same, method.cost, _explains(name), method.source))
        elif other == over[0]:
            what = f"{method.what.replace(other, 'another map', 1)}; over any of {', '.join(map(_code, over))}"
            cost = method.cost.replace(METHODS[other].cost, "the other's") if other in METHODS else method.cost
            rows.append((_code(f"{head}/…"), what, cost, "as the other", method.source))
    tried = ", ".join(map(_code, KINDS.values()))
    return f"Which kinds a method explains was tried on {tried}.\n\n" + _table(
        ("`saliency`", "the map is", "forward passes", "explains", "source"), rows
    )


def _explains(name: str) -> str:
    """List the kinds of models that a method can explain."""
    able = [kind for kind, model in _models().items() if METHODS[name].lacks(model) is None]
    return ANY_MODEL if len(able) == len(KINDS) else ", ".join(able) or "none of these kinds"


@cache
def _models() -> dict[str, Classifier]:
    """Build the models of ``KINDS``, once."""
    found = {kind: build(name, classes=10, image_size=64, weights="none", seed=0) for kind, name in KINDS.items()}
    for model in found.values():
        model.module.eval()
    return found


def models() -> str:
    """Make the table of model families: how each is adapted to images of a few sizes, tried in this order."""
    rows = [(_code(family), _code(_example(family)), *_fits(row, _example(family))) for family, row in FAMILIES.items()]
    rows.append(("any other of timm's", _code(OTHER), *_fits(ANY, OTHER)))
    return _table(("family", "such as", *(f"at {size} px" for size in SIZES)), rows)


def _example(family: str) -> str:
    return EXAMPLES[family] if family in EXAMPLES else str(timm.list_models(module=family)[0])


def _fits(family: Family, model: str) -> list[str]:
    return [", else ".join(adaptation.note for adaptation in family(model, size, False)) for size in SIZES]


def test_metrics() -> str:
    """Make the table of the metrics of test images, beside accuracy and loss."""
    rows = [(_code(f"test_{name}"), metric.what) for name, metric in CLASSIFICATION_METRICS.items()]
    return _table(("column", "metric"), rows)


def replacements() -> str:
    """Make the table of replacements."""
    return _table(("`replacement`", "stands in the pixel"), [(_code(k), _meaning(f)) for k, f in REPLACEMENTS.items()])


def scopes() -> str:
    """Make the table of what the statistics of a replacement are taken over."""
    return _table(("`scope`", "statistics are of"), [(_code(name), what) for name, what in SCOPES.items()])


def choices() -> str:
    """Make the table of whom a proxy step chooses from."""
    return _table(("`choose`", "of the training images"), [(_code(name), what) for name, what in CHOOSE.items()])


def masks() -> str:
    """Make the table of masks."""
    return _table(("`mask`", "what decides is"), [(_code(name), _meaning(mask)) for name, mask in MASKS.items()])


def augmentations() -> str:
    """Make the table of augmentations."""
    rows = [
        (_code(name), row.what, "yes" if row.mixes else "no", str(row.passes or "none"), row.source)
        for name, row in AUGMENTATIONS.items()
    ]
    return _table(("`augment`", "what is done", "mixes images", "more passes a batch", "source"), rows)


def data_sets() -> str:
    """Make the table of the data sets that are known by name."""
    rows = [
        (
            f"[{name}]({source.home})" if "://" in source.home else name,
            source.class_count,
            source.split,
            source.layout,
            source.label,
            source.obtained_by,
            source.licence,
        )
        for name, source in SOURCES.items()
    ]
    heads = ("`dataset`", "classes", "split", "what lies below its place", "a class is", "`prepare`", "licence")
    return _table(heads, rows)


def options_of(parser: Parser) -> str:
    """Make the table of a command's arguments and their meanings."""
    return _table(("argument", "meaning"), [(_code(name), meaning) for name, meaning in parser.table()])


def sub_commands_of(parser: Parser) -> str:
    """Make the table of a command's sub-commands with their arguments and meanings."""
    rows = []
    for word, command in parser.sub_commands().items():
        rows.append((_code(word), command.description or ""))
        rows += [(_code(f"{word} {name}"), meaning) for name, meaning in command.table() if name != "--help"]
    return _table(("command", "meaning"), rows)


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "proxy_attention/README.md": {
        "fields": fields,
        "augmentations": augmentations,
        "data sets": data_sets,
        "methods": methods,
        "models": models,
        "choices": choices,
        "replacements": replacements,
        "scopes": scopes,
        "masks": masks,
        "test metrics": test_metrics,
    },
    "study/README.md": {
        "run.py": lambda: options_of(run.parser()),
        "analyse.py": lambda: options_of(analyse.parser()),
        "predict.py": lambda: options_of(predict.parser()),
        "data.py": lambda: sub_commands_of(data.parser()),
    },
}
"""The functions that make the tables of each page, by the name in the markers around the table."""


def rewritten(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """Return the text of a page with every table made anew.

    Args:
        blocks: the functions that make its tables, by the name in the markers.
    Raises: ConfigError if a marker is missing, repeated, or after its end marker.
    """
    for name, make in blocks.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended or text.count(begin) != 1 or text.count(end) != 1:
            raise ConfigError(f"the README must hold {begin} once, and {end} once after it")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Make text safe for a cell of a table: one line, pipes and HTML escaped."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _code(name: str) -> str:
    return f"`{name}`"


def _meaning(function: Any) -> str:
    """Return the first line of a function's docstring as part of a row: no capital, no full stop."""
    line = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".").replace("``", "`")
    return line[:1].lower() + line[1:]


def parser() -> Parser:
    """Build the parser of the options."""
    options = Parser(
        prog="reference.py",
        description="Write the generated tables of proxy_attention/README.md and study/README.md.",
        allow_abbrev=False,
    )
    options.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page differs")
    options.add_argument("--root", metavar="DIR", default=str(ROOT), help="folder of both pages (default: the project)")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    code = DONE
    try:
        args = parser().read(argv)
        for page, blocks in PAGES.items():
            code = max(code, _update(Path(args.root) / page, page, blocks, check=args.check))
    except ProxyAttentionError as error:
        fail("reference.py", error)
        return BAD_INPUT
    return code


def _update(file: Path, page: str, blocks: Mapping[str, Callable[[], str]], *, check: bool) -> int:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--root must hold {page} as text; it cannot be read: {error}") from error
    new = rewritten(text, blocks)
    if new == text:
        print(f"{page} is as the code has it")
        return DONE
    if check:
        print(f"{page} differs from the code's tables; python study/reference.py writes them")
        return SOME_FAILED
    write_text(file, new)
    print(f"wrote the tables of {page}")
    return DONE


if __name__ == "__main__":
    run_command(main)
