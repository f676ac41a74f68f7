"""results.json and the README.md made of it: each part replaces its own sections and leaves the others."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.speed.measure import Row, Section, as_values
from proxy_attention.files import write_json, write_text

HEADINGS = ("what", "ours", "rival", "ratio", "spread", "target", "met")

PREAMBLE = """# {title}

{command} measures this table again; `--only PART` measures one part of it. Ours and every rival take turns in one
process, on the same images and at the same precision; the first round does not count. A ratio is the median over the
rounds of the ratios within a round, its spread the smallest and the largest of them. Written by the program, from
`{json}`: do not edit.
"""


def text_of(section: Section) -> str:
    """A section as Markdown that also reads well in a terminal."""
    cells = [HEADINGS, *(_cells(row) for row in section.rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]

    def line(words: Sequence[str]) -> str:
        return "| " + " | ".join(word.ljust(width) for word, width in zip(words, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    table = [line(cells[0]), rule, *map(line, cells[1:])] if section.rows else []
    return "\n".join([f"### {section.title}", "", *section.notes, "", *table]).rstrip() + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    target = f"{row.target.law} {row.target.value:g}" if row.target else ""
    met = ("yes" if row.target.met(row.ratio) else "**no**") if row.target else ""
    spread = f"{_number(row.low)} to {_number(row.high)}"
    return (row.what, row.ours, row.rival, f"{_number(row.ratio)} {row.measure}", spread, target, met)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def update(
    folder: Path,
    part: str,
    sections: Sequence[Section],
    *,
    machine: Mapping[str, str],
    order: Sequence[str],
    file: str,
    title: str,
    command: str,
) -> None:
    """Put a part's sections into results.json, and write the README anew from all that is there.

    Args:
        order: the parts in the order of the README.
        file: name of the README; the JSON file of the GPU's README is another one.
        command: what measured the part; it stands beside the machine.
    """
    stored = folder / file.replace("README", "results").replace(".md", ".json")
    known: dict[str, Any] = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else {}
    known[part] = {
        "machine": {**machine, "command": command},
        "sections": [as_values(section) for section in sections],
    }
    write_json(stored, known)
    words = [PREAMBLE.format(title=title, command=f"`{command.partition(' --only')[0]}`", json=stored.name)]
    for name in order:
        if name in known:
            words.append(f"## {name}\n")
            words.append("\n".join(f"- {key}: {value}" for key, value in known[name]["machine"].items()) + "\n")
            words += [text_of(Section.of(section)) for section in known[name]["sections"]]
    write_text(folder / file, "\n".join(words))
