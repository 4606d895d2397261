"""Which contexts write which part of an answer.

Preferences are about what people read. So calls of tools, and whether there are any, come from the
base context alone: no preference can cause a call, keep one from being made or change it. JSON is
written with the preferences in the prompt but not strengthened, for strength is what breaks
syntax; text is written by the whole mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from amulet_integrations.decoding.guidance import preference_weights
from amulet_integrations.engine.structured.alternatives import OutputAlternative, Weights
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK

if TYPE_CHECKING:
    from amulet_integrations.prompting import JsonOutput, ToolFormat, ToolUse
    from amulet_integrations.prompting.parsing.reasoning import Reasoning


@dataclass(frozen=True)
class Mixtures:
    """The weights of the contexts, base first, for the kinds of writing.

    Attributes:
        base: The base context alone.
        pref: The preferences in the prompt and nothing more, guidance scale 1.
        mixed: The method's own.
    """

    base: Weights
    pref: Weights
    mixed: Weights

    @classmethod
    def of(cls, guidance_scale: float, own_weights: Sequence[float]) -> Mixtures:
        """The mixtures for preference contexts of these weights."""
        return cls(
            base=preference_weights(0.0, own_weights),
            pref=preference_weights(1.0, own_weights),
            mixed=preference_weights(guidance_scale, own_weights),
        )

    @property
    def steers(self) -> bool:
        """Whether there is a preference at work."""
        return len(self.base) > 1


def steer(
    mixtures: Mixtures,
    tool_format: ToolFormat,
    reasoning: Reasoning,
    tool_use: ToolUse | None = None,
    json_output: JsonOutput | None = None,
) -> dict[str, Any]:
    """Decides how an answer with tools or of JSON may go on, and who writes it.

    Args:
        mixtures: The weights of the contexts.
        tool_format: How the model writes calls.
        reasoning: Whether thoughts come first. They are written as what comes after them.
        tool_use: The tools that may or must be called.
        json_output: The JSON that the answer, where it is no call, has to be.

    Returns:
        Fields of a `GenerationRequest`.
    """
    alternatives = _branches(mixtures, tool_format, tool_use, json_output)
    fields: dict[str, Any] = {
        "alternatives": alternatives,
        # With a choice between branches, the first is that of the calls.
        "weights": alternatives[0].weights,
    }
    if reasoning != "none":
        fields["thoughts_end"] = END_OF_THOUGHTS
        fields["thoughts_begin"] = THINK if reasoning == "may open" else None
    return fields


def _branches(
    mixtures: Mixtures,
    tool_format: ToolFormat,
    tool_use: ToolUse | None,
    json_output: JsonOutput | None,
) -> tuple[OutputAlternative, ...]:
    if tool_use is None or not tool_use.callable_tools:
        return (_content(mixtures, tool_format, json_output),)
    tools = tool_use.callable_tools
    parallel = tool_use.may_repeat
    if json_output is None and not tool_use.is_forced and not mixtures.steers:
        grammar = tool_format.text_and_calls_grammar(tools, parallel=parallel)
        return (OutputAlternative(grammar=grammar, weights=mixtures.base),)
    grammar = tool_format.calls_grammar(tools, parallel=parallel)
    calls = OutputAlternative(grammar=grammar, weights=mixtures.base)
    if tool_use.is_forced:
        return (calls,)
    # Decided before any text is written: text that follows a preference must not lead to a call.
    return calls, _content(mixtures, tool_format, json_output)


def _content(
    mixtures: Mixtures, tool_format: ToolFormat, json_output: JsonOutput | None
) -> OutputAlternative:
    """What the answer is where it is no call: JSON, or text in which no call begins."""
    if json_output is None:
        return OutputAlternative(grammar=tool_format.text_grammar(), weights=mixtures.mixed)
    return OutputAlternative(
        grammar=tool_format.json_grammar(json_output.json_schema),
        weights=mixtures.pref,
        string_weights=mixtures.mixed if json_output.steer_strings else None,
    )
