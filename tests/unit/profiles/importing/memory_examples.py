"""Memories as other stores keep them, and whether each says what its user wants."""

from __future__ import annotations

EXAMPLES: list[tuple[str, bool]] = [
    ("Prefers short answers.", True),
    ("Lives in Berlin.", False),
    ("User prefers dark mode in all applications.", True),
    ("Has a dog called Rex.", False),
    ("Likes to be addressed by first name.", True),
    ("Is a vegetarian.", False),
    ("Answer in German.", True),
    ("Works as a nurse at a hospital.", False),
    ("Never use emojis.", True),
    ("Graduated in 2014.", False),
    ("Doesn't want long introductions.", True),
    ("Name is Ann.", False),
    ("The user asked for code in Python only.", True),
    ("Ann's brother is called Ben.", False),
    ("Favourite language: Rust", True),
    ("Is planning a trip to Japan in March.", False),
    ("Hates bullet points.", True),
    ("Use metric units.", True),
    ("The use of insulin began last year.", False),
    ("Please be gentle when it comes to health.", True),
    ("Looks like her mother.", False),
    ("Would rather read prose than tables.", True),
]
"""Each memory, and whether it becomes a preference."""

WANTED = [text for text, is_wanted in EXAMPLES if is_wanted]
