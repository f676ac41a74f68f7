"""The classifier of a complete trial, loaded from the trial's own files; classifies nothing."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from proxy_attention.config import TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.models.build import untrained
from proxy_attention.models.classifier import Classifier
from proxy_attention.models.weights import not_finite
from study.inference.selection import SelectedTrial
from study.run_folder import DAMAGED, RunFolder


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A classifier as its trial left it, in eval mode.

    Attributes:
        name: the trial's name for people, from its ``SelectedTrial``.
        classes: in the order of the logits.
        precision: a key of ``PRECISIONS``; the trial's own where the device has it.
        data_root: where the training images lay, if that was given.
    """

    name: str
    arm: str
    config: TrialConfig
    classes: tuple[str, ...]
    classifier: Classifier
    precision: str
    data_root: Path | None = None


def load_model(trial: SelectedTrial, device: torch.device) -> TrainedModel:
    """Load the classifier of a complete trial onto the device.

    Raises: ConfigError if the trial's report or weights are missing, damaged, or of another model.
    """
    config, run = trial.planned.config, RunFolder(trial.run)
    folder = run.trial(trial.planned.trial_id)
    status, damage = folder.status()
    if status == DAMAGED:
        raise ConfigError(f"{trial.name} is damaged: {damage}")
    report = folder.report() or {}
    try:
        classes = tuple(str(name) for name in report["classes"])
        # A setting that was suggested twice was trained once: its second trial has no weights of its own.
        trained = run.trial(Path(str(report.get("same_as", trial.planned.trial_id))).name)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"report.json of {trial.name} is damaged: it names no classes") from error
    status, damage = trained.status()
    if status == DAMAGED:
        raise ConfigError(f"{trial.name} is a copy of {trained.trial_id}, which is damaged: {damage}")
    classifier = untrained(  # the architecture does not depend on where its first weights came from
        config.model, classes=len(classes), image_size=config.image_size, weights=config.weights, seed=config.seed
    )
    _load_weights(classifier, trained.weights_file, trial.name)
    classifier.to(device).module.eval()
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True  # as in its trial
    fp16_on_cpu = config.precision == "fp16" and device.type == "cpu"
    precision = "fp32" if fp16_on_cpu else config.precision
    root = run.read_plan().options.get("data_root") if run.has_plan else None
    data_root = Path(root) if root else None
    return TrainedModel(trial.name, trial.planned.arm, config, classes, classifier, precision, data_root)


def _load_weights(classifier: Classifier, file: Path, name: str) -> None:
    """Put the weights of a file into the classifier; ``name`` is the trial's, for errors.

    Raises: ConfigError if the file is missing or damaged, fits another model, or holds a number that is not finite.
    """
    if not file.is_file():
        raise ConfigError(f"{name} is complete, but its weights are missing: there is no {str(file)!r}")
    try:
        classifier.module.load_state_dict(load_file(file))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"the weights of {name} are damaged or of another model: {str(file)!r}: {reason}") from error
    if broken := not_finite(classifier.module):
        raise ConfigError(f"the weights of {name} are not finite: {broken[0]} in {str(file)!r}")
