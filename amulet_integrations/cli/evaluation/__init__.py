"""`amulet evaluate` and `amulet sweep`: measuring what preferences do."""
