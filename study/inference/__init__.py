"""Classify a user's images with the trained models of a study, or compare two models on them."""
