"""The weights files of a study: their absolute paths, and their content digests, each file read once."""

import dataclasses
from pathlib import Path

from proxy_attention.config import TrialConfig
from proxy_attention.models.weights import weights_digest


class WeightsDigests:
    """Computes the content digests of weights files; reads each file once."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}

    def digest(self, config: TrialConfig) -> str | None:
        """Return the content digest of the config's weights file; None where its weights are a name.

        Raises: ConfigError if there is no such file.
        """
        if config.weights not in self._known:
            self._known[config.weights] = weights_digest(config.weights)
        return self._known[config.weights]


def with_absolute_weights(config: TrialConfig) -> TrialConfig:
    """Make a weights path absolute, because trials run in other folders."""
    if config.weights in ("none", "imagenet"):
        return config
    return dataclasses.replace(config, weights=str(Path(config.weights).expanduser().absolute()))
