"""Detect traffic signs in good and bad conditions, and find from context which sign is missing."""
