"""Chooses the method that judges the explanations of all trials of a study: one by which none of them trains."""

import dataclasses
import itertools
from dataclasses import dataclass

from proxy_attention.config import DEFAULTS, JUDGE_FIELDS, TrialConfig
from proxy_attention.errors import ConfigError
from proxy_attention.explanation_metrics import judge_of, trained_by
from proxy_attention.saliency.registry import JUDGES, judge, related
from study.planning.study_spec import Study


@dataclass(frozen=True)
class JudgeChoice:
    """The rule by which the judge of a study's trials is chosen.

    Attributes:
        is_named: whether the study names its judge.
        trained_by: every method that a model of the study may be trained by, under all its names.
    """

    is_named: bool
    trained_by: frozenset[str]

    @classmethod
    def of(cls, study: Study) -> "JudgeChoice":
        """Derive the rule from a study.

        Raises: ConfigError if trials of the study would be judged differently.
        """
        for name in JUDGE_FIELDS:
            for where, values in (("[search]", study.search), *(("an [[arm]]", arm.values) for arm in study.arms)):
                if name in values:
                    raise ConfigError(f"{name} must be one for all trials of a study, in [fixed]; got it in {where}")
        return cls("judge" in study.fixed, _training_methods(study))

    def apply(self, config: TrialConfig) -> TrialConfig:
        """Set the judge of a config: the named method, else the first by which no trial of the study trains.

        Raises: ConfigError if a trial of the study trains by the named method.
        """
        if not config.judge_images:
            return config
        if not self.is_named:
            chosen = config.judge if config.judge != DEFAULTS["judge"] else judge(self.trained_by)
            return dataclasses.replace(config, judge=chosen or config.judge)
        if judge_of(config) is None:
            able = [name for name in JUDGES if not related(name) & self.trained_by]
            raise ConfigError(
                f"judge must be a method by which no trial of the study trains; got {config.judge!r}"
                + (f" ({', '.join(able)} are)" if able else "")
            )
        return config


def _training_methods(study: Study) -> frozenset[str]:
    """Collect the saliency methods by which trials of the study may train, under all their names."""
    smooth = any(study.values_of("eigen_smooth"))
    configs = [
        TrialConfig(schedule="p", saliency=saliency, eigen_smooth=smooth, augment=augment)
        for saliency, augment in itertools.product(study.values_of("saliency"), study.values_of("augment"))
    ]
    return frozenset().union(*map(trained_by, configs))
