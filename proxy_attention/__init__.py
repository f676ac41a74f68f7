"""Proxy Attention: turn down the pixels that misled an image classifier, and train on.

The library does not use ray, optuna or pandas; ``study`` is built around it.
"""
