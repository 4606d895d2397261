"""Rewrites a JSON schema so that llguidance enforces as much of it as it can."""
