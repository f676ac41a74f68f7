"""Judge the positive control: does this version see effects that are planted, and none where none is? Trains nothing.

The rule was written down before the control was run: where what misled the model is right at test, the map beats
chance; where it is a shortcut, chance beats the map; where nothing is planted, and of the inverse of the map, no
difference leaves the margin. Every judgement is of the 95 % interval, not of the mean.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from proxy_attention.errors import ConfigError
from proxy_attention.files import write_json
from study.analysis.estimates import Estimate
from study.analysis.findings import Findings
from study.file_formats import CONTROL, read

VERDICT_FILE = Path(__file__).parents[1] / "positive_control.json"
"""The judgement that ships with this version."""
MARGIN = 2.0
"""Points of test accuracy: an interval within plus and minus this shows no difference that matters."""
DATA_SETS = ("planted-swapped", "planted-decoy", "planted-none")
COMMAND = "python experiments/positive-control/run.py"
PLACE = "experiments/positive-control"
ABOVE, BELOW, WITHIN = "above 0", "below 0", f"within {MARGIN:g} points of 0"


@dataclass(frozen=True)
class Expected:
    """A difference that is known beforehand: the claim on a planted set, and where its 95 % interval must lie."""

    dataset: str
    claim: str
    interval: str


RULE = (
    Expected("planted-swapped", "saliency - random-mask", ABOVE),
    Expected("planted-decoy", "saliency - random-mask", BELOW),
    Expected("planted-none", "saliency - random-mask", WITHIN),
    Expected("planted-swapped", "inverse - baseline", WITHIN),
)


@dataclass(frozen=True)
class Measured:
    """A difference of the control as it was measured, in points of test accuracy over ``n`` seeds.

    Attributes:
        low, high: 95 % confidence interval (Student's t).
        expected: where the interval must lie.
        met: whether it does.
    """

    dataset: str
    claim: str
    n: int
    mean: float
    low: float
    high: float
    expected: str
    met: bool

    def __str__(self) -> str:
        return f"{self.dataset} {self.claim} {self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True)
class Control:
    """The judgement of a version: what was measured, of which commit, when."""

    version: str
    commit: str
    created: str
    measured: tuple[Measured, ...]

    @property
    def passed(self) -> bool:
        """Whether every difference lies where it must."""
        return len(self.measured) == len(RULE) and all(one.met for one in self.measured)


def this_version() -> str:
    """Return the version of the installed project."""
    return version("proxy-attention")


def measure(findings: Mapping[str, Findings]) -> tuple[Measured, ...]:
    """Judge the differences of ``RULE`` on the planted sets that were run.

    Args:
        findings: of the complete control of a planted set, by its name.
    Raises: ConfigError if a difference was not measured, or on fewer than two seeds.
    """
    return tuple(_measure(findings[rule.dataset], rule) for rule in RULE if rule.dataset in findings)


def _measure(findings: Findings, rule: Expected) -> Measured:
    test = next((claim.test for claim in findings.claims if claim.text == rule.claim), None)
    if test is None or math.isnan(test.low):
        raise ConfigError(f"the control on {rule.dataset} must measure {rule.claim} on two seeds or more; it did not")
    return Measured(
        dataset=rule.dataset,
        claim=rule.claim,
        n=test.n,
        mean=round(test.mean, 6),
        low=round(test.low, 6),
        high=round(test.high, 6),
        expected=rule.interval,
        met=lies(test, rule.interval),
    )


def lies(test: Estimate, where: str) -> bool:
    """Whether the 95 % interval of an estimate lies above 0, below 0, or within the margin."""
    if where == ABOVE:
        return test.low > 0
    return test.high < 0 if where == BELOW else test.low >= -MARGIN and test.high <= MARGIN


def write_control(control: Control, file: Path = VERDICT_FILE) -> None:
    """Write the judgement that ships with this version."""
    write_json(file, asdict(control))


def read_control(file: Path = VERDICT_FILE) -> Control | None:
    """Read the judgement that ships with the project; return None if there is none, or it is damaged."""
    values = read(file, CONTROL)
    if values is None:
        return None
    measured = tuple(Measured(**one) for one in values["measured"])
    return Control(values["version"], values["commit"], values["created"], measured)


def control_line(findings: Findings) -> str:
    """Say in one line whether this version's positive control passed, and where to see it; empty for the control's own.

    A null means little while the instrument has not been seen to detect.
    """
    asked_of = set(findings.rows["dataset"].dropna())
    return "" if asked_of and asked_of <= set(DATA_SETS) else line_of(read_control(), this_version())


def line_of(control: Control | None, of_version: str) -> str:
    """Say in one line how the control of this version ended; of another version's, that this one has none."""
    if control is None or control.version != of_version:
        return f"positive control: version {of_version} has none, so that a null says little; {COMMAND} runs it"
    verdict = "passed" if control.passed else "FAILED"
    seeds = min(one.n for one in control.measured)
    figures = "; ".join(map(str, control.measured))
    code = f" (commit {control.commit})" if control.commit else ""
    return f"positive control of version {of_version}{code}: {verdict} on {seeds} seeds ({figures}); see {PLACE}"
