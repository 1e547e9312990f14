"""Invertible convolutions; docs/differences.md says where a layer differs from its publication."""
