"""Answers that are objects of a schema."""
