"""`AmuletLLM`: LlamaIndex's interface of a language model, decoded for the user who asks."""

from __future__ import annotations

from amulet_integrations.llama_index.late_streams import watch_late_streams
from amulet_integrations.llama_index.structured import StructuredOutputLLM


class AmuletLLM(StructuredOutputLLM):
    """A local model for LlamaIndex whose answers follow the preferences of the user who asks.

        llm = AmuletLLM(profiles="sqlite:///profiles.db")
        with preference_scope(user_id="ann"):
            query_engine.query("What is new?")

    It is a `CustomLLM` and a `FunctionCallingLLM`: it completes, chats, calls tools and predicts
    objects, each at once or as a stream, sync or async.

    Whose preferences: those named by the call (`preference=`, `profile=` or `user_id=`) or by
    `for_user`, else by the surrounding `preference_scope`, else by the constructor. They are
    settled when a method is called, so that a stream speaks for the user who asked for it wherever
    it is read; the streams of query engines and chat engines do so too. `plain` gives a copy that
    follows nobody's, for work that no user reads.

    Texts of preferences reach no callback, event or span, and none of the forms to which LlamaIndex
    serialises components; a pickle keeps them.

    Every method takes the keyword arguments `preference`, `profile`, `user_id`,
    `preference_context`, `params` and `method`, and for this call `temperature`, `max_tokens`,
    `min_new_tokens`, `top_p`, `top_k`, `min_p`, `repetition_penalty`, `seed`, `stop`, `timeout` and
    `chat_template_kwargs`;
    `response_format` (a Pydantic model, or a dict of OpenAI's form) for JSON that follows a schema,
    with `steer_strings`; and `logprobs` with `top_logprobs`. Chats take `tools`, `tool_choice` and
    `parallel_tool_calls` as well. Others are refused.

    `complete` asks through the model's chat template, as one user message, unless
    `formatted=True` says that the prompt is whole. Whoever passes `messages_to_prompt` or
    `completion_to_prompt` writes whole prompts as well. In a whole prompt control tokens are read
    as such, and preferences stand in front of it, as plain text before `separator`. Tools and
    response formats need the chat template.

    The `raw` of a response (of the last one of a stream) has `finish_reason`, `usage`, `model`, and
    in `amulet` what was applied; `shortened` where JSON was closed early because the tokens ran
    out.

    Args:
        **data: The fields of `AmuletConfig` (with `profile` for a profile), and those of
            LlamaIndex's `LLM`: `system_prompt` (the system message of calls without one),
            `callback_manager`, `messages_to_prompt`, `completion_to_prompt`, `output_parser`,
            `pydantic_program_mode`, `query_wrapper_prompt`, `rate_limiter`.

    Raises:
        UnknownArgumentError: A name that means nothing here.
        InvalidParamsError: A value out of its range.
        ModelError: There is no such model, or it cannot be run.
    """


watch_late_streams()
