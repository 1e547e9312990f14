"""A classifier of 16 parameters."""
