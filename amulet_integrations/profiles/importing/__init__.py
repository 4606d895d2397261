"""Profiles from what people have: memories of LangMem and mem0, and plain text."""
