"""Inverse problems of astronomy and wind energy: small simulators, posteriors, and references to judge them by."""
