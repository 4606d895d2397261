"""Answers in OpenAI's form, with what Amulet adds.

What is not set is not sent, so null and left out are told apart.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

FinishReason = Literal["stop", "length", "tool_calls"]


class TokenFacts(BaseModel):
    """What the preferences made of one token of an answer. Logarithms are natural.

    Attributes:
        token: The token.
        text: The text that it completes; "" where a character is not whole yet, and for special
            tokens.
        logprob: Its log-probability under the policy that it was drawn from; -9999 for 0.
        base_logprob: The same without any preference.
        pref_logprob: The same with the preferences in the prompt and no amplification; null where
            there is no preference.
        kl_from_base: KL(policy || base), in nats; null if it is infinite.
    """

    token: str
    text: str
    logprob: float
    base_logprob: float
    pref_logprob: float | None
    kl_from_base: float | None


class InvalidCall(BaseModel):
    """A call that the model wrote and that cannot be made as it is.

    Attributes:
        index: Its index in `tool_calls`, if it stands there; otherwise its text is in the content.
        name: The tool, as far as it was written.
        error: What is wrong.
    """

    index: int
    name: str | None
    error: str


class AmuletReport(BaseModel):
    """What was applied, as in the metadata of the wrappers' answers.

    Attributes:
        user_id: The user whose preferences count; null for nobody.
        profile_version: The version of the user's stored profile; null where none is stored.
        source: How the preferences were named; null where nobody was.
        backend: What computed: "transformers", "llama_cpp" or "vllm"; null where the engine does
            not say.
        method: How the answer was decoded; "base" where no preference is active.
        guidance_scale: The guidance scale.
        max_kl: The bound on what it may do to a token, in nats.
        preset: The name of the strength where it has one.
        bounded_tokens: How many tokens the bound held back.
        mean_guidance_scale: The mean of the guidance scales that were used.
        preferences: Names and weights of the active preferences, with their scores where there is
            a gate.
        gate: The gate, and the threshold that applies; null for none.
        left_out: Names, weights and scores of the preferences that the gate left out.
        ignored: Parameters of the request that have no effect here.
        tokens: The tokens, where the request has `explain`.
        invalid_tool_calls: Calls that cannot be made.
        shortened: Whether JSON was closed early, because the tokens ran out.
    """

    user_id: str | None = None
    profile_version: int | None = None
    source: str | None = None
    backend: str | None = None
    method: str = "base"
    guidance_scale: float = 0.0
    max_kl: float | None = None
    preset: str | None = None
    bounded_tokens: int = 0
    mean_guidance_scale: float = 0.0
    preferences: list[dict[str, Any]] = []
    gate: dict[str, Any] | None = None
    left_out: list[dict[str, Any]] = []
    ignored: list[str] = []
    tokens: list[TokenFacts] = []
    invalid_tool_calls: list[InvalidCall] = []
    shortened: bool = False


class PromptTokensDetails(BaseModel):
    """How many tokens of the prompts had been computed before."""

    cached_tokens: int


class Usage(BaseModel):
    """The tokens of a request: those of its prompts, each counted once, and of all answers."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class TopLogprob(BaseModel):
    """A likely token."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatLogprob(TopLogprob):
    """A token of an answer, with the likeliest ones in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """The log-probabilities of a chat's answer."""

    content: list[ChatLogprob]
    refusal: None = None


class FunctionCall(BaseModel):
    """The function that is called; of a stream, the next part of it."""

    name: str = ""
    arguments: str


class ToolCallAnswer(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"]
    function: FunctionCall


class ToolCallDelta(BaseModel):
    """The next part of a call; the first part has its id and its name."""

    index: int
    id: str = ""
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessageAnswer(BaseModel):
    """The assistant's message; `reasoning_content` is vLLM's name for its thoughts."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str = ""
    tool_calls: list[ToolCallAnswer] = []


class ChatDelta(BaseModel):
    """What a chunk adds to the assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: None = None
    reasoning_content: str = ""
    tool_calls: list[ToolCallDelta] = []


class ChatChoice(BaseModel):
    """One answer of several; with its own report where there are several."""

    index: int
    message: ChatMessageAnswer
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason
    amulet: AmuletReport | None = None


class ChunkChoice(BaseModel):
    """What a chunk adds to one answer."""

    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class AnswerHead(BaseModel):
    """What every answer and every chunk begins with.

    Attributes:
        id: The same in all chunks of an answer.
        created: When the request was answered, in seconds since 1970.
        model: The served model.
        system_fingerprint: Equal for servers that give equal answers.
        usage: The tokens; in streams they are in the last chunk, if the request asks for them.
        amulet: What was applied; in streams it is in the chunk that ends an answer.
    """

    model_config = ConfigDict(protected_namespaces=())

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage | None = None
    amulet: AmuletReport | None = None


class ChatCompletion(AnswerHead):
    """The answer to POST /v1/chat/completions."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class ChatCompletionChunk(AnswerHead):
    """One event of a streamed answer to POST /v1/chat/completions."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]


class CompletionLogprobs(BaseModel):
    """The log-probabilities of a completion, in the legacy form."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One completion of several, or what a chunk adds to it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    amulet: AmuletReport | None = None


class Completion(AnswerHead):
    """The answer to POST /v1/completions, and each event of a streamed one."""

    object: Literal["text_completion"]
    choices: list[CompletionChoice]
