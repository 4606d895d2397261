"""OpenAI's tools and response formats, read."""
