"""The benchmark of simulation-based inference of Lueckmann et al., 2021."""
