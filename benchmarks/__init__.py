"""Ratios measured side by side in one run. `make bench` prints them, keeps and plots them."""
