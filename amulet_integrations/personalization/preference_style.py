"""Whether a preference is about how answers are written, or about a topic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from amulet_integrations.engine.protocol import Engine
from amulet_integrations.engine.result import as_generation_error
from amulet_integrations.errors import AmuletError
from amulet_integrations.prompting import ChatMessage, PromptBuilder

from .digest_cache import DigestCache

CONTEXTS_AT_ONCE = 8
"""So many contexts are scored together, so that the memory of their keys and values is bounded."""

STYLE_LOG_ODDS = 1.5
"""From so many nats on, a preference is about how answers are written."""

KEPT = 4_096
"""Most preferences of which it is kept what they are about."""

_STYLE = "Write one sentence that tells you how to write your answers."
_FACT = "Write one sentence that tells something about me."


def score_contexts(
    engine: Engine, contexts: Sequence[Sequence[int]], ids: Sequence[int], what: str
) -> Iterator[list[float]]:
    """The log-probabilities of tokens under each context, a few contexts at a time.

    Args:
        engine: The engine.
        contexts: The contexts.
        ids: The tokens.
        what: What this is for, as the beginning of a sentence.

    Raises:
        GenerationError: The engine fails.
    """
    for start in range(0, len(contexts), CONTEXTS_AT_ONCE):
        some = contexts[start : start + CONTEXTS_AT_ONCE]
        try:
            scores = engine.score(some, ids)
        except AmuletError:
            raise
        except Exception as error:  # a foreign engine may raise anything
            raise as_generation_error(what, error) from error
        yield from scores.tolist()


def style_log_odds(engine: Engine, prompts: PromptBuilder, preference: str) -> float:
    """How much more a preference reads as a wish about every answer than as a fact, in nats.

    The model is asked for either, and the preference is scored as what it might say.

    Args:
        engine: The engine.
        prompts: How its prompts are written.
        preference: The text.

    Raises:
        GenerationError: The engine fails.
    """
    contexts = [
        prompts.contexts([ChatMessage(role="user", content=asked)], [None])[0]
        for asked in (_STYLE, _FACT)
    ]
    ids = [*engine.tokenizer.encode(preference, add_special_tokens=False)]
    scores = score_contexts(engine, contexts, ids, "Scoring a preference for the gate")
    style, fact = (sum(row) for row in scores)
    return style - fact


class PreferenceStyles:
    """Knows which preferences are about style, by the model. May be used from any thread.

    The model is asked once for each preference. No text is kept, only its digest.
    """

    def __init__(self) -> None:
        self._known: DigestCache[bool] = DigestCache(KEPT)

    def is_style(self, engine: Engine, prompts: PromptBuilder, preference: str) -> bool:
        """Whether a preference is about how answers are written.

        Raises:
            GenerationError: The engine fails.
        """
        if (known := self._known.get(engine.fingerprint, preference)) is not None:
            return known
        # Others may ask the same meanwhile, and are told the same.
        found = style_log_odds(engine, prompts, preference) >= STYLE_LOG_ODDS
        self._known.keep(engine.fingerprint, preference, found)
        return found
