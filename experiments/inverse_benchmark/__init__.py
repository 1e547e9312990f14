"""Every method of inference on two problems with exact posteriors, side by side."""
