"""Asking, and the folder where answers are written."""
