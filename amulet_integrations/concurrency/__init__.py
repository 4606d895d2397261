"""Threads and forks: who may work when, and what a forked child makes anew."""
