"""Restore damaged pictures by diffusion, with a U-Net of couplings."""
