"""One script for each change of the tables, in order. A released script must never change."""
