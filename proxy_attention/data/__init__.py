"""Open, load and split data sets, and hold the images that an epoch trains on."""
