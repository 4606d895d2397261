"""Where answers begin and end: after any last message, up to the end of a turn or a stop string."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from amulet_integrations import SamplingParams
from amulet_integrations.engine import (
    GenerationRequest,
    GenerationResult,
    LocalEngine,
    OutputAlternative,
)
from amulet_integrations.errors import InvalidRequestError, PromptError
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import tiny_model
from tests.support.wrappers import ASK, Ask, Turn, Wrapper, each
from tests.support.written_backend import WrittenBackend
from tests.unit.prompting.models import (
    CHATML,
    GEMMA,
    LLAMA3,
    MISTRAL,
    MISTRAL3,
    PHI3,
    QWEN3,
    ZEPHYR,
    byte_level,
    in_python,
    metaspace,
)

EOS = "<s>"  # the checkpoint's end of text, which no template here writes after an answer
NOT_AFTER_THE_LAST = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}"
    "{% if not loop.last %}<|end|>{% endif %}{% endfor %}"
)
NEXT_OPENING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANOTHER_AFTER_THE_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{{ '<|end|>' if loop.last and not add_generation_prompt else '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDS = {
    "chatml": (CHATML, "<|im_end|>"),
    "qwen3": (QWEN3, "<|im_end|>"),
    "llama3": (LLAMA3, "<|eot_id|>"),
    "gemma": (GEMMA, "<end_of_turn>"),
    "phi3": (PHI3, "<|end|>"),
    "mistral": (MISTRAL, "</s>"),
    "mistral3": (MISTRAL3, "</s>"),
    "zephyr": (ZEPHYR, "</s>"),
    "not after the last answer": (NOT_AFTER_THE_LAST, "<|end|>"),
    "the next turn's beginning": (NEXT_OPENING, "<|im_start|>"),
    "another one after the last answer": (ANOTHER_AFTER_THE_LAST, "<|end|>"),
    "none": ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", None),
    "words": ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n\nツ{% endfor %}", None),
    "always opened": (
        "{% for m in messages %}{{ m.content }}\n{% endfor %}<|im_start|>assistant\n",
        None,
    ),
}
TOKENIZERS: dict[str, Callable[..., Any]] = {
    "byte-level": byte_level,
    "metaspace": metaspace,
    "python": in_python,
}
WAYS = list(each("chats"))
every_chat = pytest.mark.parametrize(
    ("wrapper", "ask"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS]
)


def ids_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def written(tokenizer: PreTrainedTokenizerBase, text: str) -> LocalEngine:
    """An engine that writes the tokens of a text; it knows no end but the checkpoint's."""
    eos = tokenizer.convert_tokens_to_ids(EOS)
    return LocalEngine(WrittenBackend(tokenizer, ids_of(tokenizer, text), {eos}))


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("name", ENDS)
def test_what_the_template_writes_after_an_answer_ends_a_turn(
    name: str, make: Callable[..., Any]
) -> None:
    template, end = ENDS[name]
    tokenizer = make(template)
    expected = set() if end is None else {tokenizer.convert_tokens_to_ids(end)}
    assert PromptBuilder(tokenizer).end_ids == expected
    given = PromptBuilder(make(None), chat_template=template)
    assert given.end_ids == expected
    assert PromptBuilder(make(None)).end_ids == frozenset()


@pytest.mark.parametrize("name", ["chatml", "phi3", "zephyr", "none"])
def test_an_engine_keeps_the_checkpoints_end_beside_that_of_the_template(name: str) -> None:
    template, end = ENDS[name]
    tokenizer = byte_level(template)
    tokenizer.eos_token = EOS
    model = tiny_model()
    model.generation_config.eos_token_id = [7, 8]
    expected = {7, 8, tokenizer.convert_tokens_to_ids(EOS)}
    # Zephyr and Mistral write the tokenizer's own end of text.
    if end is not None:
        expected.add(tokenizer.convert_tokens_to_ids(EOS if end == "</s>" else end))
    with LocalEngine(model, tokenizer) as engine:
        assert engine.end_ids == expected


@every_chat
@pytest.mark.parametrize("name", ["chatml", "llama3", "gemma", "mistral3"])
def test_answers_end_with_the_turn(wrapper: Wrapper, ask: Ask, name: str) -> None:
    template, end = ENDS[name]
    tokenizer = byte_level(template)
    with written(tokenizer, f"Blue.{end}\n<|im_start|>user\nAnd the") as engine:
        answer = ask(wrapper.make(engine=engine, max_tokens=20), ASK)
    assert (answer.text, answer.finish_reason) == ("Blue.", "stop")


@every_chat
def test_calls_and_json_end_with_the_turn(wrapper: Wrapper, ask: Ask) -> None:
    tokenizer = byte_level(CHATML)
    call = '<tool_call>\n{"name": "depth", "arguments": {"sea": "red"}}\n</tool_call>'
    with written(tokenizer, call + "<|im_end|>\n<|im_start|>") as engine:
        answer = ask(wrapper.make(engine=engine, max_tokens=90), ASK, tools=[wrapper.tool()])
    assert (answer.calls, answer.finish_reason) == ([{"sea": "red"}], "tool_calls")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with written(tokenizer, '{"n": 12}<|im_end|>\n<|im_start|>') as engine:
        answer = ask(wrapper.make(engine=engine, max_tokens=40), ASK, response_format=form)
    assert (answer.text, answer.finish_reason) == ('{"n": 12}', "stop")
    # A number may go on, so that only the end of the turn ends it.
    with written(tokenizer, "Blue.<|im_end|>\n<|im_start|>") as engine:
        answer = ask(wrapper.make(engine=engine, max_tokens=40), ASK, tools=[wrapper.tool()])
    assert (answer.text, answer.finish_reason) == ("Blue.", "stop")


@pytest.mark.parametrize("own", [False, True], ids=["the engine's", "the request's"])
def test_no_end_breaks_json_off(*, own: bool) -> None:
    tokenizer = byte_level(None)
    tokenizer.add_tokens([AddedToken("[END]", normalized=False)])
    end = tokenizer.convert_tokens_to_ids("[END]")
    eos = tokenizer.convert_tokens_to_ids(EOS)
    script = ids_of(tokenizer, '{"s": "Blue.[END]')
    schema = {"type": "object", "properties": {"s": {"type": "string"}}, "required": ["s"]}
    request = GenerationRequest(
        contexts=[[5, 6, 7]],
        alternatives=[OutputAlternative(grammar=f"start: %json {json.dumps(schema)}")],
        end_ids=[end] if own else [],
        sampling=SamplingParams(max_new_tokens=30),
    )
    with LocalEngine(WrittenBackend(tokenizer, script, {eos} if own else {eos, end})) as engine:
        (result,) = engine.generate([request])
    assert json.loads(result.text)["s"].startswith("Blue.")
    assert end not in result.token_ids[:-1]
    assert "[END]" not in result.text


def test_a_requests_own_ends_are_ends_in_every_way() -> None:
    tokenizer = byte_level(CHATML)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    contexts = PromptBuilder(tokenizer).contexts([ChatMessage(role="user", content="Sea?")], [None])

    def request(**sampling: Any) -> GenerationRequest:
        given = SamplingParams(max_new_tokens=12, **sampling)
        return GenerationRequest(contexts=contexts, end_ids=[end], sampling=given)

    with written(tokenizer, "Blue.<|im_end|>\n<|im_start|>user\nAnd") as engine:
        (ended,) = engine.generate([request()])
        assert (ended.text, ended.finish_reason, ended.token_ids[-1]) == ("Blue.", "stop", end)
        # Before the least number of tokens it is not drawn, as the engine's own ends.
        (longer,) = engine.generate([request(min_new_tokens=12)])
        assert end not in longer.token_ids
        assert len(longer.token_ids) == 12
        with pytest.raises(InvalidRequestError, match="Token id 512 is not in the vocabulary"):
            engine.generate([request().model_copy(update={"end_ids": [512]})])
    with pytest.raises(InvalidRequestError, match="end_ids holds the token id -1"):
        request().model_copy(update={"end_ids": [-1]})


# Stop strings.

TEXT = "The sea<|im_start|> is blue.<|eot_id|><|im_start|>user\nAnd the sky"
STOPS = [
    "<|im_start|>",
    "<|eot_id|>",
    "<|im_start|>user",
    "sea<|im_start|>",
    "blue.<|eot_id|><|im_start|>",
    "a<|im_start|> i",
    "<|eot_id|><|im_start|>user\nAnd",
    "</s>",  # never comes
    "sea is",  # ordinary: the text that is returned has it
    "im_start",  # ordinary: the text that is returned does not have it
    "And",
    "sky<s>",  # the end of the text
]


def expected_text(stop: str, *, shown: bool) -> str:
    """The obvious algorithm, on all of the text at once."""
    whole = TEXT + EOS

    def without(text: str) -> str:
        for special in ("<|im_start|>", "<|eot_id|>", EOS):
            text = text.replace(special, "")
        return text

    if shown:
        return whole.partition(stop)[0].removesuffix(EOS)
    if any(special in stop for special in ("<|im_start|>", "<|eot_id|>", EOS)):
        return without(whole.partition(stop)[0])
    return without(whole).partition(stop)[0]


@pytest.mark.parametrize("shown", [False, True], ids=["hidden", "shown"])
@pytest.mark.parametrize("make", [byte_level, metaspace], ids=["byte-level", "metaspace"])
@pytest.mark.parametrize("stop", STOPS)
def test_stop_strings_are_found_in_the_text_with_its_special_tokens(
    stop: str, make: Callable[..., Any], *, shown: bool
) -> None:
    tokenizer = make(None)
    request = GenerationRequest(
        contexts=[[5, 6, 7]],
        sampling=SamplingParams(max_new_tokens=60, stop=[stop]),
        skip_special_tokens=not shown,
    )
    with written(tokenizer, TEXT + EOS) as engine:
        (whole,) = engine.generate([request])
        increments = list(engine.stream(request))
    assert whole.text == expected_text(stop, shown=shown)
    assert whole.finish_reason == "stop"
    assert GenerationResult.fold(iter(increments)) == whole
    longest = max(len(it.text) for it in increments)
    assert longest < 30  # the text came in pieces


@every_chat
@pytest.mark.parametrize("stop", ["sea<|im_start|>", "is blue"])
def test_stop_strings_end_answers(wrapper: Wrapper, ask: Ask, stop: str) -> None:
    with written(byte_level(None), TEXT + EOS) as engine:
        answer = ask(wrapper.make(engine=engine, max_tokens=60), ASK, stop=[stop])
    assert (answer.text, answer.finish_reason) == (expected_text(stop, shown=False), "stop")


def test_the_first_stop_string_that_is_complete_ends_the_text() -> None:
    stops = ["<|im_start|> is", "sea", "ea<|im_start|>"]
    sampling = SamplingParams(max_new_tokens=60, stop=stops)
    with written(byte_level(None), TEXT + EOS) as engine:
        (result,) = engine.generate([GenerationRequest(contexts=[[5]], sampling=sampling)])
    assert result.text == "The "
    assert torch.tensor(result.token_ids).numel() < 12


# Where an answer begins.


@every_chat
@pytest.mark.parametrize("template", [CHATML, MISTRAL3, GEMMA, None], ids=lambda it: str(it)[:30])
def test_an_answer_at_the_end_is_continued(wrapper: Wrapper, ask: Ask, template: str) -> None:
    engine = ScriptedEngine([" blue", "."])
    engine.tokenizer = byte_level(template)
    llm = wrapper.make(engine=engine, preference="Be kind.")
    answer = ask(llm, [Turn("system", "Be brief."), *ASK, Turn("assistant", "The sea is")])
    assert answer.text == " blue."
    (request,) = engine.requests
    base, pref = map(engine.tokenizer.decode, request.contexts)
    assert base.endswith("The sea is")
    assert pref.endswith("The sea is")
    assert base.count("Be brief.") == pref.count("Be brief.") == pref.count("Be kind.") == 1


@every_chat
def test_calls_that_nothing_answers_are_refused(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    llm = wrapper.make(engine=engine)
    calling = Turn("assistant", "I look it up.", call={"sea": "red"})
    with pytest.raises(PromptError, match=r"messages\[1\], the last one, calls 'depth'"):
        ask(llm, [*ASK, calling], tools=[wrapper.tool()])
    ask(llm, [*ASK, calling, Turn("tool", "5,000 m")], tools=[wrapper.tool()])
    assert len(engine.requests) == 1


@every_chat
def test_no_answer_claims_a_preference_that_the_prompt_lacks(wrapper: Wrapper, ask: Ask) -> None:
    engine = ScriptedEngine()
    engine.tokenizer = byte_level(CHATML.replace("m['content']", "m['content'][:20]"))
    with pytest.raises(PromptError, match="leaves the preference out") as caught:
        ask(wrapper.make(engine=engine, preference="Be kind."), ASK)
    assert "kind" not in str(caught.value)
    assert not engine.requests
    ask(wrapper.make(engine=engine), ASK)
    assert len(engine.requests) == 1
