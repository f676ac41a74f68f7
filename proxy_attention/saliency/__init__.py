"""Where a classifier looked: from a cut model to low-resolution maps, and from those to maps of the image's size."""
