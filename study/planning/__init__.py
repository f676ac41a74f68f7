"""Plans a run: the request, every trial, the values that replace auto, the cost; starts nothing."""
