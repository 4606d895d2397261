"""What the scores say: intervals, comparisons, the frontier of strengths."""
