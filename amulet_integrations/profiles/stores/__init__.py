"""The stores of profiles: in memory, in a database, over key-value stores, behind a cache."""
