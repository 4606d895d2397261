"""Who sends a request: keys, callers, and whom they may name."""
