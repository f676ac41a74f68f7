"""Where a run is planned: every config built and checked against data, weights and model; starts nothing."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from proxy_attention.config import DEFAULTS, JUDGE_FIELDS, TrialConfig
from proxy_attention.data.cache import LIMIT_MB
from proxy_attention.data.images import Inspection, inspect
from proxy_attention.data.loading import Catalogue
from proxy_attention.data.registry import open_source
from proxy_attention.data.splits import Split, draw_split
from proxy_attention.errors import ConfigError, DataError
from proxy_attention.explanation_metrics import judge_of, trained_by
from proxy_attention.models.classifier import build_for
from proxy_attention.models.weights import weights_digest
from proxy_attention.saliency.faithfulness import PASSES
from proxy_attention.saliency.registry import JUDGES, METHODS, check_method, judge, related, the_same
from proxy_attention.training import check_precision
from study.plan import PlannedTrial
from study.planning.study_file import Study

ModelKey: TypeAlias = tuple[str, int, str, str]
"""A model, its image size, its weights and its feature layer."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a model told while it was there.

    Attributes:
        refusals: why it cannot be explained by a method, without and with eigen smoothing; None if it can.
        judges: why it cannot be judged by a method; None if it can.
        passes: forward passes an image, by method.
        same: the methods that are one and the same under it.
        planned: the methods of its planned trials; more join them.
    """

    note: str
    refusals: dict[tuple[str, bool], str | None]
    judges: dict[str, str | None]
    passes: dict[str, int]
    same: list[tuple[str, ...]]
    planned: set[str] = field(default_factory=set)


def _see(config: TrialConfig, classes: int, methods: Iterable[str]) -> _Seen:
    """Build the config's model, and ask it about these methods."""
    model = build_for(config, classes=classes)

    def refusal(saliency: str, eigen_smooth: bool = False, field: str = "saliency") -> str | None:
        try:
            check_method(saliency, model, name=config.model, eigen_smooth=eigen_smooth, field=field)
        except ConfigError as error:
            return str(error)
        return None

    refusals = {(saliency, smooth): refusal(saliency, smooth) for saliency in methods for smooth in (False, True)}
    judges = {saliency: refusal(saliency, field="judge") for saliency in methods}
    passes = {saliency: METHODS[saliency].passes(model, config.image_size) for saliency in methods}
    note = f"map {model.grid[0]}x{model.grid[1]}, {model.note}"
    return _Seen(note, refusals, judges, passes, the_same(METHODS, model))


def _named(study: Study, field: str = "saliency") -> set[Any]:
    """Every value of a field that a config of the study may have."""
    searched = study.search.get(field, ())
    places = (study.fixed, *(arm.values for arm in study.arms))
    named = {DEFAULTS[field], *(place[field] for place in places if field in place)}
    return named | set(searched if isinstance(searched, tuple) else ())


def _trained_by(study: Study) -> frozenset[str]:
    """Every method that a model of the study may be trained by, under all its names."""
    smooth = any(_named(study, "eigen_smooth"))
    configs = [
        TrialConfig(schedule="p", saliency=saliency, eigen_smooth=smooth, augment=augment)
        for saliency, augment in itertools.product(_named(study), _named(study, "augment"))
    ]
    return frozenset().union(*map(trained_by, configs))


class Planner:
    """Plans trials of one study: opens each data set, draws each split and builds each model once.

    Args:
        data_root: where the data set lies, or None.
        device: where trials will run, ``cpu`` or ``cuda``.
        auto: plain values for the fields of a config that are still ``auto``.
        progress: called with (what is being done, images read, images in all) while a data set is read.
        cache: a folder in which decoded images are kept for the trials; None keeps none.
        cache_mb: what they may take there.
    """

    def __init__(
        self,
        study: Study,
        *,
        data_root: Path | None,
        device: str,
        auto: Callable[[TrialConfig], dict[str, Any]],
        progress: Callable[[str, int, int], None] | None = None,
        cache: Path | None = None,
        cache_mb: int = LIMIT_MB,
    ) -> None:
        self.study, self.data_root, self.device, self._auto, self._progress = study, data_root, device, auto, progress
        self._cache, self._cache_mb = cache, cache_mb
        self._data: dict[tuple[Any, ...], tuple[Catalogue, Inspection]] = {}
        self._sizes: set[tuple[Any, ...]] = set()  # the data sets and sizes that lie in the cache
        self._splits: dict[tuple[Any, ...], Split] = {}
        self._weights: dict[str, str | None] = {}
        self._models: dict[ModelKey, _Seen] = {}
        for name in JUDGE_FIELDS:
            for where, values in (("[search]", study.search), *(("an [[arm]]", arm.values) for arm in study.arms)):
                if name in values:
                    raise ConfigError(f"{name} must be one for all trials of a study, in [fixed]; got it in {where}")

    def data(self, config: TrialConfig) -> Inspection:
        """What the config's data set holds; every image is decoded once, or once a size where they are cached.

        Raises: DataError, ConfigError.
        """
        return self._open(config)[1]

    @property
    def skipped(self) -> list[str]:
        """Names of the unreadable images that are left out, over all data sets opened."""
        return [name for _, inspection in self._data.values() for name in inspection.skipped]

    def _open(self, config: TrialConfig) -> tuple[Catalogue, Inspection]:
        key = (config.dataset, config.on_bad_image, config.label_function)
        size = config.image_size if self._cache is not None else None
        if key not in self._data or (*key, size) not in self._sizes:
            known = self._data.get(key)
            catalogue = known[0] if known else open_source(config.dataset, self.data_root, config.label_function)

            def report(done: int, total: int) -> None:
                if self._progress is not None:
                    self._progress(f"checking {config.dataset}", done, total)

            found = inspect(
                catalogue,
                config.on_bad_image,
                report,
                size=size,
                cache=self._cache,
                limit_mb=self._cache_mb,
                verify=True,
            )
            if known and found != known[1]:
                raise DataError(f"the images of {config.dataset} must not change while a study is planned; they have")
            self._data[key] = catalogue, found
            self._sizes.add((*key, size))
        return self._data[key]

    def weights(self, config: TrialConfig) -> str | None:
        """Content digest of the config's weights file, which is read once; None where the weights are a name.

        Raises: ConfigError if there is no such file.
        """
        if config.weights not in self._weights:
            self._weights[config.weights] = weights_digest(config.weights)
        return self._weights[config.weights]

    def resolved(self, config: TrialConfig) -> TrialConfig:
        """The config as it will be trained: a weights path made absolute, nothing left ``auto``."""
        config = self._with_judge(self._with_whole_path(config))
        return dataclasses.replace(config, **self._auto(config))

    def _with_judge(self, config: TrialConfig) -> TrialConfig:
        """Judged as all trials of the study are: by the method that it names, else by one that none of them trains by.

        Raises: ConfigError where the study names a method by which this trial trains.
        """
        if not config.judge_images:
            return config
        if "judge" not in self.study.fixed:
            mine = config.judge if config.judge != DEFAULTS["judge"] else judge(_trained_by(self.study))
            return dataclasses.replace(config, judge=mine or config.judge)
        if judge_of(config) is None:
            able = [name for name in JUDGES if not related(name) & _trained_by(self.study)]
            raise ConfigError(
                f"judge must be a method by which no trial of the study trains; got {config.judge!r}"
                + (f" ({', '.join(able)} are)" if able else "")
            )
        return config

    def _with_whole_path(self, config: TrialConfig) -> TrialConfig:
        if config.weights not in ("none", "imagenet"):
            config = dataclasses.replace(config, weights=str(Path(config.weights).expanduser().absolute()))
        self.weights(config)  # a file that is not there ends here
        return config

    def trial(self, number: int, arm: str, config: TrialConfig) -> PlannedTrial:
        """Check everything that can be checked without training, and name the trial.

        Raises: ConfigError, DataError.
        """
        config = self.resolved(config)
        check_precision(config, self.device)
        inspection = self.data(config)
        self._check_model(config)
        digest = config.digest(data=inspection.digest, weights=self.weights(config))
        return PlannedTrial(
            trial_id=f"{number:04d}-{arm}-seed{config.seed}-{digest[:8]}",
            arm=arm,
            config=config,
            config_digest=digest,
            data_digest=inspection.digest,
            split_digest=self._split(config).digest,
        )

    def check_model(self, config: TrialConfig) -> None:
        """See that the config's model can be built, and explained by its method, without measuring anything.

        Raises: ConfigError, DataError.
        """
        self._check_model(self._with_judge(self._with_whole_path(config)))

    def passes(self, config: TrialConfig) -> int:
        """Forward passes an image that the config's method of explanation takes of its model, beside no other work."""
        method = METHODS[config.saliency]
        if method.one_pass or not config.has_proxies:
            return 1
        return self._seen(config).passes[config.saliency]

    def judging(self, config: TrialConfig) -> int:
        """Forward passes, of all images together, that judging the config's trained model takes; 0 if nobody does."""
        by = judge_of(config)
        if by is None:
            return 0
        catalogue, _ = self._open(config)
        maps = self._seen(config).passes[by] * (1 if catalogue.region is None else 2)
        return min(config.judge_images, len(self._split(config).test)) * (PASSES + maps)

    def _seen(self, config: TrialConfig) -> _Seen:
        """What the config's model told: it is built once, asked about every method of the study, and not kept."""
        key = (config.model, config.image_size, config.weights, config.feature_layer)
        known = self._models.get(key)
        if known is None or not {config.saliency, config.judge} <= known.passes.keys():
            methods = {config.saliency, config.judge, *_named(self.study), *(known.passes if known else ())}
            self._models[key] = _see(config, len(self.data(config).classes), methods)
            self._models[key].planned.update(known.planned if known else ())
        return self._models[key]

    def _check_model(self, config: TrialConfig) -> None:
        """See that the model can be built, explained by the config's method if it has proxies, and judged."""
        seen = self._seen(config)
        by = judge_of(config)
        if by is not None and (refusal := seen.judges[by]):
            raise ConfigError(refusal)
        if not config.has_proxies:
            return
        if refusal := seen.refusals[config.saliency, config.eigen_smooth]:
            raise ConfigError(refusal)
        seen.planned.add(config.saliency)

    @property
    def notes(self) -> dict[ModelKey, str]:
        """What was chosen for each model, image size, weights and feature layer, for people."""
        return {key: seen.note for key, seen in self._models.items()}

    @property
    def same(self) -> list[tuple[str, tuple[str, ...]]]:
        """A model's name, and methods planned for it that are one and the same there: two rows or more, equal."""
        groups = {
            (key[0], tuple(name for name in group if name in seen.planned)): None
            for key, seen in self._models.items()
            for group in seen.same
        }
        return [(model, group) for model, group in groups if len(group) > 1]

    def sizes(self, config: TrialConfig) -> tuple[int, int]:
        """How many images an epoch trains on, and how many it evaluates on."""
        split = self._split(config)
        return len(split.train), len(split.val)

    def _split(self, config: TrialConfig) -> Split:
        fields = ("val_fraction", "test_fraction", "train_fraction", "split", "folds", "fold", "effective_split_seed")
        data = (config.dataset, config.on_bad_image, config.label_function)
        key = (*data, *(getattr(config, field) for field in fields))
        if key not in self._splits:
            catalogue, inspection = self._open(config)
            bad = set(inspection.skipped)
            kept = [i for i, name in enumerate(catalogue.names) if name not in bad]
            labels = np.array(catalogue.labels)[kept]
            self._splits[key] = draw_split(labels, np.array(catalogue.own_test)[kept], config)
        return self._splits[key]


def fingerprint(study: Study, search: str, trials: Iterable[PlannedTrial], **asked: Any) -> str:
    """SHA-256 over everything that was asked, by content: another one is another plan."""
    space = {
        "seeds": study.seeds,
        "fixed": dict(study.fixed),
        "search": {
            field: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
            for field, value in study.search.items()
        },
        "arms": [[arm.name, dict(arm.values)] for arm in study.arms],
    }
    asked_for: dict[str, Any] = {"search": search, "trials": [[t.arm, t.config_digest] for t in trials], **asked}
    if search != "grid":  # a grid is its trials; of the others the space decides what will be suggested
        asked_for["space"] = space
    return hashlib.sha256(json.dumps(asked_for, sort_keys=True, default=str).encode()).hexdigest()
