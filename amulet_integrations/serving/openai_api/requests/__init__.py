"""The bodies of requests: their fields, what is refused in them, and what the model makes of them."""
