"""Beam search over one context: a baseline, and the only decoding that is no mixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from amulet_integrations.decoding.completion_text import CompletionText, special_tokens
from amulet_integrations.engine.result import GenerationResult, Usage, as_generation_error
from amulet_integrations.errors import AmuletError, ContextLengthError

T = TypeVar("T")


@runtime_checkable
class RunsModel(Protocol):
    """An engine whose model is in this process, as `LocalEngine` is."""

    tokenizer: PreTrainedTokenizerBase
    context_window: int

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a text."""

    def run_model(self, function: Callable[[PreTrainedModel], T]) -> T:
        """Calls a function with the model, on the thread that may run it."""


def beam_search(
    engine: RunsModel,
    context: Sequence[int],
    *,
    num_beams: int = 16,
    max_new_tokens: int = 512,
    stop: Sequence[str] = (),
) -> GenerationResult:
    """The likeliest completion that the beam search of `model.generate` finds, with its defaults.

    The checkpoint's generation config (penalties, suppressed tokens, a least length) is left out,
    as the other methods leave it out. Requests of the engine wait until the search is done.

    Args:
        engine: The engine that holds the model.
        context: Token ids of the prompt.
        num_beams: How many completions are kept at each step.
        max_new_tokens: Most tokens to generate; fewer where the context window ends.
        stop: Strings that end the completion; they are not part of the text.

    Raises:
        ContextLengthError: The context leaves no room in the context window.
        EngineClosedError: The engine was closed.
        GenerationError: The model fails.
    """
    room = engine.context_window - len(context)
    if room < 1:
        raise ContextLengthError(
            f"A context of {len(context)} tokens leaves no room in the context window of "
            f"{engine.context_window} tokens. Shorten the question."
        )
    ends = sorted(engine.end_ids)
    config = GenerationConfig(
        num_beams=num_beams,
        do_sample=False,
        max_new_tokens=min(max_new_tokens, room),
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        stop_strings=list(stop) or None,
    )

    def search(model: Any) -> list[int]:
        ids = torch.tensor([context], device=model.device)
        with _without_generation_config(model):
            found = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config,
                tokenizer=engine.tokenizer if stop else None,
            )
        tokens: list[int] = found[0, len(context) :].tolist()
        return tokens

    try:
        token_ids = engine.run_model(search)
    except AmuletError:
        raise
    except Exception as error:
        raise as_generation_error("Beam search", error) from error
    return _result(engine, context, token_ids, stop)


@contextmanager
def _without_generation_config(model: Any) -> Iterator[None]:
    """Takes away the checkpoint's config, whose values `generate` would fill in."""
    own_config = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own_config


def _result(
    engine: RunsModel, context: Sequence[int], token_ids: list[int], stop: Sequence[str]
) -> GenerationResult:
    end = next((at for at, token in enumerate(token_ids) if token in engine.end_ids), None)
    if end is not None:
        del token_ids[end + 1 :]  # padding follows the end of the text
    hidden = special_tokens(engine.tokenizer) if stop else {}
    completion = CompletionText(engine.tokenizer, stop, hidden)
    text = "".join(map(completion.push, token_ids[:end])) + completion.finish()
    return GenerationResult(
        token_ids=token_ids,
        text=text,
        finish_reason="length" if end is None and not completion.is_stopped else "stop",
        usage=Usage(len(context), len(token_ids), (len(context),)),
    )
