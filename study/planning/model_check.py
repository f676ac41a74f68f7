"""Checks the models of a study: builds each, checks every saliency method against it, and tries a step of training."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from proxy_attention.config import AUTO, TrialConfig
from proxy_attention.data.training_set import batch_sizes
from proxy_attention.errors import ConfigError
from proxy_attention.explanation_metrics import judge_of
from proxy_attention.models.build import build_for, untrained
from proxy_attention.saliency.registry import METHODS, check_method, the_same
from proxy_attention.training import train_one_batch
from study.planning.study_data import StudyData

ModelKey: TypeAlias = tuple[str, int, str, str]
"""Model, image size, weights and feature layer."""


@dataclass(frozen=True)
class ModelReport:
    """What a model can be used for, as found when it was built.

    Attributes:
        note: the shape of its maps and what was adapted, for people.
        refusals: why a method cannot explain the model, by (method, eigen smoothing); None if it can.
        judge_refusals: why a method cannot judge the model, by method; None if it can.
        passes: forward passes per image, by method.
        equal_methods: groups of methods that give equal maps of the model.
    """

    note: str
    refusals: dict[tuple[str, bool], str | None]
    judge_refusals: dict[str, str | None]
    passes: dict[str, int]
    equal_methods: list[tuple[str, ...]]


def inspect_model(config: TrialConfig, classes: int, methods: Iterable[str]) -> ModelReport:
    """Build the config's model and find out which of these saliency methods can explain it.

    Raises: ConfigError if it cannot be built.
    """
    model = build_for(config, classes=classes)

    def refusal(saliency: str, eigen_smooth: bool = False, field: str = "saliency") -> str | None:
        try:
            check_method(saliency, model, name=config.model, eigen_smooth=eigen_smooth, field=field)
        except ConfigError as error:
            return str(error)
        return None

    methods = tuple(methods)
    return ModelReport(
        note=f"map {model.grid[0]}x{model.grid[1]}, {model.note}",
        refusals={(name, smooth): refusal(name, smooth) for name in methods for smooth in (False, True)},
        judge_refusals={name: refusal(name, field="judge") for name in methods},
        passes={name: METHODS[name].passes(model, config.image_size) for name in methods},
        equal_methods=the_same(METHODS, model),
    )


def smallest_batch(config: TrialConfig, images: int) -> int:
    """Return the size of the smallest batch of a trial; ``substitute = add`` adds ``repeats`` times as many at most.

    Args:
        images: the training images.
    """
    most = (1 + config.repeats) * images if config.has_proxies and config.substitute == "add" else images
    counts = range(images, min(most, images + config.batch_size + 1) + 1)  # then the sizes repeat
    return min(batch_sizes(count, config.batch_size)[-1] for count in counts)


def refusal_to_train(config: TrialConfig, classes: int, images: int) -> str:
    """Try a step of training on so many images; return why the model cannot train on them, empty if it can."""
    model = untrained(
        config.model, classes=classes, image_size=config.image_size, weights=config.weights, seed=config.seed
    )
    try:
        train_one_batch(model, config, images=images)
    except (RuntimeError, ValueError) as error:  # what layers raise; BatchNorm for a single value
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


class ModelChecks:
    """Builds each model of a study once and keeps its report.

    Args:
        methods: every method of explanation that the study names.
    """

    def __init__(self, methods: frozenset[str], data: StudyData) -> None:
        self._methods, self._data = methods, data
        self._reports: dict[ModelKey, ModelReport] = {}
        self._trains: dict[tuple[ModelKey, bool, int], str] = {}  # why not, for each smallest batch
        self._explained_by: dict[ModelKey, set[str]] = {}  # the methods of the checked configs that have proxies

    def check(self, config: TrialConfig) -> None:
        """Check that the model can be built, trained, judged, and explained by the config's method if it has proxies.

        Raises: ConfigError, DataError.
        """
        report = self._report(config)
        if config.batch_size != AUTO:
            self._check_training(config)
        by = judge_of(config)
        if by is not None and (refusal := report.judge_refusals[by]):
            raise ConfigError(refusal)
        if not config.has_maps:
            return
        if refusal := report.refusals[config.saliency, config.eigen_smooth]:
            raise ConfigError(refusal)
        self._explained_by.setdefault(_model_key(config), set()).add(config.saliency)

    def _check_training(self, config: TrialConfig) -> None:
        """Check that the model can train on the smallest batch that will occur; the largest is measured later.

        Raises: ConfigError, DataError.
        """
        images = len(self._data.split(config).train)
        smallest = smallest_batch(config, images)
        key = (_model_key(config), config.freeze_trunk, smallest)
        if key not in self._trains:
            self._trains[key] = refusal_to_train(config, len(self._data.inspection(config).classes), smallest)
        if self._trains[key]:
            raise ConfigError(
                f"batch_size must leave {config.model} batches that it can train on; got {config.batch_size} for "
                f"{images} images, whose smallest batch is {smallest}: {self._trains[key]}"
            )

    def passes(self, config: TrialConfig, method: str) -> int:
        """Return the number of forward passes per image that the method takes for the config's model."""
        return self._report(config).passes[method]

    def explanation_passes(self, config: TrialConfig) -> int:
        """Return the number of forward passes per image that the config's own method takes; 1 without maps."""
        if METHODS[config.saliency].one_pass or not config.has_maps:
            return 1
        return self.passes(config, config.saliency)

    @property
    def notes(self) -> dict[ModelKey, str]:
        """The note of each model that was built."""
        return {key: report.note for key, report in self._reports.items()}

    @property
    def equal_methods(self) -> list[tuple[str, tuple[str, ...]]]:
        """(model, methods) where several planned methods give equal maps of a model, and so equal rows of results."""
        groups = {
            (key[0], tuple(name for name in group if name in self._explained_by.get(key, ()))): None
            for key, report in self._reports.items()
            for group in report.equal_methods
        }
        return [(model, group) for model, group in groups if len(group) > 1]

    def _report(self, config: TrialConfig) -> ModelReport:
        """Return the report of the config's model; build the model if it, or a method of the config, is new."""
        key = _model_key(config)
        known = self._reports.get(key)
        if known is None or not {config.saliency, config.judge} <= known.passes.keys():
            methods = {config.saliency, config.judge, *self._methods, *(known.passes if known else ())}
            self._reports[key] = inspect_model(config, len(self._data.inspection(config).classes), methods)
        return self._reports[key]


def _model_key(config: TrialConfig) -> ModelKey:
    return config.model, config.image_size, config.weights, config.feature_layer
