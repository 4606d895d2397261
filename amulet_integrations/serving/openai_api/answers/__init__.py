"""Answers: read from the engine, and written in OpenAI's form."""
