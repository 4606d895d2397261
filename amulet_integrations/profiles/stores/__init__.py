"""Where profiles are kept: in memory, in a database, in places of others, behind a cache."""
