"""Classifiers: timm models fitted to an image size, their weights, and the layer that is explained."""
