"""Asks a model which preferences a user's messages show."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.engine import Engine, GenerationRequest, OutputAlternative
from amulet_integrations.errors import ContextLengthError, InvalidParamsError, StructuredOutputError
from amulet_integrations.profiles import PreferenceProfile
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.prompting import JsonOutput, PromptBuilder
from amulet_integrations.prompting.parsing.pieces import TextPiece
from amulet_integrations.prompting.parsing.reasoning import END_OF_THOUGHTS, THINK, Reasoning

from .conversation_turns import UserTurn, user_turns
from .quote_check import checked_suggestion
from .suggested_preference import SuggestedPreference, Suggestions
from .suggestion_prompt import answer_schema, prompt_messages

DEFAULT_MOST = 5
DEFAULT_MAX_TOKENS = 512


def suggest_preferences(
    engine: Engine,
    conversation: Any,
    *,
    user_id: str,
    profile: PreferenceProfile | None = None,
    most: int = DEFAULT_MOST,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    timeout: float | None = None,
) -> Suggestions:
    """Suggests preferences that a conversation shows. Nothing is stored.

    The model reads what the user wrote and nothing else: neither the assistant's messages nor
    results of tools are evidence. It answers in JSON, by a grammar, with the user's own words for
    each suggestion. Those that the user did not write are rejected. Show the candidates to the user
    and give those that the user confirms to `accept_suggestions`.

    Args:
        engine: The engine of any model; a small one suggests badly.
        conversation: Messages of LangChain, LlamaIndex or this package, dicts as in OpenAI's API,
            or pairs of a role and a text. A string is one message of the user.
        user_id: Whose conversation it is. Nothing in it can name another user.
        profile: The user's profile, whose preferences are not suggested again.
        most: Most suggestions, from 1 to 20.
        max_tokens: Most tokens of the model's answer.
        timeout: Seconds that the model may take; None for no limit.

    Returns:
        The candidates, why others were rejected, and how many old messages had no room.

    Raises:
        InvalidProfileError: `user_id` is no user id.
        InvalidParamsError: `most` or `max_tokens` is out of its range, or `profile` is of another
            user.
        PromptError: The conversation has another form, or the user wrote nothing.
        ContextLengthError: Not even the newest message has room in the model's context window.
        StructuredOutputError: The model's answer cannot be read.
        GenerationError: The model fails, or takes too long.
    """
    checked_label("user_id", user_id)
    _check_arguments(user_id, profile, most)
    sampling = SamplingParams(max_new_tokens=max_tokens)
    turns = user_turns(conversation)
    builder = PromptBuilder(engine.tokenizer, context_window=engine.context_window)
    output = JsonOutput(json_schema=answer_schema(most), in_prompt=False)
    contexts, reasoning, used = _fitting_prompt(builder, engine, turns, output, max_tokens)
    request = GenerationRequest(
        contexts=contexts,
        weights=(1.0,),
        alternatives=(
            OutputAlternative(grammar=builder.tool_format.json_grammar(output.json_schema)),
        ),
        thoughts_begin=THINK if reasoning == "may open" else None,
        thoughts_end=END_OF_THOUGHTS if reasoning != "none" else None,
        sampling=sampling.model_copy(update={"stop": builder.stop}),
        end_ids=builder.end_ids,
        timeout=timeout,
        user_id=user_id,
        cache_salt=f"user {user_id}",
        skip_special_tokens=builder.skip_special_tokens(calls=False, reasoning=reasoning),
    )
    answer = _text_of(builder, reasoning, engine.generate([request])[0].text)
    known = () if profile is None else (it.text for it in profile.preferences)
    return _checked(user_id, _items(answer)[:most], used, known, len(turns) - len(used))


def _fitting_prompt(
    builder: PromptBuilder,
    engine: Engine,
    turns: Sequence[UserTurn],
    output: JsonOutput,
    max_tokens: int,
) -> tuple[list[list[int]], Reasoning, Sequence[UserTurn]]:
    """The prompt with as many of the newest messages as leave room for the answer."""
    room = engine.context_window - max_tokens
    for first in _first_turns(len(turns)):
        used = turns[first:]
        prompt = builder.prepare(prompt_messages(used), json_output=output)
        try:
            contexts = prompt.contexts([None])
        except ContextLengthError:  # far too long
            continue
        if len(contexts[0]) <= room:
            return contexts, prompt.reasoning, used
    raise ContextLengthError(
        f"The user's newest message and the answer (max_tokens={max_tokens:,}) have no room in the "
        f"{engine.context_window:,} tokens of {engine.model_name!r}. Give a shorter conversation, "
        "or lower max_tokens."
    )


def _first_turns(count: int) -> Iterable[int]:
    """Where to begin: with all messages, then with half of them, down to the newest one alone."""
    kept = count
    while kept > 1:
        yield count - kept
        kept = (kept + 1) // 2 if kept > 2 else 1  # noqa: PLR2004 - half of three is two
    yield count - 1


def _text_of(builder: PromptBuilder, reasoning: Reasoning, answer: str) -> str:
    """The answer without thoughts."""
    parser = builder.parser(reasoning=reasoning)
    pieces = [*parser.push(answer), *parser.flush()]
    return "".join(it.text for it in pieces if isinstance(it, TextPiece))


def _items(answer: str) -> list[Any]:
    """The suggestions of an answer.

    Raises:
        StructuredOutputError: It is no JSON of the form that was asked for.
    """
    try:
        items = json.loads(answer)["preferences"]
    except (KeyError, TypeError, ValueError, RecursionError):
        items = None
    if isinstance(items, list):
        return items
    raise StructuredOutputError(
        "The model's answer is no JSON with a list of preferences, so nothing is suggested. Use a "
        "model that follows instructions, or raise max_tokens."
    )


def _checked(
    user_id: str,
    items: Iterable[Any],
    turns: Sequence[UserTurn],
    known: Iterable[str],
    left_out: int,
) -> Suggestions:
    candidates: list[SuggestedPreference] = []
    rejected: list[str] = []
    seen = {text.casefold() for text in known}
    for item in items:
        checked = checked_suggestion(user_id, item, turns)
        if isinstance(checked, str):
            rejected.append(checked)
        elif checked.text.casefold() in seen:
            rejected.append("it is a preference of the user already, or suggested twice")
        else:
            seen.add(checked.text.casefold())
            candidates.append(checked)
    return Suggestions(tuple(candidates), tuple(rejected), left_out)


def _check_arguments(user_id: str, profile: PreferenceProfile | None, most: int) -> None:
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 20:  # noqa: PLR2004
        raise InvalidParamsError(f"most={most!r:.40}: give a whole number from 1 to 20.")
    if profile is not None and profile.user_id != user_id:
        raise InvalidParamsError(
            f"profile is of {profile.user_id!r:.80}, and user_id={user_id!r:.80}; give that user's."
        )
