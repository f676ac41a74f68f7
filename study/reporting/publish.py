"""Copies a run's rows and report to the study's tracked folder, without what belongs to this machine."""

from pathlib import Path

import pandas as pd

from proxy_attention.errors import ConfigError
from proxy_attention.files import write_text
from study.results import with_weights_named
from study.run_folder import PUBLISHED, RunFolder


def publish(run: Path, *, with_images: bool = False) -> None:
    """Bring what a colleague needs up to the study's folder: the rows without this machine's folders, and the report.

    Args:
        with_images: show images in the report whatever data set they are of; else only those of this package.
    Raises: ConfigError if the run has no results yet.
    """
    from proxy_attention.data.registry import SOURCES  # here: tables need no torch, and no drawing
    from study.reporting.report import write_report

    file = RunFolder(run).results_csv
    if not file.is_file():
        raise ConfigError(f"--publish must have results to copy; {str(run)!r} has none yet")
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)  # as text: no digit of it changes
    write_text(run.parent / file.name, with_weights_named(rows).to_csv(index=False))
    others = sorted(name for name in set(rows["dataset"]) - {""} if SOURCES[name].needs_root)
    write_report(run, to=run.parent, with_images=with_images or not others)
    for name in PUBLISHED:
        if (run.parent / name).is_file():
            print(f"published {run.parent / name}")
    if others and not with_images:
        print(f"without images of {', '.join(others)}: --with-images shows them, if their licence allows it")
