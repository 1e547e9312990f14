"""The training loop: what Lightning's trainer is given, and what we add to it."""
