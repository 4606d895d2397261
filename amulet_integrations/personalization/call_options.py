"""The keyword arguments that a call of either wrapper takes: their names, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions

from .user_resolution import PreferenceSelection

SELECTION_ARGUMENTS = tuple(name for name in PreferenceSelection.model_fields if name != "source")
"""Arguments of a call that select whose preferences it follows, when and how."""

OTHER_ARGUMENTS = ("max_tokens", "max_new_tokens", "timeout", "chat_template_kwargs", "explain")
"""Arguments of a call besides these and the sampling parameters."""


NONE_HAS_MEANING = ("max_kl", "gate")
"""Arguments whose None says something: no bound, and no gate."""


@dataclass(frozen=True)
class CallArguments:
    """The validated arguments of one call.

    Attributes:
        selection: The preferences that the arguments select; see `AmuletClient.resolve_user`.
        sampling: The constructor's sampling parameters with the call's in their place.
        output: The tools, the response format and the log-probabilities.
        deadline: Until when the call may take, counted from when its arguments were read.
        chat_template_kwargs: Further variables of the model's chat template.
        explain: Whether the answer is explained token by token.
    """

    selection: PreferenceSelection
    sampling: SamplingParams
    output: OutputOptions
    deadline: Deadline
    chat_template_kwargs: Mapping[str, Any] | None = None
    explain: bool = False

    def for_one_request(self, *, whole_call: bool = True) -> Self:
        """The same arguments with a deadline that can be cancelled by itself.

        Args:
            whole_call: Whether the time since the call counts; otherwise it begins anew.
        """
        deadline = self.deadline.part() if whole_call else Deadline(self.deadline.timeout)
        return replace(self, deadline=deadline)


def without_unset(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call without Nones; only those of `max_kl` and `gate` have a meaning."""
    return {
        name: value
        for name, value in arguments.items()
        if value is not None or name in NONE_HAS_MEANING
    }


def selection_from(arguments: Mapping[str, Any]) -> PreferenceSelection:
    """What the arguments of a call select; the other arguments are passed over.

    Raises:
        AmuletError: One of them is not valid.
    """
    given = {name: arguments[name] for name in SELECTION_ARGUMENTS if name in arguments}
    return PreferenceSelection(**without_unset(given))


def checked_timeout(timeout: Any) -> float | None:
    """The seconds that a call may take; None for no end.

    Raises:
        InvalidParamsError: It is no number above 0.
    """
    if timeout is None:
        return None
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not timeout > 0:
        raise InvalidParamsError(f"timeout={timeout!r}: give seconds above 0, or None.")
    return timeout


def checked_explain(explain: Any) -> bool:
    """Whether an answer is explained.

    Raises:
        InvalidParamsError: It is neither True nor False.
    """
    if not isinstance(explain, bool):
        raise InvalidParamsError(f"explain={explain!r}: give True or False.")
    return explain


def merged_template_kwargs(default: Mapping[str, Any] | None, given: Any) -> dict[str, Any] | None:
    """The variables of the chat template, a call's in the place of the constructor's.

    Raises:
        InvalidParamsError: `given` is no dict.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InvalidParamsError(
            f"chat_template_kwargs is a {type(given).__name__}; give a dict of the chat "
            "template's variables."
        )
    return {**(default or {}), **(given or {})} or None
