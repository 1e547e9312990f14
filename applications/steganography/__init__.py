"""Hide pictures in pictures, and bits in colors, by invertible networks."""
