"""Extends a plan: keeps every trial that it holds, and adds what is new; writes and trains nothing."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from proxy_attention.config import fields_with
from proxy_attention.config_fields import Role
from proxy_attention.errors import ConfigError
from study.plan import BASELINE, PROXY, Extension, Plan, PlannedTrial
from study.planning.fingerprint import fingerprint as plan_fingerprint
from study.planning.study_spec import Study


def with_kept_names(
    trials: Iterable[PlannedTrial], kept: Sequence[PlannedTrial], *, above: Sequence[PlannedTrial] = ()
) -> tuple[PlannedTrial, ...]:
    """Give trials the names of those among ``kept`` that are the same; number the others from there on.

    Args:
        above: further trials, whose numbers are taken.
    """
    names: dict[tuple[str, ...], list[str]] = {}
    for trial in sorted(kept, key=lambda trial: trial.number):  # random draws may hold a setting twice
        names.setdefault(trial.content, []).append(trial.trial_id)
    number = max((trial.number for trial in (*kept, *above)), default=-1)
    named = []
    for trial in trials:
        if same := names.get(trial.content):
            name = same.pop(0)
        else:
            number += 1
            name = PlannedTrial.name(number, trial.arm, trial.config.seed, trial.config_digest)
        named.append(dataclasses.replace(trial, trial_id=name))
    return tuple(named)


@dataclass(frozen=True)
class Asked:
    """A plan, and what it was made of.

    Attributes:
        baseline: config_digest of the baseline of an optuna search; None for other searches.
    """

    plan: Plan
    study: Study
    baseline: str | None = None


def extended(kept: Asked, asked: Asked, *, trials: int, complete: int, text: str) -> Plan:
    """Return what is asked for as an extension of a kept plan, with the history of its extensions.

    Args:
        trials, complete: numbers of trials that the run of the kept plan holds, and that are complete.
        text: the study.toml of what is asked for.
    Raises: ConfigError if a trial of the kept plan would be lost or change.
    """
    if lost := what_is_lost(kept, asked):
        raise ConfigError(f"--extend must keep every trial of {kept.plan.name!r}: {lost}")
    added = tuple(_added(kept, asked))
    if not added:
        raise ConfigError(f"--extend must add to {kept.plan.name!r}; this study has its trials in another order")
    step = Extension(
        created=asked.plan.about["created"],
        command=asked.plan.about["command"],
        commit=asked.plan.about["commit"],
        fingerprint_before=kept.plan.fingerprint,
        study=text,
        added=added,
        seeds_before=len(kept.plan.seeds),
        trials_before=trials,
        complete_before=complete,
        suggestions_before=kept.plan.suggestions,
        confirmed=False,
    )
    return dataclasses.replace(asked.plan, extensions=(*kept.plan.extensions, step))


def extends(kept: Asked, asked: Asked) -> bool:
    """Whether what is asked for adds to a kept plan and keeps all of it."""
    return not what_is_lost(kept, asked) and any(_added(kept, asked))


def what_is_lost(kept: Asked, asked: Asked) -> str:
    """Say what of a kept plan would be lost or change; return an empty text if what is asked for can extend it."""
    if gone := [seed for seed in kept.plan.seeds if seed not in asked.plan.seeds]:
        return f"seed {gone[0]} is left out"
    return _lost_of_grid(kept.plan, asked.plan) if kept.plan.search == "grid" else _lost_of_search(kept, asked)


def _lost_of_grid(kept: Plan, plan: Plan) -> str:
    planned = {trial.content for trial in plan.trials}
    lost = [trial for trial in kept.trials if trial.content not in planned]
    if not lost:
        return ""
    if {trial.data_digest for trial in lost}.isdisjoint(trial.data_digest for trial in plan.trials):
        return "the images are others"
    arms = [
        f"arm {arm} is left out" for arm in dict.fromkeys(trial.arm for trial in lost) if not _of_arm(arm, plan.trials)
    ]
    words = arms or [_change(name, values, plan) for name, values in _values_beyond(lost, plan.trials)[:4]]
    return ", ".join(words) or f"{lost[0].trial_id} is no trial of this study"


def _change(name: str, values: str, plan: Plan) -> str:
    """Say what has become of values of a field that a plan lacks."""
    others = {str(getattr(trial.config, name)) for trial in plan.trials}
    return f"{name} was {values}, is {others.pop()}" if len(others) == 1 else f"{name} {values} is left out"


def _lost_of_search(kept: Asked, asked: Asked) -> str:
    """Say what of a search is lost: more suggestions, seeds, arms and confirmations may be added, nothing else."""
    before, now = kept.plan, asked.plan
    if before.seeds[0] != now.seeds[0]:
        return f"the settings were searched on seed {before.seeds[0]}, not {now.seeds[0]}"
    for option, was, given in (
        ("--trials", before.suggestions, now.suggestions),
        ("--confirm", before.confirm, now.confirm),
    ):
        if given < was:
            return f"{option} was {was}, is {given}"
    for table in ("fixed", "search"):
        values, others = getattr(kept.study, table), getattr(asked.study, table)
        if changed := [name for name in {**values, **others} if values.get(name) != others.get(name)]:
            return f"{changed[0]} in [{table}] is another (a search can have more trials, seeds and arms)"
    arms = {arm.name: arm.values for arm in asked.study.arms}
    if changed := [arm.name for arm in kept.study.arms if arms.get(arm.name) != arm.values]:
        return f"arm {changed[0]} is left out or another"
    again = plan_fingerprint(
        kept.study,
        before.search,
        now.trials[: before.suggestions],
        suggestions=before.suggestions,
        confirm=before.confirm,
        baseline=asked.baseline,
    )
    return "" if again == before.fingerprint else "its images, its judge or its code's rules are others"


def _added(kept: Asked, asked: Asked) -> Iterator[str]:
    """Say what is added: seeds, arms, values of fields, settings."""
    if seeds := [str(seed) for seed in asked.plan.seeds if seed not in kept.plan.seeds]:
        yield f"seed{'s' * (len(seeds) != 1)} {', '.join(seeds)}"
    had = {arm.name for arm in kept.study.arms}
    if arms := [arm.name for arm in asked.study.arms if arm.name not in had]:
        yield f"arm{'s' * (len(arms) != 1)} {', '.join(arms)}"
    if more := asked.plan.suggestions - kept.plan.suggestions:
        yield f"{more} setting{'s' * (more != 1)}"
    if more := asked.plan.confirm - kept.plan.confirm:
        yield f"{more} more of the best to confirm"
    if kept.plan.search == "grid":
        searched, before = (
            [trial for trial in each.plan.trials if trial.arm in (BASELINE, PROXY)] for each in (asked, kept)
        )
        values = _values_beyond(searched, before)
        yield from (f"{name} {new}" for name, new in values)
        more = len(asked.plan.trials) - len(kept.plan.trials)
        if more and not (seeds or arms or values):
            yield f"{more} trial{'s' * (more != 1)}"


def _values_beyond(trials: Sequence[PlannedTrial], others: Sequence[PlannedTrial]) -> list[tuple[str, str]]:
    """List the fields, and their values, that these trials have and none of the others."""
    found = []
    for name in trials[0].config.as_dict() if trials else ():
        known = {getattr(trial.config, name) for trial in others}
        new = dict.fromkeys(str(value) for trial in trials if (value := getattr(trial.config, name)) not in known)
        if new and name not in fields_with(Role.REPEAT):
            found.append((name, ", ".join(new)))
    return found


def _of_arm(arm: str, trials: Sequence[PlannedTrial]) -> bool:
    return any(trial.arm == arm for trial in trials)
