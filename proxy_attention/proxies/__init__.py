"""The proxy step: which images are wrong, which of their pixels change, and to what."""
