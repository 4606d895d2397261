"""Structured output: grammars, how far a completion has come in them, and how it is finished."""
