"""The solve on a GPU in Triton. Never run on a GPU: it is used only where it is asked for by name."""
