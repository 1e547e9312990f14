"""What differs from the publications: every point, and the page about them."""

from experiments.differences.page import CHAPTERS, differences_page

__all__ = ["CHAPTERS", "differences_page"]
