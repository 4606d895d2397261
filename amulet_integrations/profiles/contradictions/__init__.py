"""Preferences that no answer can follow both."""
