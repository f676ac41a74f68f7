"""What is done to images on the device: augmentation for training, and the parts of a proxy."""
