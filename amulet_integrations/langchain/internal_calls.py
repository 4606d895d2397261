"""Which calls are work inside an agent that no user reads, such as summaries and guardrails."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, var_child_runnable_config

# LangChain's own middleware marks its calls: all with a secret, some also with their source.
_MARK = "lc_internal_call"
_SOURCES = {"summarization", "tool_selection", "tool_emulation"}

# The nodes of a middleware's hooks in `create_agent`, and of the hooks of `create_react_agent`.
_HOOK = re.compile(r".+\.(?:before|after)_(?:agent|model)|(?:pre|post)_model_hook")

STRUCTURED = ("ls_structured_output_format", "structured_output_format")
"""What `with_structured_output` binds for tracers; an agent's own answers are never made by it."""


class InternalCall(Enum):
    """What a call is for whose answer no user reads."""

    TEXT = "a text, such as a summary"
    DECISION = "an object by which the agent goes on, such as a verdict"
    TOOLS = "the tools to choose from; LangChain's selector works with the agent's own model"


def internal_call(
    config: RunnableConfig | None, arguments: Mapping[str, Any]
) -> InternalCall | None:
    """Tells from the config of a call whether a middleware makes it for itself.

    Args:
        config: The config of the call; None for that of the surrounding run.
        arguments: The keyword arguments of the call.

    Returns:
        None for an agent's own call of its model, and for every call outside of an agent.
    """
    around = (var_child_runnable_config.get() or {}).get("metadata") or {}
    metadata = {**around, **(ensure_config(config).get("metadata") or {})}
    is_structured = any(arguments.get(name) is not None for name in STRUCTURED)
    in_model_node = (
        metadata.get("langgraph_node") == "model"
        and metadata.get("ls_integration") == "langchain_create_agent"
    )
    if metadata.get("lc_source") == "tool_selection":
        return InternalCall.TOOLS
    if _is_marked(metadata) or _in_hook(metadata) or (in_model_node and is_structured):
        return InternalCall.DECISION if is_structured else InternalCall.TEXT
    return None


def _is_marked(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get(_MARK)) or metadata.get("lc_source") in _SOURCES


def _in_hook(metadata: Mapping[str, Any]) -> bool:
    """Whether a node around the call is a hook; a hook may run an agent of its own."""
    path = str(metadata.get("langgraph_checkpoint_ns", "")).split("|")
    nodes = [str(metadata.get("langgraph_node", "")), *(step.partition(":")[0] for step in path)]
    return any(_HOOK.fullmatch(node) for node in nodes)
