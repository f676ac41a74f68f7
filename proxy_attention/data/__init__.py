"""Where images come from, how they are split, and which of them an epoch trains on."""
