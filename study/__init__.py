"""The study: the only code that imports ray or optuna."""
