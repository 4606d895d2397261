"""The bodies of requests: their fields, and what is refused in them."""
