"""Every error this package raises on purpose; each message names the value and the remedy.

Errors about a value that the caller passed are `ValueError`s too, so code that knows nothing of
this package can still catch them.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Self


class AmuletError(Exception):
    """The root of all errors of this package."""


class MissingDependencyError(AmuletError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def for_extra(cls, package: str, extra: str) -> Self:
        """Says which extra brings `package`, with the line to type."""
        return cls(
            f"{package} is not installed. Install it with: "
            f'pip install "amulet-integrations[{extra}]"'
        )


class InvalidParamsError(AmuletError, ValueError):
    """A decoding or sampling parameter is out of its range."""


class GuidanceScaleError(InvalidParamsError):
    """The guidance scale is past the operator's `max_guidance_scale`, or past what floats hold."""


class UnknownArgumentError(AmuletError, ValueError, TypeError):
    """A keyword argument that nothing here reads; most often a misspelt one."""

    @classmethod
    def for_names(cls, owner: str, unknown: Iterable[str], known: Iterable[str]) -> Self:
        """Names the unknown arguments and the nearest known ones."""
        known = sorted(known)
        parts = []
        for name in sorted(unknown):
            near = get_close_matches(name, known, n=1)
            parts.append(f"{name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        return cls(f"{owner} does not take {', '.join(parts)}. It takes: {', '.join(known)}.")


class InvalidRequestError(AmuletError, ValueError):
    """A generation request that cannot be run as it stands."""


class ContextLengthError(InvalidRequestError):
    """A prompt that leaves no room for the completion in the model's context window."""


class PromptError(AmuletError, ValueError):
    """A conversation that cannot be turned into a prompt for this model."""


class ModelError(AmuletError):
    """Something is wrong with the model itself."""


class ModelNotFoundError(ModelError, ValueError):
    """No checkpoint of this name is to be had."""


class UnsupportedModelError(ModelError, ValueError):
    """The checkpoint exists, but is not one that this engine can run."""


class GenerationError(AmuletError, RuntimeError):
    """A request failed while it was being decoded. Other requests are not affected."""


class RequestTimeoutError(GenerationError, TimeoutError):
    """A request passed its deadline; its room in the engine has been given back."""


class RequestCancelledError(GenerationError):
    """A request was cancelled before it was done."""


class EngineClosedError(GenerationError):
    """The engine was closed."""


class EngineOverloadedError(GenerationError):
    """Too many requests wait already; this one was not taken on. Try again later."""


class IncompleteOutputError(GenerationError):
    """An answer that had to be whole, such as JSON, could not be finished within its tokens."""


class NoToolCallError(AmuletError, ValueError):
    """An answer without a call of a tool, where one was needed."""


class StructuredOutputError(GenerationError):
    """An answer that follows its schema, but is refused by the schema's own validators."""


class AnswerError(GenerationError):
    """A prompt that LlamaIndex has filled in cannot be answered; the cause is the error proper.

    It is no `ValueError`: LlamaIndex's query engines take those for an answer that does not fit,
    and go on with "Empty Response".
    """


class UnsupportedGrammarError(AmuletError, ValueError):
    """A schema or grammar that cannot be enforced while decoding."""


class PreferenceSelectionError(AmuletError, ValueError):
    """The call names whose preferences to use in a way that cannot be followed."""


class ProfileError(AmuletError):
    """Something is wrong with a preference profile or the place where it is kept."""


class InvalidProfileError(ProfileError, ValueError):
    """A preference or a profile with a value out of its range."""


class CorruptProfileError(ProfileError, ValueError):
    """What the store holds for a user is not a profile."""


class ProfileConflictError(ProfileError):
    """A profile was changed by somebody else since it was read, so storing it would lose that."""


class ProfileStoreError(ProfileError, OSError):
    """The store cannot be opened, read or written."""


class EvidenceError(AmuletError, ValueError):
    """Answers do not say enough about a user's preferences, or are no examples of them."""


class EvaluationError(AmuletError, ValueError):
    """An evaluation that cannot be run, resumed or reported as it was asked for."""
