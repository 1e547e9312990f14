"""Geological maps of multispectral pictures: reduce the bands, cluster the pixels, smooth the map."""
