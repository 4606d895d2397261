"""A judge's choice between two answers, and the win rates of methods."""
