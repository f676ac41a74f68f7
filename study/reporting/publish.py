"""Copy a run's rows and report to the study's tracked folder, without what belongs to this machine."""

from dataclasses import dataclass
from pathlib import Path

from proxy_attention.errors import ConfigError
from proxy_attention.files import write_text
from study.analysis.findings import Findings
from study.foreign_text import csv_text, read_csv_text
from study.results import with_weights_named
from study.run_folder import PUBLISHED


@dataclass(frozen=True)
class Published:
    """The files that were written, and the data sets whose images were left out."""

    files: tuple[Path, ...]
    without_images_of: tuple[str, ...]


def publish(findings: Findings, *, with_images: bool = False) -> Published:
    """Write the rows, without this machine's folders, and the report into the study's folder.

    Args:
        findings: of the whole run, without a query.
        with_images: show images in the report whatever data set they are of; else only those of this package.
    Raises: ConfigError if the run has no results yet.
    """
    from proxy_attention.data.registry import SOURCES  # here: tables need no torch, and no drawing
    from study.reporting.report import write_report

    file, study = findings.run.results_csv, findings.run.path.parent
    if not file.is_file():
        raise ConfigError(f"a run must have results to be published; {str(findings.run.path)!r} has none yet")
    rows = read_csv_text(file)
    write_text(study / file.name, csv_text(with_weights_named(rows)))
    others = sorted(name for name in set(rows["dataset"]) - {""} if SOURCES[name].needs_root)
    write_report(findings, to=study, with_images=with_images or not others)
    files = tuple(study / name for name in PUBLISHED if (study / name).is_file())
    return Published(files, () if with_images else tuple(others))
