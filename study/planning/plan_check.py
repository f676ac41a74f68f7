"""Keeps one plan per run folder: writes the first, refuses another, lists what has changed since; trains nothing."""

import dataclasses
from collections import Counter
from pathlib import Path

from proxy_attention.errors import ConfigError
from proxy_attention.files import read_regular, write_text
from study.plan import Plan
from study.run_folder import RunFolder


def settle_plan(run: Path, plan: Plan, study_text: str) -> Plan:
    """Return the plan to follow: the folder's own, which must have the same fingerprint, unless this plan extends it.

    A plan is written where there is none, and where it extends the folder's.

    Raises: ConfigError if the folder holds another plan.
    """
    check_plan(run, plan)
    folder = RunFolder(run)
    kept = folder.read_plan() if folder.has_plan else None
    try:
        if kept is None:
            write_text(folder.study_file, study_text)  # first, because a plan alone cannot be restored
            folder.write_plan(plan)
            return plan
        if kept.fingerprint != plan.fingerprint:
            kept = dataclasses.replace(plan, about=kept.about, confirmed=kept.confirmed)
            folder.write_plan(kept)
        if kept.extensions and text_of(folder.study_file) != kept.extensions[-1].study:
            write_text(folder.study_file, kept.extensions[-1].study)  # an extension may have ended between the files
        return kept
    except OSError as error:
        raise ConfigError(f"--storage must have room and be writable; got {str(run)!r}: {error.strerror}") from error


def text_of(file: Path) -> str:
    """Read a text; return an empty one if there is none."""
    try:
        return read_regular(file).decode(errors="replace")
    except OSError:
        return ""


def check_plan(run: Path, plan: Plan, *, hint: str = "") -> None:
    """Check that the folder holds no other plan, or one that this plan extends, without writing anything.

    Args:
        hint: what can be done where it holds another plan, for the end of the message.
    Raises: ConfigError if it does, or if it holds trials whose plan is gone.
    """
    folder = RunFolder(run)
    if not folder.has_plan:
        planned = {trial.trial_id for trial in plan.trials}
        orphans = [trial.trial_id for trial in folder.trial_folders() if trial.trial_id not in planned]
        if orphans:  # this plan's own trials are resumed: their names contain their digests
            raise ConfigError(
                f"{str(run)!r} must hold the plan.json of its trials; it is gone, and this plan does not know "
                f"{orphans[0]} (take another --name)"
            )
        return
    kept = folder.read_plan()
    if kept.fingerprint == plan.fingerprint and Counter(trial.content for trial in kept.trials) != Counter(
        trial.content for trial in plan.trials
    ):
        raise ConfigError(
            f"{folder.plan_file} must be a plan that this project wrote; its trials are not those of its fingerprint"
        )
    if kept.fingerprint != plan.fingerprint and not plan.extends(kept):
        raise ConfigError(
            f"--name must be new for another plan: {kept.name!r} already holds a {kept.search} of {_size(kept)} made "
            f"{kept.about.get('created', 'earlier')}; this one has {_size(plan)}{_difference(kept, plan)}{hint}"
        )


def changes_since(kept: Plan, now: Plan) -> list[str]:
    """List what has changed since the plan was made and may change numbers, one line each."""
    found = []
    for what in ("folder", "commit", "machine", "device", "python"):
        before, here = kept.about.get(what, ""), now.about.get(what, "")
        if before != here:
            found.append(f"{what} was {before or 'unknown'}, is {here or 'unknown'}")
    before, here = (str(plan.about.get("code", ""))[:12] for plan in (kept, now))
    if before and before != here:  # a plan of an earlier version does not say
        found.append(f"the source code was {before}, is {here} (SHA-256 of both packages)")
    before, here = kept.about.get("versions", {}), now.about.get("versions", {})
    found += [
        f"{name} was {before.get(name, 'unknown')}, is {here[name]}" for name in here if here[name] != before.get(name)
    ]
    return found


def _size(plan: Plan) -> str:
    count = plan.suggestions or len(plan.trials)
    return f"{count} {'suggestions' if plan.suggestions else 'trials'} on seeds {', '.join(map(str, plan.seeds))}"


def _difference(kept: Plan, plan: Plan) -> str:
    """Name the first fields in which the two plans' trials differ."""
    if not kept.trials or not plan.trials:
        return ""
    data = {trial.data_digest for trial in kept.trials} != {trial.data_digest for trial in plan.trials}
    changed = []
    for name in plan.trials[0].config.as_dict():
        before, now = ({getattr(trial.config, name) for trial in each.trials} for each in (kept, plan))
        if before != now:
            changed.append(name)
    words = [*(["other images"] if data else []), *changed[:4]]
    return f"; they differ in {', '.join(words)}" if words else ""
