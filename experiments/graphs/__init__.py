"""Features of the nodes of a graph given their labels, and graphs with wanted properties."""
