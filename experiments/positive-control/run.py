"""Command line: run the positive control of this version, judge it by the rule, and publish what it shows.

python experiments/positive-control/run.py           three planted sets, ten seeds: publishes, and ships the judgement
python experiments/positive-control/run.py --check   three seeds of planted-swapped, the map against chance alone

Exit code: 0 passed, 1 not passed, else that of the study that did not end.
"""

import argparse
import subprocess
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import tomli_w

from study.analysis.control import (
    ABOVE,
    COMMAND,
    DATA_SETS,
    PLACE,
    RULE,
    VERDICT_FILE,
    Control,
    Measured,
    lies,
    line_of,
    measure,
    this_version,
    write_control,
)
from study.analysis.estimates import Estimate
from study.analysis.findings import Findings
from study.provenance import commit
from study.reporting.control_figure import control_figure
from study.reporting.publish import publish

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
CHECKED_SEEDS = "0,1,2"
CHECKED_ARMS = ("random-mask",)


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for; return the exit code."""
    asked = _parser().parse_args(arguments)
    return _check(asked.storage) if asked.check else _control(asked.storage)


def _check(storage: Path) -> int:
    """Run three seeds of planted-swapped: does the map beat chance? Publishes nothing."""
    study = tomllib.loads((FOLDER / "swapped" / "study.toml").read_text(encoding="utf-8"))
    study["arm"] = [arm for arm in study["arm"] if arm["name"] in CHECKED_ARMS]
    asked = storage / "check" / "study.toml"
    asked.parent.mkdir(parents=True, exist_ok=True)
    asked.write_text(tomli_w.dumps(study), encoding="utf-8")
    code = _run(asked, "swapped-check", storage, "--seeds", CHECKED_SEEDS)
    if code:
        return code
    findings = Findings.of(storage / "swapped-check" / "grid")
    test = next(claim.test for claim in findings.claims if claim.text == RULE[0].claim)
    passed = lies(test, ABOVE)
    print(f"{RULE[0].claim} on {len(test.values)} seeds: {test.mean:+.1f} [{test.low:+.1f}, {test.high:+.1f}] points")
    print(f"positive control, check: {'passed' if passed else 'FAILED'} (the interval must lie {ABOVE})")
    return 0 if passed else 1


def _control(storage: Path) -> int:
    """Run all three sets, publish their rows and reports, and write the judgement that ships."""
    found: dict[str, Findings] = {}
    for dataset in DATA_SETS:
        name = dataset.removeprefix("planted-")
        code = _run(FOLDER / name / "study.toml", name, storage)
        if code:
            return code
        found[dataset] = Findings.of(storage / name / "grid")
    control = Control(this_version(), commit(), datetime.now(UTC).isoformat(timespec="seconds"), measure(found))
    for findings in found.values():
        publish(findings)
    if storage == FOLDER:
        write_control(control, VERDICT_FILE)
    (storage / "control.svg").write_bytes(control_figure(found))
    (storage / "README.md").write_text(_readme(control, found), encoding="utf-8")
    print(line_of(control, control.version))
    return 0 if control.passed else 1


def _run(study: Path, name: str, storage: Path, *options: str) -> int:
    """Run one study, or finish it; return its exit code."""
    command = [sys.executable, str(ROOT / "study" / "run.py"), "--search", "grid", "--experiment", str(study)]
    return subprocess.run(
        [*command, "--name", name, "--storage", str(storage), *options, "--no-dashboard"], check=False
    ).returncode


def _readme(control: Control, found: dict[str, Findings]) -> str:
    """Write what the control shows: the rule, what was measured, and every difference with its interval."""
    yes_no = {True: "yes", False: "**no**"}
    rows = [
        f"| {one.dataset} | {one.claim} | {one.n} | {_figures(one)} | {one.expected} | {yes_no[one.met]} |"
        for one in control.measured
    ]
    others = [
        f"| {dataset} | {claim.text} | {claim.test.n} | {_figures(claim.test)} |"
        for dataset, findings in found.items()
        for claim in findings.claims
    ]
    lines = [
        f"# Positive control of version {control.version}: {'passed' if control.passed else 'FAILED'}",
        "",
        f"`{COMMAND}` runs it again. Written by the program: do not edit.",
        f"Commit {control.commit or 'unknown'}, {control.created[:10]}.",
        "",
        "Turning down what misled a model takes away the evidence against it: that helps where what misled it is valid",
        "at test, and harms where it is a shortcut. The rule was written down before the control was run; the 95 %",
        "interval (Student's t, paired by seed) of each difference in test accuracy must lie where it says.",
        "",
        "![What the control measured](control.svg)",
        "",
        "| data set | difference | seeds | points [95 %] | must lie | does |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "Every other difference of the three studies, judged by no rule:",
        "",
        "| data set | difference | seeds | points [95 %] |",
        "|---|---|---|---|",
        *others,
        "",
    ]
    return "\n".join(lines)


def _figures(one: Measured | Estimate) -> str:
    return f"{one.mean:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run the positive control of this version: are planted effects seen, and none where none is?",
        epilog=f"exit code: 0 passed, 1 not passed, else that of a study that did not end; results go to {PLACE}",
    )
    parser.add_argument("--check", action="store_true", help="three seeds of planted-swapped, minutes; for CI")
    parser.add_argument("--storage", type=Path, default=FOLDER, metavar="DIR", help="where runs go (default: here)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
