"""Training a flow: options, presets, the run folder, evaluation and baselines."""
