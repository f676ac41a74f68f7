"""Formats a run as lines of text: its plan, its cost, and where its results lie; prints nothing."""

import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from proxy_attention.config import AUTO, LEAKING
from proxy_attention.data.catalogue import MAX_NAMED, named, others_line
from proxy_attention.data.splits import emptied_groups
from proxy_attention.data.white_level import FLAT_LEVELS
from proxy_attention.schedule import Schedule
from proxy_attention.shortcut import NO_SHORTCUT
from study.console import duration, shown
from study.foreign_text import sqlite_url
from study.planning.cost import RunCost
from study.planning.plan_check import changes_since
from study.planning.prepare import Prepared
from study.planning.work_left import WRONG_FRACTION
from study.provenance import ROOT
from study.run_folder import RunFolder

MOST_METHODS = 6
"""The most methods whose passes are listed one by one; of more methods the range is given."""


def plan_lines(prepared: Prepared, trials_done: int) -> list[Text]:
    """Format the plan: what will be run, on what, and what a person should know beforehand."""
    plan = prepared.plan
    head = shown(f" · {plan.search} · seeds {', '.join(map(str, plan.seeds))}")
    lines = [Text.assemble(shown(plan.name, "bold"), head)]
    if plan.question:
        lines.append(shown(plan.question, "italic"))
    rest = [
        _trials_line(prepared),
        _epochs_line(prepared),
        *_data_lines(prepared),
        *_model_lines(prepared),
        *_measured_lines(prepared),
        *_history_lines(prepared, trials_done),
        f"run          {shown_path(prepared.run.path)}",
    ]
    return lines + [shown(line) for line in rest]


def cost_lines(cost: RunCost | None) -> list[str]:
    """Format what the run will take, beyond what its plan says; return no line if no work is left."""
    if cost is None:
        return []
    work, speed = cost.work, cost.speed
    saved = work.nominal_epochs - work.epochs
    shared = f"{saved} of {work.nominal_epochs} epochs are shared; " if saved > 0 else ""
    steps = f"{'up to ' if work.may_skip else ''}{work.steps} proxy steps"
    trained, scored = 1 / speed.train_seconds, 1 / speed.pass_seconds
    rates = f"{trained:.0f} images/s trained, {scored:.0f} images/s scored and explained"
    more = ", ".join(f"{duration(cost.seconds(machines))} on {machines}" for machines in (2, 4, 8))
    return [
        f"sharing      {shared}{steps} need {work.scorings} passes over the training images",
        f"speed        {rates}, {cost.seconds_per_epoch:.1f} s an epoch, measured now",
        *_explanation_lines(cost),
        f"disk         about {cost.states_mb:.0f} MB of weights and shared states, {cost.images_mb:.0f} MB of images",
        f"wall time    {duration(cost.seconds())} on this machine; {more} like it",
    ]


def result_lines(run: RunFolder, search: str) -> list[str]:
    """Format where the results of a run lie, and the commands that show them."""
    analyse = shown_path(ROOT / "study" / "analyse.py")
    lines = [f"report       {shown_path(run.report_html)}"] if run.report_html.is_file() else []
    lines += [
        f"rows         {shown_path(run.results_csv)}",
        f"tables       python {analyse} {shlex.quote(shown_path(run.path))}",
        f"curves       tensorboard --logdir {shlex.quote(shown_path(run.trials))}",
    ]
    if search == "optuna":
        url = sqlite_url(Path(shown_path(run.optuna_db)))
        lines.append(f"search       optuna-dashboard {shlex.quote(url)}")
    return lines


def shown_path(path: Path) -> str:
    """Return the path, relative to the working directory if it lies below it; it never looks like an option."""
    text = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    return f"./{text}" if text.startswith("-") else text


def _trials_line(prepared: Prepared) -> str:
    plan = prepared.plan
    if plan.search == "grid":
        arms = Counter(trial.arm for trial in plan.trials)
        what = " + ".join(f"{count} {arm}" for arm, count in arms.items())
    else:
        what = f"{plan.suggestions} on seed {plan.seeds[0]}"
        if len(plan.seeds) > 1:
            what += f", then the best {plan.confirm}, the baseline and the arms on the others"
    return f"trials       {prepared.trial_count}: {what}"


def _epochs_line(prepared: Prepared) -> str:
    cost, resources = prepared.cost, prepared.resources
    each = prepared.example.planned.total_epochs  # every schedule of a study has the same total
    left = f"{cost.work.epochs} to train, about {duration(cost.seconds())}" if cost else "0 to train"
    gpu = f" and {resources.gpus:g} GPU" if resources.gpus else ""
    return (
        f"epochs       {prepared.trial_count * each} ({each} a trial), {left}; "
        f"{resources.concurrency} at once on {resources.cpus} CPU{'s' * (resources.cpus != 1)}{gpu} each"
    )


def _data_lines(prepared: Prepared) -> Iterator[str]:
    example = prepared.example
    train, val = prepared.planner.data.train_and_val_images(example)
    data = prepared.planner.data.inspection(example)
    tested = f"{data.own_test} test (its own)" if data.own_test else f"{example.test_fraction:.0%} test"
    own = " (its own)" if prepared.planner.data.catalogue(example).own_val else ""
    yield f"data         {example.dataset}: {len(data.classes)} classes, {train} train, {val} val{own}, {tested}"
    yield f"classes      {named(list(data.classes))}"
    yield from _group_lines(prepared)
    if others := prepared.planner.data.catalogue(example).others:
        yield f"other files  {others_line(others)}"
    yield from _white_lines(prepared)
    if data.skipped:
        names = ", ".join(data.skipped[:MAX_NAMED]) + (", …" if len(data.skipped) > MAX_NAMED else "")
        yield f"left out     {len(data.skipped)} unreadable (all in plan.json): {names}"
    leaking = sorted({trial.config.split for trial in prepared.plan.trials} & LEAKING)
    if leaking:
        yield f"LEAKING      split = {', '.join(leaking)} trains on validation images: an audit, not a result"


def _group_lines(prepared: Prepared) -> Iterator[str]:
    """Format the groups of the images, which part of the split has none of a group, and what is planted into them."""
    planted = sorted({trial.config.shortcut for trial in prepared.plan.trials} - {NO_SHORTCUT})
    if planted:
        yield f"shortcut     {named(planted)} (their groups: aligned, conflicting, without)"
    groups = prepared.planner.data.groups(prepared.example)
    if groups is not None and prepared.example.shortcut == NO_SHORTCUT:
        lost = emptied_groups(groups, prepared.planner.data.split(prepared.example))
        yield f"groups       {named(list(groups.names))}" + (f" ({lost})" if lost else "")


def _white_lines(prepared: Prepared) -> Iterator[str]:
    """Format which value is white in images whose pixels are not 8 bits, and which of them come out flat."""
    found, given = prepared.planner.data.white_levels, prepared.example.white_level
    if not found and given != AUTO:
        yield f"white        {given:g} in images of 16 or 32 bits or floats, as given (white_level)"
    for white in found:
        whole = f"over all {white.images} images of 16 or 32 bits or floats, which reach {white.highest:g}"
        yield f"white        {white}, found {whole} (white_level sets another)"
        if white.flat:
            names = ", ".join(white.flat[:MAX_NAMED]) + (", …" if len(white.flat) > MAX_NAMED else "")
            yield f"flat         {len(white.flat)} of them come out in fewer than {FLAT_LEVELS} grey levels: {names}"


def _model_lines(prepared: Prepared) -> Iterator[str]:
    models, trials = prepared.planner.models, prepared.plan.trials
    for text in dict.fromkeys(f"{model} at {size} px: {note}" for (model, size, *_), note in models.notes.items()):
        yield f"model        {text}"  # one line, whatever the weights are
    for schedule, patience in sorted({(trial.config.schedule, trial.config.patience) for trial in trials}):
        if Schedule.parse(schedule).never_stalls(patience):
            yield f"never        p? of {schedule}: with patience = {patience} no epoch is left to compare with"
    for model, methods in models.equal_methods:
        named = ", ".join(methods)
        yield f"the same     {named} are one method under {model}'s linear head: their rows will be equal"


def _measured_lines(prepared: Prepared) -> Iterator[str]:
    for name, value in prepared.plan.measured.items():
        if name != "batch_size":
            yield f"measured     {name}: {value}"
    if prepared.batch_size is not None:
        yield f"batch size   {prepared.batch_size.size}, {prepared.batch_size.reason}"


def _history_lines(prepared: Prepared, trials_done: int) -> Iterator[str]:
    if prepared.run.has_plan:
        for change in changes_since(prepared.run.read_plan(), prepared.plan):
            yield f"changed      since the plan was made: {change}"
    for step in prepared.plan.extensions:
        yield f"extended     {step}"
    if trials_done:
        yield f"done before  {trials_done} of {prepared.trial_count} trials"


def _explanation_lines(cost: RunCost) -> Iterator[str]:
    """Format the passes of methods that make their maps in passes of their own, not in the scoring pass."""
    costs = dict.fromkeys((each.saliency, each.passes) for each in cost.work.explanations)
    if not costs:
        return
    methods = ", ".join(f"{name} takes {passes} pass{'es' * (passes != 1)} an image" for name, passes in costs)
    if len(costs) > MOST_METHODS:
        fewest, most = min(passes for _, passes in costs), max(passes for _, passes in costs)
        methods = f"{len(costs)} methods take {fewest} to {most} passes an image"
    total = duration(cost.explanation_seconds)
    yield f"explaining   {methods}: about {total} in all, at {WRONG_FRACTION:.0%} wrong"
