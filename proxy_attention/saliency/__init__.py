"""Saliency methods: low-resolution maps of a classifier's scores, and their way to the image's size."""
