"""Proxy Attention: turn down what misled an image classifier, and train on.

The library knows nothing of ray, optuna or pandas; ``study`` is built around it.
"""
