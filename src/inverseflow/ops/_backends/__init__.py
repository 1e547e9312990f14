"""Backends of the triangular solve: each module offers ``solve(y, kernel, corner, groups, upper)``."""
