"""Plans trials: resolves a config, checks it against data, weights and model, and names it; starts nothing."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy_attention.config import TrialConfig
from proxy_attention.data.cache import LIMIT_MB
from proxy_attention.data.image_files import MAX_PIXELS
from proxy_attention.explanation_metrics import judge_of
from proxy_attention.region_maps import check_regions_known
from proxy_attention.saliency.faithfulness import PASSES
from proxy_attention.state_keys import state_keys
from proxy_attention.training import check_precision
from study.plan import PlannedTrial
from study.planning.judge_choice import JudgeChoice
from study.planning.model_check import ModelChecks
from study.planning.study_data import StudyData
from study.planning.study_spec import Study
from study.planning.weights_files import WeightsDigests, with_absolute_weights


@dataclass(frozen=True)
class Planner:
    """Plans trials of one study.

    Attributes:
        device: where trials will run, ``cpu`` or ``cuda``.
        auto: returns plain values for the fields of a config that are still ``auto``.
    """

    data: StudyData
    weights: WeightsDigests
    models: ModelChecks
    judge: JudgeChoice
    device: str
    auto: Callable[[TrialConfig], dict[str, Any]]

    @classmethod
    def of(
        cls,
        study: Study,
        *,
        data_root: Path | None,
        device: str,
        auto: Callable[[TrialConfig], dict[str, Any]],
        progress: Callable[[str, int, int], None] | None = None,
        cache: Path | None = None,
        cache_mb: int = LIMIT_MB,
        max_pixels: int = MAX_PIXELS,
    ) -> "Planner":
        """Make the planner of a study; the arguments are those of ``StudyData`` and the attributes.

        Raises: ConfigError if the study's trials would be judged differently.
        """
        judge = JudgeChoice.of(study)
        data = StudyData(data_root, progress=progress, cache=cache, cache_mb=cache_mb, max_pixels=max_pixels)
        models = ModelChecks(frozenset(study.values_of("saliency")), data)
        return cls(data, WeightsDigests(), models, judge, device, auto)

    def resolved(self, config: TrialConfig) -> TrialConfig:
        """Return the config as it will be trained: weights path absolute, judge chosen, nothing left ``auto``.

        Raises: ConfigError.
        """
        config = self._with_weights_and_judge(config)
        return dataclasses.replace(config, **self.auto(config))

    def trial(self, number: int, arm: str, config: TrialConfig) -> PlannedTrial:
        """Check everything that can be checked without training, and name the trial.

        Raises: ConfigError, DataError.
        """
        config = self.resolved(config)
        check_precision(config, self.device)
        config = self.data.with_white_level(config)
        inspection = self.data.inspection(config)
        check_regions_known(config, known=self.data.tells_places(config))
        self.models.check(config)
        digest = config.digest(data=inspection.digest, weights=self.weights.digest(config))
        return PlannedTrial(
            trial_id=PlannedTrial.name(number, arm, config.seed, digest),
            arm=arm,
            config=config,
            config_digest=digest,
            data_digest=inspection.digest,
            split_digest=self.data.split(config).digest,
        )

    def check_model(self, config: TrialConfig) -> None:
        """Check that the config's model can be built, and explained by its method or the data set; measure nothing.

        Raises: ConfigError, DataError.
        """
        check_regions_known(config, known=self.data.tells_places(config))
        self.models.check(self._with_weights_and_judge(config))

    def state_keys(self, trial: PlannedTrial) -> tuple[str, ...]:
        """Return the key of the trial's state after each epoch; trials with equal keys may share the state."""
        return state_keys(trial.config, data=trial.data_digest, weights=self.weights.digest(trial.config))

    def judge_passes(self, config: TrialConfig) -> int:
        """Count the forward passes, of all images together, that judging the trained model takes; 0 without a judge."""
        by = judge_of(config)
        if by is None:
            return 0
        maps_per_image = 2 if self.data.tells_places(config) else 1
        passes = PASSES + maps_per_image * self.models.passes(config, by)
        return min(config.judge_images, len(self.data.split(config).test)) * passes

    def _with_weights_and_judge(self, config: TrialConfig) -> TrialConfig:
        config = with_absolute_weights(config)
        self.weights.digest(config)  # raises if the file does not exist
        return self.judge.apply(config)
