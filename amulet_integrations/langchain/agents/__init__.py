"""Preferences in agents: the middleware, the tools that go with it, and LangGraph's store."""
