"""Trained models of a study, asked about images."""
