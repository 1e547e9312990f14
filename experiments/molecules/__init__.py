"""Molecules with a wanted solubility in fat."""
