"""Image flows: the step, the layers by name, the multi-scale flow and the named flows."""
