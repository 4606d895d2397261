"""A judge's choice between two answers."""
