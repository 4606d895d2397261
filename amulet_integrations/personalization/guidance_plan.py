"""Which contexts write which part of an answer.

Preferences are about what people read. So the base context alone decides whether tools are called,
and writes the calls: no preference can cause, prevent or change a call. JSON is written with the
preferences in the prompt but without amplification, which breaks syntax. Text is written by the
whole mixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amulet_integrations.decoding.guidance import ContextWeights
from amulet_integrations.engine.structured.alternatives import OutputAlternative

if TYPE_CHECKING:
    from amulet_integrations.prompting import JsonOutput, ToolFormat
    from amulet_integrations.prompting.openai_compat.output_options import OutputOptions


def plan_alternatives(
    weights: ContextWeights, tool_format: ToolFormat, output: OutputOptions
) -> tuple[OutputAlternative, ...]:
    """Decides which forms an answer may take, and which contexts write them.

    Where calls and content are both possible, the calls come first.

    Args:
        weights: The mixtures of the contexts.
        tool_format: How the model writes tool calls.
        output: The tools and the response format; at least one of the two is set.
    """
    tool_use, json_output = output.tool_use, output.json_output
    if tool_use is None or not tool_use.callable_tools:
        return (_content(weights, tool_format, json_output),)
    tools = tool_use.callable_tools
    parallel = tool_use.may_repeat
    if json_output is None and not tool_use.is_forced and not weights.has_preferences:
        grammar = tool_format.text_and_calls_grammar(tools, parallel=parallel)
        return (OutputAlternative(grammar=grammar, weights=weights.base),)
    grammar = tool_format.calls_grammar(tools, parallel=parallel)
    calls = OutputAlternative(grammar=grammar, weights=weights.base)
    if tool_use.is_forced:
        return (calls,)
    # The choice comes before any text: text that follows a preference must not lead to a call.
    return calls, _content(weights, tool_format, json_output)


def _content(
    weights: ContextWeights, tool_format: ToolFormat, json_output: JsonOutput | None
) -> OutputAlternative:
    """An answer without calls: JSON, or text in which no call begins."""
    if json_output is None:
        return OutputAlternative(grammar=tool_format.text_grammar(), weights=weights.guided)
    return OutputAlternative(
        grammar=tool_format.json_grammar(json_output.json_schema),
        weights=weights.pref,
        string_weights=weights.guided if json_output.steer_strings else None,
    )
