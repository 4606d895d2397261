"""GGUF files: where they are, what they hold, and what is refused before anything loads them."""
