"""Take noise and blur out of pictures."""
