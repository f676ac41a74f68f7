"""The part of a trial that changes: training, training set, records, recipes; how they are saved and restored."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from proxy_attention.checkpoints import snapshot
from proxy_attention.config import TrialConfig
from proxy_attention.data.images import ImageSet
from proxy_attention.data.shortcuts import with_shortcut
from proxy_attention.data.splits import split_of
from proxy_attention.data.training_set import TrainingSet
from proxy_attention.evaluation import Evaluation
from proxy_attention.group_metrics import error_set_metrics
from proxy_attention.memory import peak_mb
from proxy_attention.proxies.step import ProxyStep, Recipe, apply_recipe
from proxy_attention.records import EpochRecord, as_json
from proxy_attention.schedule import PlannedEpoch, has_stalled
from proxy_attention.training import EpochTotals
from proxy_attention.trial_setup import TrialSetup

FORMAT = 3
"""Version of a saved state; a state of another version is ignored."""


class TrialState:
    """The state of a trial; only the loop in ``trial.py`` changes it.

    Attributes:
        training: model, optimizer and learning-rate schedule.
        training_set: the images of the next epoch, with the proxies in use.
        records: one per epoch.
        recipes: one per proxy step that was not skipped; its proxies can be made again from it.
    """

    def __init__(self, trial: TrialSetup) -> None:
        self._trial = trial
        self.training = trial.new_training()
        self.training_set = trial.originals()
        self.records: list[EpochRecord] = []
        self.recipes: list[Recipe] = []

    @property
    def epochs_done(self) -> int:
        """The number of epochs that were trained and evaluated, by this trial or by another."""
        return len(self.records)

    @property
    def has_stalled(self) -> bool:
        """Whether val accuracy has stalled, so that a ``p?`` step is taken."""
        accuracies = [record.val_accuracy for record in self.records]
        return has_stalled(accuracies, patience=self._trial.config.patience)

    def begin_item(self, item: int) -> None:
        """Set the training images of this item of the schedule; they change only under ``split = redrawn``."""
        if self._trial.config.split == "redrawn":
            self.training_set = self.training_set.with_train(self._trial.split_at(item).train)

    # ---- records

    def record_epoch(self, epoch: PlannedEpoch, totals: EpochTotals, val: Evaluation, *, eval_seconds: float) -> None:
        """Record an epoch that was trained and evaluated; a proxy step may still follow."""
        self.records.append(
            EpochRecord(
                epoch=epoch.index,
                item=epoch.item,
                proxy_step=False,
                lr=totals.lr,
                train_images=len(self.training_set),
                train_loss=float(totals.losses.mean()),
                train_accuracy=100 * float(totals.correct.mean()),
                val_loss=val.loss,
                val_accuracy=val.accuracy,
                wrong_images=0,
                made_images=0,
                flat_maps=0,
                proxy_images=len(self.training_set.active_ids),
                train_seconds=totals.seconds,
                proxy_seconds=0.0,
                eval_seconds=eval_seconds,
                peak_memory_mb=self._peak_mb(),
            )
        )

    def skip_step(self) -> None:
        """Record that the last epoch's proxy step was skipped; the proxies in use stay."""
        self._amend(step_skipped=True)

    def apply(self, step: ProxyStep) -> None:
        """Use the proxies of a step from now on, keep its recipe, and add the step to the last epoch's record.

        Under ``restart`` the epochs that are left, if there are any, train a fresh network.
        """
        left = len(self._trial.epochs) - self.epochs_done
        if self._trial.config.restart and left:
            self.training = self._trial.new_training(epochs=left)
        groups, train = self._trial.images.groups, self.training_set.train
        precision, recall = error_set_metrics(groups, wrong=step.wrong_ids, train=train)
        self.training_set = step.training_set
        self.recipes.append(step.recipe)
        self._amend(
            proxy_step=True,
            step_subset=float(self._trial.config.subset_at(step.recipe.step)),
            wrong_images=step.wrong,
            made_images=step.made,
            flat_maps=step.flat,
            proxy_images=len(self.training_set.active_ids),
            proxy_seconds=step.seconds,
            error_set_precision=precision,
            error_set_recall=recall,
            peak_memory_mb=self._peak_mb(),
        )

    def _amend(self, **changes: Any) -> None:
        """Change these fields of the last epoch's record."""
        self.records[-1] = dataclasses.replace(self.records[-1], **changes)

    def _peak_mb(self) -> float:
        """Return the peak memory of the trial so far, in MiB."""
        return max([peak_mb(self._trial.device), *(record.peak_memory_mb for record in self.records[-1:])])

    # ---- saved states

    def snapshot(self, totals: EpochTotals | None = None) -> dict[str, Any]:
        """Copy everything that the rest of the trial depends on, so that training can go on while it is written.

        Args:
            totals: of the last epoch; a trial that takes the state over needs them for the epoch's proxy step.
        """
        saved = {
            "format": FORMAT,
            "training": snapshot(self.training.state_dict()),
            "recipes": [vars(recipe) for recipe in self.recipes],
            "records": json.dumps([as_json(record) for record in self.records]),
        }
        return saved if totals is None else {**saved, "totals": snapshot(dataclasses.asdict(totals))}

    def restore(self, saved: dict[str, Any]) -> None:
        """Replace this state by one that ``snapshot`` returned."""
        self.training.load_state_dict(saved["training"])
        self.records = [EpochRecord(**record) for record in json.loads(saved["records"])]
        self.recipes = [Recipe(**recipe) for recipe in saved["recipes"]]
        self.training_set = with_recipes(self.training_set, self.recipes, self._trial)

    def take_over(self, shared: dict[str, Any]) -> EpochTotals:
        """Replace this state by one that another trial has trained, and return the totals of its last epoch.

        Records of epochs that this trial has done stay; the other trial's get the item numbers of this schedule.
        """
        own = self.records
        self.restore(shared)
        self.records[: len(own)] = own
        epochs = self._trial.epochs
        self.records = [dataclasses.replace(r, item=epoch.item) for r, epoch in zip(self.records, epochs, strict=False)]
        return EpochTotals(**shared["totals"])


def with_recipes(training_set: TrainingSet, recipes: Sequence[Recipe], trial: TrialSetup) -> TrainingSet:
    """Return the training set with the proxies that are in use after the steps of these recipes."""
    config = trial.config
    independent = config.clear_every_step and not config.compound  # then only the last step's proxies are in use
    training_set = training_set.with_proxies(training_set.proxies.emptied())  # the first recipe applies to originals
    for recipe in recipes[-1:] if independent else recipes:
        training_set = apply_recipe(recipe, _at_step(recipe, training_set, trial), config).training_set
    return training_set


def _at_step(recipe: Recipe, training_set: TrainingSet, trial: TrialSetup) -> TrainingSet:
    """Return the training set with the images of a step; they differ from step to step under ``split = redrawn``."""
    if trial.config.split != "redrawn":
        return training_set
    item = trial.config.planned.steps[recipe.step].item
    return training_set.with_train(trial.split_at(item).train)


def replay_steps(config: TrialConfig, images: ImageSet, recipes: list[Recipe]) -> Iterator[ProxyStep]:
    """Yield the proxy steps of a complete trial again, made from its recipes; the proxies are the same, bit for bit.

    Args:
        images: the whole data set, on the CPU.
        recipes: what ``trial_store.read_recipes`` returns.
    """
    split = split_of(images, config)
    images = with_shortcut(images, split, config)
    trial = TrialSetup(config, images, torch.device("cpu"), weights=None, split=split)  # needs no model
    originals = trial.originals()
    for number, recipe in enumerate(recipes):
        before = with_recipes(originals, recipes[:number], trial)
        yield apply_recipe(recipe, _at_step(recipe, before, trial), config)
