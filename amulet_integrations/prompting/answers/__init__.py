"""Reads an answer back: text, thoughts and calls."""
