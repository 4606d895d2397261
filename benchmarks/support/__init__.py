"""Shared by all benchmarks: requests, rivals, timing, and the report."""
