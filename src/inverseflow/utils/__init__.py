"""General helpers without knowledge of flows."""
