"""Grammars: what an answer may still say, and how it ends."""
