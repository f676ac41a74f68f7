"""A run as a value: what was asked for, and every trial; reads and writes no file."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from proxy_attention.config import TrialConfig

BASELINE, PROXY = "baseline", "proxy"
SEARCHES = ("grid", "optuna", "random")


@dataclass(frozen=True)
class PlannedTrial:
    """One trial: its name, its config, and the digests of the config, the data and the split."""

    trial_id: str
    arm: str
    config: TrialConfig
    config_digest: str
    data_digest: str
    split_digest: str

    @staticmethod
    def name(number: int, arm: str, seed: int, config_digest: str) -> str:
        """Return the trial_id of a trial."""
        return f"{number:04d}-{arm}-seed{seed}-{config_digest[:8]}"

    @property
    def content(self) -> tuple[str, ...]:
        """Everything that decides the trial's results, and the arm that it counts for."""
        return self.arm, self.config_digest, self.data_digest, self.split_digest

    @property
    def number(self) -> int:
        """The number of the trial in its run, with which its trial_id begins."""
        return int(self.trial_id.split("-", 1)[0])

    def contradiction(self) -> str:
        """Say how the trial contradicts itself; return an empty text if it does not."""
        config, digest = self.config, self.config_digest
        if self.trial_id != self.name(self.number, self.arm, config.seed, digest):
            return "its name is not that of its arm, seed and config_digest"
        # the content of a weights file is not in the plan
        if config.weights in ("none", "imagenet") and config.digest(data=self.data_digest, weights=None) != digest:
            return "its config is not that of its config_digest"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written to plan.json and to the trial's own trial.json."""
        return {**dataclasses.asdict(self), "config": self.config.as_dict()}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "PlannedTrial":
        """Build a trial from the values of ``as_dict``."""
        return cls(**{**values, "config": TrialConfig.of(values["config"])})


@dataclass(frozen=True)
class Extension:
    """An extension of a plan by further trials, under the name that it had.

    Attributes:
        created, command, commit: when, how and by which code it was extended.
        fingerprint_before: of the plan that was extended.
        study: text of the study.toml since then; plan.json holds it, so that both change at once.
        added: what was added, in words, such as ``seeds 2, 3``.
        seeds_before, trials_before, complete_before, suggestions_before: numbers before the extension: of seeds, of
            known trials, of complete trials, of settings tried on the first seed.
        confirmed: whether the best settings were chosen again since (optuna and random).
    """

    created: str
    command: str
    commit: str
    fingerprint_before: str
    study: str
    added: tuple[str, ...]
    seeds_before: int
    trials_before: int
    complete_before: int
    suggestions_before: int
    confirmed: bool

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Extension":
        """Build an extension from the values that plan.json holds."""
        return cls(**{**values, "added": tuple(values["added"])})

    def __str__(self) -> str:
        seeds = f"{self.seeds_before} seed{'s' * (self.seeds_before != 1)}"
        done = f"{self.complete_before} of {self.trials_before} trials complete"
        return f"{self.created[:10]}, after {seeds}, {done}: by {'; '.join(self.added)}"


@dataclass(frozen=True)
class Plan:
    """A run: what was asked for, and every trial that is known in advance.

    Attributes:
        search: grid, optuna or random.
        trials: of a grid, all trials; of random, those on the first seed; of optuna, none: they are suggested later.
        confirmed: trials on the other seeds, once the best settings are known (optuna and random).
        suggestions: how many settings are tried on the first seed (optuna and random).
        confirm: how many of the best settings are confirmed on the other seeds.
        measured: the measured values that replace ``auto``, by name.
        options: data root and resources as they were asked for; a restore needs them.
        fingerprint: digest of everything that was asked for; two plans with the same fingerprint are the same plan.
        about: when, where and with what the run was made; not part of the fingerprint.
        extensions: how the plan was extended, in order.
    """

    search: str
    name: str
    question: str
    seeds: tuple[int, ...]
    trials: tuple[PlannedTrial, ...]
    confirmed: tuple[PlannedTrial, ...]
    suggestions: int
    confirm: int
    measured: dict[str, Any]
    options: dict[str, Any]
    fingerprint: str
    about: dict[str, Any]
    extensions: tuple[Extension, ...] = ()

    @property
    def awaits_confirmation(self) -> bool:
        """Whether the best settings are still to be chosen and planned on the other seeds (optuna and random)."""
        return not self.confirmed or not all(step.confirmed for step in self.extensions)

    def extends(self, kept: "Plan") -> bool:
        """Whether this is that plan, extended once."""
        *before, last = self.extensions or (None,)
        return last is not None and last.fingerprint_before == kept.fingerprint and tuple(before) == kept.extensions

    @property
    def everything(self) -> tuple[PlannedTrial, ...]:
        """All trials of the plan: those of ``trials`` and then those of ``confirmed``."""
        return (*self.trials, *self.confirmed)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as they are written to plan.json."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for group in ("trials", "confirmed"):
            values[group] = [trial.as_dict() for trial in values[group]]
        del values["extensions"]
        if self.extensions:  # a plan that was never extended is read by earlier versions
            values["extensions"] = [dataclasses.asdict(step) for step in self.extensions]
        return values

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Plan":
        """Build a plan from the values of ``as_dict``."""
        groups = {group: tuple(map(PlannedTrial.of, values[group])) for group in ("trials", "confirmed")}
        steps = tuple(map(Extension.of, values.get("extensions", ())))
        return cls(**{**values, **groups, "seeds": tuple(values["seeds"]), "extensions": steps})
