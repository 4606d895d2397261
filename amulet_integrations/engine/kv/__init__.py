"""Which rows of the cache hold what, and the prefixes that are kept."""
