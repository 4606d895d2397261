"""Kernels for the linear layers of small batches on a CPU."""
