"""Uses of the library, one folder each: `python -m applications.NAME`."""
