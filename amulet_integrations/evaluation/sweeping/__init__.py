"""Strength by eye: the same questions at several strengths, side by side."""
