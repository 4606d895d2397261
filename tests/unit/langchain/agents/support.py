"""An engine for agents: it says what a function of the prompt tells it to."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from typing import Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from amulet_integrations.engine import GenerationRequest
from amulet_integrations.engine.result import Increment, Usage
from tests.support.scripted import ScriptedEngine


class AgentEngine(ScriptedEngine):
    """Answers each request with what `answer` makes of its plain prompt.

    Args:
        answer: From the prompt without preferences, as text, to the answer's text.
    """

    context_window = 8192

    def __init__(self, answer: Callable[[str], str] = lambda _: "Well.") -> None:
        super().__init__()
        self._answer = answer

    def prompts(self) -> list[str]:
        """The plain prompt of each request."""
        return [self._read(request.contexts[0]) for request in self.requests]

    def preferences(self) -> list[str]:
        """The prompts with preferences of each request, one after the other."""
        return ["\n".join(map(self._read, request.contexts[1:])) for request in self.requests]

    def _read(self, context: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(context)
        return text

    def _steps(self, request: GenerationRequest) -> Generator[Increment, None, None]:
        lengths = tuple(len(context) for context in request.contexts)
        yield Increment(
            self._answer(self._read(request.contexts[0])),
            (5,),
            "stop",
            Usage(lengths[0], 1, lengths),
        )


def call(name: str, /, **arguments: Any) -> str:
    """The text of a tool call."""
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def graph_of(tools: Any, store: Any = None) -> Any:
    """A graph of nothing but the tools."""
    graph = StateGraph(MessagesState, context_schema=dict).add_node("tools", ToolNode(tools))
    return graph.add_edge(START, "tools").compile(store=store)


def calls(*named: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    made = [
        {"name": name, "args": args, "id": f"c{place}", "type": "tool_call"}
        for place, (name, args) in enumerate(named)
    ]
    return {"messages": [AIMessage("", tool_calls=made)]}
