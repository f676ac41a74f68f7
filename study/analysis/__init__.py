"""Statistics of a run's rows: pairs, estimates, claims; prints and draws nothing."""
