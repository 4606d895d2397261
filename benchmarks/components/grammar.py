"""Constrained decoding: what a grammar costs beside a decode step of the embedded model."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from amulet_integrations import SamplingParams
from amulet_integrations.engine import GenerationRequest, LocalEngine, run_on_worker
from amulet_integrations.engine.structured.alternatives import OutputAlternative
from amulet_integrations.engine.structured.grammar import GrammarCompiler
from amulet_integrations.engine.structured.output_state import StructuredOutputState
from amulet_integrations.prompting import ChatMessage, JsonOutput, PromptBuilder, Tool
from benchmarks.support.timed_answers import NO_REUSE
from benchmarks.support.timing import FULL, ROUNDS, Effort, median_seconds

QUESTION = "Book a table for four tonight, somewhere quiet with a view of the sea."
TOKENS = 128
SCHEMA = {
    "type": "object",
    "properties": {
        "restaurant": {"type": "string", "minLength": 1},
        "guests": {"type": "integer", "minimum": 1, "maximum": 20},
        "table": {"enum": ["window", "garden", "bar"]},
        "wishes": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 2},
        "contact": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "email": {"type": "string", "format": "email"},
            },
            "required": ["name"],
        },
        "notes": {"type": "string", "minLength": 20},
    },
    "required": ["restaurant", "guests", "table", "wishes", "contact", "notes"],
}
TOOLS = [
    Tool(name="book_table", description="Books a table.", parameters=SCHEMA),
    Tool(
        name="find_places",
        description="Finds restaurants.",
        parameters={
            "type": "object",
            "properties": {"wish": {"type": "string"}, "limit": {"type": "integer"}},
            "required": ["wish", "limit"],
        },
    ),
]


def measure(effort: Effort = FULL) -> dict[str, float]:
    """Milliseconds of a decode step and of its grammar, their ratio, and tokens per second."""
    with LocalEngine.from_pretrained(**NO_REUSE) as engine:
        prompts = PromptBuilder(engine.tokenizer)
        question = [ChatMessage(role="user", content=QUESTION)]
        json_output = JsonOutput(json_schema=SCHEMA)
        # The same prompt for all, so that only the grammar differs.
        (context,) = prompts.contexts(question, [None], json_output=json_output)
        requests = {
            "free text": _request(context, None),
            "JSON": _request(context, prompts.tool_format.json_grammar(SCHEMA)),
            "tools": _request(context, prompts.tool_format.calls_grammar(TOOLS, parallel=True)),
        }
        return _measure(engine, requests, 1 if effort.quick else ROUNDS)


def _request(context: list[int], grammar: str | None) -> GenerationRequest:
    alternatives = [OutputAlternative(grammar=grammar)] if grammar else []
    sampling = SamplingParams(max_new_tokens=TOKENS, min_new_tokens=0 if grammar else TOKENS)
    return GenerationRequest(contexts=[context], alternatives=alternatives, sampling=sampling)


def _measure(
    engine: LocalEngine, requests: dict[str, GenerationRequest], rounds: int
) -> dict[str, float]:
    tokens: dict[str, list[int]] = {}

    def whole(name: str) -> Callable[[], None]:
        def run() -> None:
            (result,) = engine.generate([requests[name]])
            tokens[name] = result.token_ids

        return run

    seconds = median_seconds({name: whole(name) for name in requests}, rounds)
    step = seconds["free text"] / TOKENS
    figures = {"decode step ms": 1000 * step}
    for name in ("JSON", "tools"):
        grammar = _grammar_seconds(engine, requests[name], tokens[name])
        figures[f"{name} grammar ms a token"] = 1000 * grammar
        figures[f"{name} grammar % of a step"] = 100 * grammar / step
    for name in requests:
        figures[f"{name} tokens/s"] = len(tokens[name]) / seconds[name]
    return figures


def _grammar_seconds(engine: LocalEngine, request: GenerationRequest, tokens: list[int]) -> float:
    """Median over rounds of what masks and steps of the grammar take for one token."""
    width = len(engine.tokenizer)
    grammars = GrammarCompiler(engine.tokenizer, width, frozenset({engine.tokenizer.eos_token_id}))
    policy = torch.zeros(width)

    def walk() -> float:
        state = StructuredOutputState(request, grammars, TOKENS)
        started = time.perf_counter()
        for token in tokens:
            _masked(policy, state)
            state.advance(token)
        return (time.perf_counter() - started) / len(tokens)

    return statistics.median(run_on_worker(walk) for _ in range(ROUNDS + 1))


def _masked(policy: Tensor, state: StructuredOutputState) -> Tensor:
    return policy.masked_fill(~torch.from_numpy(state.allowed_tokens()), -torch.inf)
