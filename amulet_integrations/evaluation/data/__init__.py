"""The inputs of an evaluation (questions, preferences, methods), and its records."""
