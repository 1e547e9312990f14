"""Learn classes one after the other, and forget none."""
