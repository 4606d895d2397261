"""Every error and warning of this package; each message names the value and the remedy.

Errors about a value that the caller passed are also `ValueError`s, so that code which does not know
this package can catch them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from amulet_integrations.suggestions import suggest

_LONGEST = 2000  # characters of a message
_MOST_NAMES = 20  # that a message lists


class AmuletError(Exception):
    """The root of all errors of this package.

    A message of more than 2,000 characters loses its middle: it quotes a value that somebody else
    may have made very long. Halves of surrogate pairs in it are escaped, so that it can be logged
    and sent. An error that is raised ``from None`` has no `__context__`, because the
    cause quotes what is private, and tools that report errors read it.

    Args:
        *args: The message.
        param: The argument or field that is wrong, such as "top_logprobs" or
            "preferences[5].text"; None where it is not known to be one.
    """

    def __init__(self, *args: object, param: str | None = None) -> None:
        super().__init__(*(_shown(it) if isinstance(it, str) else it for it in args))
        self.param = param

    @property
    def __context__(self) -> BaseException | None:
        """The error that was being handled, or None if this one was raised ``from None``."""
        return None if self.__suppress_context__ else _CONTEXT.__get__(self)

    @__context__.setter
    def __context__(self, error: BaseException | None) -> None:
        _CONTEXT.__set__(self, error)


_CONTEXT = BaseException.__dict__["__context__"]


def _shown(message: str) -> str:
    message = message.encode(errors="backslashreplace").decode()
    if len(message) <= _LONGEST:
        return message
    half = _LONGEST // 2
    return f"{message[:half]} … {message[-half:]}"


@contextmanager
def errors_at(place: str) -> Iterator[None]:
    """Names the place of what is validated inside: it becomes the `param` of errors, or its start.

    Args:
        place: An argument or field, such as "preferences", or an index, such as "[5]".
    """
    try:
        yield
    except AmuletError as error:
        error.param = joined_places(place, error.param)
        raise


def joined_places(outer: str, inner: str | None) -> str:
    """A place in a place: "preferences" and "[5]" are "preferences[5]"."""
    if inner is None:
        return outer
    return outer + inner if inner.startswith("[") else f"{outer}.{inner}"


class MissingDependencyError(AmuletError, ImportError):
    """An optional dependency is not installed."""

    @classmethod
    def for_extra(cls, package: str, extra: str) -> Self:
        """Names the extra that installs `package`, with the command to type."""
        from .installation import install_command  # noqa: PLC0415 - reading metadata is slow

        return cls(f"{package} is not installed. Install it with: {install_command(extra)}")


class InvalidParamsError(AmuletError, ValueError):
    """A decoding or sampling parameter is out of its range."""


class GuidanceScaleError(InvalidParamsError):
    """The guidance scale is above `max_guidance_scale`, or too large for a float."""


class UnknownArgumentError(AmuletError, ValueError, TypeError):
    """A keyword argument is unknown, most often because it is misspelt."""

    @classmethod
    def for_names(
        cls, owner: str, unknown: Mapping[str, Any] | Collection[str], known: Collection[str]
    ) -> Self:
        """Names the unknown arguments, and what was probably meant; else all known ones.

        Args:
            owner: What was called.
            unknown: The unknown names, with their values if they are at hand; of these, only
                parameters of Amulet's game are quoted.
            known: The known names.
        """
        shown = sorted(unknown)[:_MOST_NAMES]
        values = unknown if isinstance(unknown, Mapping) else dict.fromkeys(unknown)
        suggested = suggest({name: values[name] for name in unknown if name in shown}, known)
        parts = [
            f"{name!r:.80}" + (f" (did you mean {suggested[name]}?)" if name in suggested else "")
            for name in shown
        ]
        if others := len(unknown) - len(shown):
            parts.append(f"and {others:,} more")
        message = f"{owner} does not take {', '.join(parts)}."
        if len(suggested) < len(unknown):
            message += f" It takes: {', '.join(sorted(known))}."
        return cls(message)


class InvalidRequestError(AmuletError, ValueError):
    """A generation request that cannot be run."""


class ContextLengthError(InvalidRequestError):
    """A prompt that leaves no room for the completion in the model's context window."""


class UnsupportedByEngineError(AmuletError, ValueError):
    """A setting or a request that this kind of engine cannot run, and another one may."""


class PromptError(AmuletError, ValueError):
    """A conversation that cannot be turned into a prompt for this model."""


class ModelError(AmuletError):
    """Something is wrong with the model itself."""


class ModelNotFoundError(ModelError, ValueError):
    """There is no checkpoint of this name."""


class ModelCacheError(ModelError, OSError):
    """The folder of converted models cannot be written, or somebody else could have filled it."""


class UnsupportedModelError(ModelError, ValueError):
    """The checkpoint exists, but this engine cannot run it."""


class GenerationError(AmuletError, RuntimeError):
    """A request failed while it was being decoded. Other requests are not affected."""


class RequestTimeoutError(GenerationError, TimeoutError):
    """A request passed its deadline; its room in the engine has been given back."""


class RequestCancelledError(GenerationError):
    """A request was cancelled before it was done."""


class EngineClosedError(GenerationError):
    """The engine was closed."""


class EngineOverloadedError(GenerationError):
    """Too many requests are waiting, so this one was refused. Try again later."""


class IncompleteOutputError(GenerationError):
    """An answer that has to be complete, such as JSON, could not be finished within its tokens."""


class NoToolCallError(AmuletError, ValueError):
    """An answer calls no tool where it had to."""


class StructuredOutputError(GenerationError):
    """An answer fails what a grammar cannot enforce: a keyword of its schema, or a validator."""


class AnswerError(GenerationError):
    """A prompt that LlamaIndex has filled in cannot be answered; `__cause__` is the actual error.

    It is no `ValueError`, because LlamaIndex's query engines treat a `ValueError` as an answer that
    does not fit, and return "Empty Response".
    """


class UnsupportedGrammarError(AmuletError, ValueError):
    """A schema or grammar that cannot be enforced while decoding."""


class PreferenceSelectionError(AmuletError, ValueError):
    """The preferences that a call selects are ambiguous or cannot be looked up."""


class UnknownUserError(PreferenceSelectionError):
    """A user is named and has no profile, or cannot be looked up anywhere."""


class AmuletWarning(UserWarning):
    """The root of all warnings of this package, but for its `DeprecationWarning`s."""


class UnknownUserWarning(AmuletWarning):
    """A user is named and has no profile, or cannot be looked up; see `unknown_user`."""


class UnknownKeyWarning(AmuletWarning):
    """A key of a config looks like one that is read, and is not; see `unknown_user`."""


class PreferenceContradictionWarning(AmuletWarning):
    """A profile is stored whose preferences contradict each other; see `find_contradictions`."""


class UnreadableContentWarning(AmuletWarning):
    """A message holds what a text model cannot read; its prompt names it in its place."""


class ProfileError(AmuletError):
    """Something is wrong with a preference profile or its store."""


class InvalidProfileError(ProfileError, ValueError):
    """A preference or a profile with a value out of its range."""


class ProfileLimitError(InvalidProfileError):
    """A preference, a profile or a call exceeds what the operator allows one user."""


class CorruptProfileError(ProfileError, ValueError):
    """The store contains something else than a profile for a user."""


class ProfileConflictError(ProfileError):
    """A profile was changed since it was read, so saving it would lose the change."""


class ProfileStoreError(ProfileError, OSError):
    """The store cannot be opened, read or written."""


class ImportInterruptedError(ProfileStoreError):
    """The store failed in the middle of an import. What is written stays; importing goes on.

    Args:
        *args: The message.
        written: The users whose profiles were written before.
    """

    def __init__(self, *args: object, written: Collection[str] = ()) -> None:
        super().__init__(*args)
        self.written = tuple(written)

    @classmethod
    def at(cls, user_id: str, written: Collection[str], error: Exception) -> Self:
        """Says where the import stopped, and who is written."""
        shown = ", ".join(f"{it!r:.80}" for it in list(written)[:_MOST_NAMES]) or "nobody"
        if (others := len(written) - _MOST_NAMES) > 0:
            shown += f" and {others:,} more (see the error's `written`)"
        return cls(
            f"The import stopped at {user_id!r:.80}: {error} Written before: {shown}. Importing "
            "again goes on from there and changes nothing else.",
            written=written,
        )


class KeyFileError(AmuletError, OSError):
    """The file of a server's keys is missing, damaged, cannot be used, or others may write it."""


class EvidenceError(AmuletError, ValueError):
    """Answers contain too little evidence of a user's preferences, or none."""


class EvaluationError(AmuletError, ValueError):
    """An evaluation that cannot be run, resumed or reported."""
