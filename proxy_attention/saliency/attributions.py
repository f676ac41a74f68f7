"""Attributions of pixels, and of the last feature map, by captum; knows no training set."""

from proxy_attention.saliency.method import Method

ATTRIBUTIONS: dict[str, Method] = {}
"""The methods that are captum's."""
