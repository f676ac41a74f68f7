"""Writes runs of a study as if their trials had run: nothing is trained, and the tests choose every number."""

import io
from pathlib import Path

import numpy as np
import torch
from conftest import made_once
from PIL import Image

from proxy_attention.config import DEFAULTS, TrialConfig
from proxy_attention.files import load_json, write_epochs, write_json
from proxy_attention.proxies.step import Examples
from proxy_attention.records import EpochRecord, TrialReport, as_json
from study.analysis.findings import Findings
from study.execution.tensorboard import PADDING, sheet
from study.plan import Plan, PlannedTrial
from study.reporting.report import finish
from study.run_folder import RunFolder

CLASSES = ("dress", "pullover", "t-shirt", "trouser")
QUESTION = "Does a small thing work?"
FIXED = {"dataset": "folder", "model": "test_resnet", "image_size": 32, "batch_size": 8, "precision": "fp32"}
ABOUT = {
    "command": "python study/run.py --search grid",
    "commit": "abc123",
    "created": "2026-11-26T12:00:00",
    "machine": "host-a",
    "device": "cpu",
    "python": "3.11.7",
    "versions": {"torch": "2.9.0"},
}

SMALL = (
    ("baseline", 0, 50.0, {}),
    ("proxy", 0, 53.0, {"threshold": 0.3}),
    ("proxy", 0, 52.0, {"threshold": 0.6}),
    ("random-mask", 0, 51.0, {"threshold": 0.3, "mask": "random"}),
    ("baseline", 1, 60.0, {}),
    ("proxy", 1, 62.0, {"threshold": 0.3}),
    ("proxy", 1, 64.0, {"threshold": 0.6}),
    ("random-mask", 1, 61.0, {"threshold": 0.3, "mask": "random"}),
)
"""Eight trials: on each of two seeds a baseline, two thresholds and a control."""


def reported_run(factory) -> Path:
    """Return the run of the eight trials with its report, drawn once for all workers of xdist. Read only."""
    return (
        made_once(factory, "reported", lambda folder: finish(write_run(folder / "small" / "grid", *SMALL)))
        / "small/grid"
    )


def unpublished_run(folder: Path, dataset: str) -> Findings:
    """Write the first two of the eight trials as trials on this data set, and their rows."""
    trials = [(arm, seed, test, {**given, "dataset": dataset}) for arm, seed, test, given in SMALL[:2]]
    findings = Findings.of(write_run(folder / "small" / "grid", *trials))
    findings.results.to_csv(findings.run.results_csv, index=False)
    return findings


def without_checksums_of(report: Path) -> None:
    """Rewrite a report.json as earlier versions did, which knew no checksum of the trial's other files."""
    write_json(report, {key: value for key, value in load_json(report).items() if key != "sha256_of"})


def rewrite_plan(path: Path, edit) -> None:
    """Edit each planned trial, by its number and values; its digest, its folder and its report's identity follow."""
    run = RunFolder(path)
    values = load_json(run.plan_file)
    for number, trial in enumerate(values["trials"]):
        before = run.trial(trial["trial_id"])
        edit(number, trial)
        trial["config_digest"] = TrialConfig.of(trial["config"]).digest(data=trial["data_digest"], weights=None)
        trial["trial_id"] = PlannedTrial.name(number, trial["arm"], trial["config"]["seed"], trial["config_digest"])
        after = run.trial(trial["trial_id"])
        before.path.rename(after.path)
        write_json(after.report_file, {**load_json(after.report_file), "identity": trial["config_digest"]})
    write_json(run.plan_file, values)


def write_run(path: Path, *trials, study="", **changes) -> Path:
    """Write a run whose trials are (arm, seed, test accuracy, changed values).

    A value is changed in the trial's config, else in its report. A trial with ``status`` or ``error`` is written as it
    stopped; ``steps_skipped`` skips its proxy step. A baseline has the schedule 2, any other trial 1,p.
    """
    planned = tuple(_planned(number, *trial) for number, trial in enumerate(trials))
    run = RunFolder(path)
    asked = {
        "search": "grid",
        "name": path.parent.name,
        "question": QUESTION,
        "seeds": (0, 1),
        "about": ABOUT,
        **changes,
    }
    more = {"confirmed": (), "suggestions": 0, "confirm": 0, "measured": {}, "fingerprint": "f" * 64}
    run.write_plan(Plan(**{"trials": planned, "options": {"data_root": None}, **more, **asked}))
    run.study_file.write_text(study or f'[study]\nquestion = "{asked["question"]}"\n')
    for trial, (_, _, test, given) in zip(planned, trials, strict=True):
        _write_trial(run.trial(trial.trial_id), trial, test, {k: v for k, v in given.items() if k not in DEFAULTS})
    return path


def _planned(number, arm, seed, _, given) -> PlannedTrial:
    schedule = "2" if arm == "baseline" else "1,p"
    fields = {name: value for name, value in given.items() if name in DEFAULTS}
    config = TrialConfig(**{**FIXED, "threads": 1, "schedule": schedule, "seed": seed, **fields}).canonical()
    digest = config.digest(data="x", weights=None)
    split = given.get("split_digest", f"split of seed {seed}")
    return PlannedTrial(f"{number:04d}-{arm}-seed{seed}-{digest[:8]}", arm, config, digest, "x", split)


def _write_trial(folder, trial, test, given) -> None:
    status, error, skipped = (given.pop(name, None) for name in ("status", "error", "steps_skipped"))
    if status == "missing":
        return
    folder.begin(trial, "abc123")
    epochs = [epoch(number, trial, test + 5 * number, skipped=bool(skipped)) for number in (0, 1)]
    if error is not None:
        folder.write_error(trial, error)
    if status is None and error is None:
        report = {**_report(trial, test), **given}
        write_json(folder.report_file, {"identity": trial.config_digest, **as_json(TrialReport(**report))})
        if trial.config.has_proxies:
            write_sheet(folder.path)
    if error is None:
        write_epochs(folder.epochs_file, epochs if status is None else epochs[:1])


def epoch(number, trial, val, *, skipped=False) -> EpochRecord:
    """Make the record of an epoch of a trial, whose second epoch ends with the proxy step."""
    planned = trial.config.has_proxies and number == 1
    took, numbers = planned and not skipped, {"lr": 0.001, "train_loss": 1.0, "train_accuracy": 50.0, "val_loss": 1.0}
    seconds = {"train_seconds": 1.5, "proxy_seconds": 0.5 * took, "eval_seconds": 0.1, "peak_memory_mb": 900.0}
    counts = {"train_images": 32, "wrong_images": 6 * took, "made_images": 6 * took, "flat_maps": 0}
    return EpochRecord(
        epoch=number,
        item=number,
        proxy_step=took,
        step_skipped=planned and skipped,
        step_subset=1.0 * took,
        val_accuracy=val,
        proxy_images=6 * took,
        **numbers,
        **seconds,
        **counts,
    )


def _report(trial, test) -> dict:
    made = 6 if trial.config.has_proxies else 0
    return {
        "epochs_done": 2,
        "val_accuracy": test + 5,
        "val_loss": 1.0,
        "test_accuracy": test,
        "test_loss": 1.0,
        "test_metrics": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "ece": 0.25},
        "train_seconds": 3.0 + trial.config.seed,
        "proxy_seconds": 0.5 if made else 0.0,
        "wall_seconds": 4.0,
        "peak_memory_mb": 900.0 + trial.number,
        "proxy_images": made,
        "flat_maps": 0,
        "split_digest": trial.split_digest,
        "image_digest": "x",
        "skipped_images": 0,
        "train_images": 32,
        "val_images": 8,
        "test_images": 16,
        "classes": CLASSES,
        "confusion": ((4, 0, 0, 0), (1, 3, 0, 0), (0, 0, 2, 2), (0, 0, 0, 4)),
        "calibration": ((0, 0.0, 0.0), (6, 0.4, 0.5), (10, 0.8, 0.7)),
    }


def write_sheet(
    folder: Path, *, rows=(("a.png", "dress", "trouser"), ("b.png", "t-shirt", "dress")), maps=None
) -> None:
    """Write the examples of a trial: rows of (image, true, predicted), with maps (E, 64, 64) and images of noise."""
    draws = torch.Generator().manual_seed(0)
    colours = torch.randint(256, (len(rows), 3, 64, 64), generator=draws, dtype=torch.uint8)
    maps = torch.rand(len(rows), 64, 64, generator=draws) if maps is None else maps
    ids = torch.arange(len(rows))
    drawn = sheet(Examples(ids=ids, true=ids, predicted=ids, originals=colours, maps=maps, proxies=colours // 2))
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(drawn.transpose(1, 2, 0))).save(out, format="PNG")
    (folder / "proxies.png").write_bytes(out.getvalue())
    shown = [dict(zip(("image", "true", "predicted"), row, strict=True)) for row in rows]
    write_json(folder / "proxies.json", {"epoch": 1, "padding": PADDING, "rows": shown})


def folders(run: Path) -> list[Path]:
    """List the folder of each planned trial, in the order of the plan."""
    return [RunFolder(run).trial(trial.trial_id).path for trial in RunFolder(run).read_plan().trials]
