"""Backends of the triangular convolution; `inverseflow.ops.dispatch.Backend` is what each of these modules offers."""
