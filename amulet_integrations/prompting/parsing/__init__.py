"""An answer's text read back: thoughts, text and calls."""
