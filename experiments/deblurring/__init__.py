"""Deblurring by inverse convolutions."""
