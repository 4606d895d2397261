"""Preferences in agents: the middleware, its tools, and profiles in a LangGraph store."""
