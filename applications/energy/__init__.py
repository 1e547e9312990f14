"""Find unusual stretches in series of electric load by the latents of a conditional flow."""
