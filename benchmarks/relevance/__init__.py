"""Preferences where they belong: what they cost answers that they have nothing to do with.

    python -m benchmarks.relevance known     # which neutral questions the model answers rightly
    python -m benchmarks.relevance answers   # those, and questions that concern a preference
    python -m benchmarks.relevance signals   # what each gate sees of each question and preference
    python -m benchmarks.relevance report    # the tables, and the gate that the rule chooses

Each part goes on where it was stopped. Preferences and questions are in two halves: a gate and its
threshold are chosen on one, and the tables show the other.
"""
