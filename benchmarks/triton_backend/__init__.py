"""The solve on a GPU in Triton, registered as the backend ``"triton"`` by `benchmarks`. No GPU has run it yet."""
