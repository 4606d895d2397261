"""The page at /: one HTML file, one script, one stylesheet."""
