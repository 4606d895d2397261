"""The scores of answers, and the scorers that measure them."""
