"""The measurement that chooses the default strength: many settings, one rule fixed beforehand.

    python -m benchmarks.defaults facts | screen | loops | confirm | report --out FOLDER

Every answer is kept at once, and the same command goes on where it was stopped.
"""
