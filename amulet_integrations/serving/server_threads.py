"""Threads for what the server does for itself, which no request's work keeps waiting."""

from __future__ import annotations

from amulet_integrations.concurrency.fair_threads import FairThreads

SERVER_THREADS = FairThreads("amulet-server", max_threads=4, reserve=0)
"""Read the file of keys, load the model and free it.

A store or a check of preferences that hangs can take all threads that work for requests.
"""
