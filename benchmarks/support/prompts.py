"""Questions and preferences of sixteen users: stories, which no prompt contains already."""

from __future__ import annotations

import random

from transformers import PreTrainedTokenizerBase

from amulet_integrations import AmuletParams
from amulet_integrations.prompting import (
    DEFAULT_SEPARATOR,
    DEFAULT_SYSTEM,
    ChatMessage,
    PromptBuilder,
)

PARAMS = AmuletParams(iterations=2)
"""Mild enough for a small model."""

STORY = "Tell me a long story about a lighthouse keeper and the sea."
POETIC = "Use vivid, poetic language."

USERS = [
    (STORY, POETIC),
    ("Tell me a long story about a baker who could not sleep.", "Be cheerful."),
    ("Describe a walk through a forest in autumn.", "Write for a child of eight."),
    ("Explain how bridges are built.", "Use examples from daily life."),
    ("Tell me about the history of tea.", "Write as a storyteller would."),
    ("How do I plan a garden?", "Give me practical steps."),
    ("What should I know before I buy a bicycle?", "Be frank and sober."),
    ("Describe a day on a small island.", "Use long, calm sentences."),
    ("Tell me a long story about two friends who build a boat.", "Add dialogue."),
    ("How does a library work?", "Explain it step by step."),
    ("What makes a good teacher?", "Be warm and encouraging."),
    ("Tell me about the stars in winter.", "Use scientific terms."),
    ("How do I cook a soup for ten guests?", "Mention the costs."),
    ("Describe a market in an old town.", "Appeal to all senses."),
    ("Tell me a long story about a lost letter.", "Make it mysterious."),
    ("How do birds find their way?", "Write like a journalist."),
]
"""Sixteen questions, each with its user's preference."""


def pair(prompts: PromptBuilder, question: str, preference: str) -> tuple[list[int], list[int]]:
    """Token ids of both contexts, base before pref."""
    base, pref = prompts.contexts([ChatMessage(role="user", content=question)], [None, preference])
    return base, pref


def pref_system(preference: str) -> str:
    """The system message of the pref context, for those who write it themselves."""
    return DEFAULT_SYSTEM + DEFAULT_SEPARATOR + preference


def story_prompt(tokenizer: PreTrainedTokenizerBase, tokens: int, seed: int = 0) -> str:
    """A question after a diary; about so many tokens in all, other text for every seed."""
    question = "Go on with this diary of a lighthouse keeper, and tell a long story."
    return f"{diary(tokenizer, tokens - 50, seed)}\n\n{question}"


def diary(tokenizer: PreTrainedTokenizerBase, tokens: int, seed: int = 0) -> str:
    """About so many tokens of text that hardly repeats itself; other text for every seed."""
    dice = random.Random(seed)  # noqa: S311 - no secrets
    lines: list[str] = []
    while tokens > 0:
        when, who, did, what, how = (dice.choice(words) for words in _WORDS)
        line = f"{when} {dice.randint(2, 9_999)}: {who} {did} {what}, {how}."
        lines.append(line)
        tokens -= len(tokenizer.encode(line, add_special_tokens=False)) + 1
    return "\n".join(lines)


_WORDS = (
    ("Day", "Night", "Evening", "Morning", "Noon of day", "Late on day"),
    ("a sailor", "the keeper", "my sister", "the old captain", "a stranger", "the baker's boy"),
    ("brought", "repaired", "lost", "painted", "asked for", "dreamt of", "sold", "hid"),
    ("a brass lamp", "the north window", "three barrels of oil", "a letter", "the small boat"),
    ("while it rained", "before the storm came", "and said nothing", "as the tide went out"),
)
