"""Copy a run's rows and report to the study's tracked folder, without what belongs to this machine."""

import os
from dataclasses import dataclass
from pathlib import Path

from proxy_attention.errors import ConfigError
from proxy_attention.files import read_regular, write_text
from study.analysis.findings import Findings
from study.foreign_text import csv_text
from study.results import with_weights_named
from study.run_folder import ARMS_SVG, COMPLETE, PUBLISHED, REPORT_HTML, RESULTS_CSV

MARKS = {
    RESULTS_CSV: b"trial_id,config_digest,search,arm,status,",
    REPORT_HTML: b"content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n<title>",
    ARMS_SVG: b"<dc:format>image/svg+xml</dc:format>\n   </cc:Work>",
}
"""What every such file that this package wrote, of any version, holds among its first bytes."""
MARKED = 2000


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
    Raises: ConfigError if the run has no results yet, or a file there is none that this package wrote.
    """
    from proxy_attention.data.registry import SOURCES  # here: tables need no torch, and no drawing
    from study.reporting.report import write_report

    study = findings.run.path.parent
    if not (findings.results["status"] == COMPLETE).any():
        raise ConfigError(f"a run must have results to be published; {str(findings.run.path)!r} has none yet")
    for file in (study / name for name in PUBLISHED):
        if not _may_be_written(file):
            raise ConfigError(f"--publish must not overwrite what it did not write; move {str(file)!r} away")
    write_text(study / RESULTS_CSV, csv_text(with_weights_named(findings.results)))
    free = {name for name, source in SOURCES.items() if not source.needs_root}
    others = sorted(set(findings.results["dataset"].dropna()) - free)
    write_report(findings, to=study, with_images=with_images or not others)
    files = tuple(study / name for name in PUBLISHED if (study / name).is_file())
    return Published(files, () if with_images else tuple(others))


def _may_be_written(file: Path) -> bool:
    """Whether there is no such file, or one that this package wrote; a link is none."""
    if not os.path.lexists(file):
        return True
    try:
        return MARKS[file.name] in read_regular(file)[:MARKED]
    except OSError:
        return False
