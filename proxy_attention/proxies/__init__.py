"""The proxy step: which images are chosen, which of their pixels change, and to what."""
