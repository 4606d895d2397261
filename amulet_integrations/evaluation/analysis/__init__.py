"""Statistics of the scores: intervals, comparisons, and the frontier of strengths."""
