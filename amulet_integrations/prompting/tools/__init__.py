"""Tools in prompts: what they are, and how each template writes them."""
