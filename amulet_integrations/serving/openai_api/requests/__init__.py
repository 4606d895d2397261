"""The bodies of requests: their fields, what is refused in them, and what they ask the model."""
