"""Read a table of images, a CSV file with a header, and the groups that a person gives in one; reads no pixel."""

import csv
import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from proxy_attention.data.catalogue import Catalogue, named
from proxy_attention.data.groups import Groups
from proxy_attention.data.labels import one_spelling
from proxy_attention.data.manifests import bad_line
from proxy_attention.errors import DataError

GROUPS_FILE, METADATA_FILE = "groups.csv", "metadata.csv"
"""Tables in a folder of images: that of its groups, and one that may have a column of groups."""
COLUMNS = {GROUPS_FILE: ("file", "group"), METADATA_FILE: ("file_name", "group")}
"""The columns of each table that are read: an image's path below the data root, and its group."""
UNPRINTED = re.compile(r"[\x00-\x1f\x7f]")


def read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the fields of every row, without the spaces around them; other columns may be there.

    Args:
        columns: the names that the header must hold, each once.
    Raises: DataError if the file is missing or is no text, the header lacks a column, or a row has other fields.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # a spreadsheet writes a byte order mark
            rows = csv.reader(file, strict=True)
            header = [field.strip() for field in next(rows, [])]
            if any(header.count(column) != 1 for column in columns):
                raise bad_line(path, 1, f"have the columns {', '.join(columns)}", ",".join(header))
            for row in rows:
                if not any(field.strip() for field in row):
                    continue
                if len(row) != len(header):
                    raise bad_line(path, rows.line_num, f"have {len(header)} fields, as the header", ",".join(row))
                yield rows.line_num, {name: field.strip() for name, field in zip(header, row, strict=True)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(
            f"data root must hold {path.name} as a CSV file in UTF-8; {str(path)!r} is not ({said})"
        ) from error


def with_groups(catalogue: Catalogue, root: Path) -> Catalogue:
    """Give the images of a folder the groups of ``groups.csv``, or of the column ``group`` of ``metadata.csv``.

    The tables are not among the other files of the catalogue that is returned.

    Raises: DataError for a table that is damaged, names a file that is no image of the folder, names an image twice or
        not at all, or leaves one without a group.
    """
    root = root.expanduser().absolute()
    others = tuple(one for one in catalogue.others if one.name not in COLUMNS)
    catalogue = dataclasses.replace(catalogue, others=others)
    if (root / GROUPS_FILE).exists():
        return dataclasses.replace(catalogue, groups=_read_groups(root / GROUPS_FILE, catalogue.names))
    if _has_column(root / METADATA_FILE, COLUMNS[METADATA_FILE]):
        return dataclasses.replace(catalogue, groups=_read_groups(root / METADATA_FILE, catalogue.names))
    return catalogue


def write_groups(folder: Path, groups: Iterable[tuple[str, str]]) -> None:
    """Write ``groups.csv`` into a folder of images, from (file, group)."""
    with (folder / GROUPS_FILE).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS[GROUPS_FILE])
        rows.writerows(groups)


def _has_column(path: Path, columns: Sequence[str]) -> bool:
    """Whether there is a table with these columns; a table of anything else is nobody's business here."""
    if not path.is_file():
        return False
    try:
        next(read_table(path, columns), None)
    except DataError:
        return False
    return True


def _read_groups(path: Path, names: Sequence[str]) -> Groups:
    """Read the group of each of these images.

    Raises: DataError.
    """
    file_column, group_column = COLUMNS[path.name]
    rows = list(read_table(path, (file_column, group_column)))
    for number, row in rows:
        if not row[group_column] or UNPRINTED.search(row[group_column]):
            raise bad_line(path, number, "have a group, as text of one line", row[group_column])
    listed = [one_spelling(row[file_column]) for _, row in rows]
    group_of = {file: row[group_column] for file, (_, row) in zip(listed, rows, strict=True)}
    spelled = {name: one_spelling(name) for name in names}
    known = set(spelled.values())
    if unknown := [file for file in listed if file not in known]:
        raise DataError(
            f"{path.name} must name images below the data root, such as {names[0]!r}; {_are(unknown, 'none')}"
        )
    if twice := list((Counter(listed) - Counter(group_of.keys())).elements()):
        raise DataError(f"{path.name} must name every image once; {_are(twice, 'named again')}")
    if missing := [name for name in names if spelled[name] not in group_of]:
        raise DataError(f"{path.name} must give every image a group; {_are(missing, 'missing')}")
    return Groups.of([group_of[spelled[name]] for name in names])


def _are(names: list[str], what: str) -> str:
    return f"{len(names)} {'is' if len(names) == 1 else 'are'} {what}: {named(names)}"
