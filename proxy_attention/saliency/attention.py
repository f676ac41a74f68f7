"""Where a vision transformer's attention went, from its first block to its last; knows no training set."""

from proxy_attention.saliency.method import Method

ROLLOUTS: dict[str, Method] = {}
"""The methods that read attention."""
