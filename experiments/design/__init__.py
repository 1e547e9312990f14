"""Airfoils with a wanted lift, drag and thickness."""
