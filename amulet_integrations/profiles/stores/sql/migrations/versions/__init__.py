"""One script for each change of the tables, in order. A script that was released never changes."""
