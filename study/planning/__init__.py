"""What a run will do, before it does it: the request, every trial, what auto becomes, the cost; starts nothing."""
