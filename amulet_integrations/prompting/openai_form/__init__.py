"""Tools, choices, schemas and formats of answers, as OpenAI's API writes them."""
