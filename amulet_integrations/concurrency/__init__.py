"""Threads, deadlines, turns and forks: who may work when, for how long, and for whom."""
