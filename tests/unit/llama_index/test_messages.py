"""LlamaIndex's messages as the engine gets them."""

from __future__ import annotations

import json
import re
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)

from amulet_integrations import prompting
from amulet_integrations.errors import PromptError, UnreadableContentWarning
from amulet_integrations.llama_index import AmuletLLM
from amulet_integrations.prompting import PromptBuilder, ToolCall
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CHATML
from tests.unit.llama_index.support import chat_messages, engine_result, small_llm

TALK = [("system", "Be kind."), ("user", "Hi."), ("assistant", "Hello."), ("user", "Sea?")]


@pytest.mark.parametrize("system", ["system", "developer"])
@pytest.mark.parametrize("assistant", ["assistant", "chatbot", "model"])
def test_every_turn_is_read(tiny_engine, system, assistant):
    turns = [(system, "Be kind."), TALK[1], (assistant, "Hello."), TALK[3]]
    response = small_llm(tiny_engine).chat(chat_messages(*turns))
    assert response.message.content == engine_result(tiny_engine, turns=TALK).text


def test_text_blocks_are_joined_and_silent_blocks_skipped(tiny_engine):
    blocks = [
        TextBlock(text="one"),
        CachePoint(cache_control=CacheControl(type="ephemeral")),
        ThinkingBlock(content="hm"),
        TextBlock(text="two"),
    ]
    response = small_llm(tiny_engine).chat([ChatMessage(role="user", blocks=blocks)])
    expected = engine_result(tiny_engine, turns=[("user", "one\ntwo")])
    assert response.message.content == expected.text


def test_what_is_cited_is_read(tiny_engine):
    citable = CitableBlock(title="t", source="s", content=[TextBlock(text="one")])
    citation = CitationBlock(
        cited_content=TextBlock(text="two"),
        source="s",
        title="t",
        additional_location_info={},
    )
    blocks = [citable, citation, TextBlock(text="three")]
    response = small_llm(tiny_engine).chat([ChatMessage(role="user", blocks=blocks)])
    expected = engine_result(tiny_engine, turns=[("user", "t (s)\none\ntwo\nthree")])
    assert response.message.content == expected.text


IMAGE = ImageBlock(image=b"aGk=")


@pytest.mark.parametrize(
    ("block", "named"),
    [
        (IMAGE, "'image'"),
        (AudioBlock(audio=b"aGk="), "'audio'"),
        (VideoBlock(video=b"aGk="), "'video'"),
        (DocumentBlock(data=b"aGk=", title="t"), "'document'"),
        (CitableBlock(title="t", source="s", content=[IMAGE]), "'image'"),
        (
            CitationBlock(cited_content=IMAGE, source="s", title="t", additional_location_info={}),
            "'image'",
        ),
    ],
    ids=lambda value: getattr(value, "block_type", None),
)
@pytest.mark.parametrize("place", [0, 2])
def test_other_blocks_are_refused_by_name_and_place(tiny_engine, block, named, place):
    before = chat_messages(("user", "Hi."), ("assistant", "Hello."))[:place]
    message = ChatMessage(role="user", blocks=[TextBlock(text="what is it?"), block])
    with pytest.raises(PromptError, match=rf"messages\[{place}\].*{named}"):
        small_llm(tiny_engine).chat([*before, message])


@pytest.mark.parametrize(
    ("block", "written"),
    [
        (ImageBlock(image=b"aGk=", image_mimetype="image/png"), "an image (image/png)"),
        (ImageBlock(url="https://a.b/c.png"), "an image (image/png, https://a.b/c.png)"),
        (AudioBlock(audio=b"aGk=", format="wav"), "a sound (wav)"),
        (VideoBlock(video=b"aGk=", video_mimetype="video/mp4"), "a video (video/mp4)"),
        (
            DocumentBlock(data=b"%PDF-1.4", title="t", document_mimetype="application/pdf"),
            "a document (t, application/pdf)",
        ),
    ],
    ids=lambda value: getattr(value, "block_type", None),
)
def test_what_is_no_text_is_named_in_the_place_of_what_a_tool_returned(block, written):
    blocks = [TextBlock(text="See:"), block, TextBlock(text="Nice.")]
    returned = ChatMessage(role="tool", blocks=blocks, additional_kwargs={"tool_call_id": "c1"})
    expected = rf"messages\[2\] holds {re.escape(written)}"
    with pytest.warns(UnreadableContentWarning, match=expected) as warned:
        prompt = chat(*chat_messages(("user", "Look.")), CALLING["block"], returned)[0]
    assert {it.filename for it in warned} == {__file__}
    assert f"See:\n[{written}, which cannot be shown here]\nNice." in prompt


def test_sources_and_documents_of_text_are_read_as_text():
    blocks = [
        CitableBlock(
            title="Seas",
            source="https://a.b",
            content=[
                TextBlock(text="Blue."),
                DocumentBlock(data="Größe,3".encode(), document_mimetype="text/csv"),
            ],
        ),
        DocumentBlock(data=BytesIO(b"Deep."), title="Depths", document_mimetype="text/plain"),
    ]
    returned = ChatMessage(role="tool", blocks=blocks, additional_kwargs={"tool_call_id": "c1"})
    talk = [*chat_messages(("user", "Look.")), CALLING["block"], returned]
    written = "Seas (https://a.b)\nBlue.\nGröße,3\nDepths\nDeep."
    assert f"<tool_response>\n{written}\n</tool_response>" in chat(*talk)[0]
    assert f"user\n{written}<|im_end|>" in chat(ChatMessage(role="user", blocks=blocks))[0]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "empty"),
        ("hello", "str"),
        (None, "NoneType"),
        (["hello"], r"messages\[0\] is a str"),
        (chat_messages(("system", "x")), "user message"),
        (chat_messages(("user", " ")), "blank"),
    ],
)
def test_what_is_no_conversation_is_refused(tiny_engine, messages, message):
    with pytest.raises(PromptError, match=message):
        small_llm(tiny_engine).chat(messages)


def openai_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def as_objects(call: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**{**call, "function": SimpleNamespace(**call["function"])})


ARGUMENTS = {"sea": "Ägäis", "deep": True}
OPENAI_CALL = openai_call("c1", "depth", json.dumps(ARGUMENTS))


def block(arguments: Any) -> ToolCallBlock:
    return ToolCallBlock(tool_call_id="c1", tool_name="depth", tool_kwargs=arguments)


CALLING = {
    "block": ChatMessage(role="assistant", blocks=[TextBlock(text="Hm."), block(ARGUMENTS)]),
    "block of JSON": ChatMessage(
        role="assistant", blocks=[TextBlock(text="Hm."), block(json.dumps(ARGUMENTS))]
    ),
    "OpenAI's dict": ChatMessage(
        role="assistant", content="Hm.", additional_kwargs={"tool_calls": [OPENAI_CALL]}
    ),
    "OpenAI's object": ChatMessage(
        role="assistant", content="Hm.", additional_kwargs={"tool_calls": [as_objects(OPENAI_CALL)]}
    ),
    "both": ChatMessage(
        role="assistant",
        blocks=[TextBlock(text="Hm."), block(ARGUMENTS)],
        additional_kwargs={"tool_calls": [OPENAI_CALL]},
    ),
}


def result(call_id: str | None, text: str, role: str = "tool", **more: Any) -> ChatMessage:
    kwargs = {**more, **({} if call_id is None else {"tool_call_id": call_id})}
    return ChatMessage(role=role, content=text, additional_kwargs=kwargs)


def chat(*messages: ChatMessage, engine: ScriptedEngine | None = None) -> list[str]:
    """The prompts of a conversation, of which the model need know no tools."""
    engine = engine or ScriptedEngine()
    AmuletLLM(engine=engine).chat(list(messages))
    return [engine.tokenizer.decode(ids) for ids in engine.requests[-1].contexts]


@pytest.mark.parametrize("form", CALLING)
@pytest.mark.parametrize("role", ["tool", "function"])
def test_calls_and_results_in_every_form_are_the_same_turns(form, role):
    engine = ScriptedEngine()
    turns = [
        *chat_messages(("user", "How deep?")),
        CALLING[form],
        result("c1", "3 km", role),
        *chat_messages(("user", "Thanks.")),
    ]
    (prompt,) = chat(*turns, engine=engine)
    call = ToolCall(name="depth", arguments=ARGUMENTS, id="c1")
    expected = PromptBuilder(engine.tokenizer).contexts(
        [
            prompting.ChatMessage(role="user", content="How deep?"),
            prompting.ChatMessage(role="assistant", content="Hm.", tool_calls=(call,)),
            prompting.ChatMessage(role="tool", content="3 km", tool_call_id="c1"),
            prompting.ChatMessage(role="user", content="Thanks."),
        ],
        [None],
    )
    assert list(map(list, engine.requests[-1].contexts)) == list(map(list, expected))
    assert prompt.count("Ägäis") == 1
    places = [prompt.index(part) for part in ("How deep?", "Hm.", "depth", "3 km", "Thanks.")]
    assert places == sorted(places)


def test_an_answer_of_the_model_can_be_given_back_as_it_came():
    text = '<tool_call>\n{"name": "depth", "arguments": {"sea": "Red"}}\n</tool_call>'
    engine = ScriptedEngine([f"Hm.\n{text}"])
    tool = {"type": "function", "function": {"name": "depth"}}
    question = chat_messages(("user", "How deep?"))
    answer = AmuletLLM(engine=engine).chat(question, tools=[tool]).message
    (call,) = (block for block in answer.blocks if isinstance(block, ToolCallBlock))
    kept = ChatMessage.model_validate_json(answer.model_dump_json())
    for message in (answer, kept):
        prompt = chat(*question, message, result(call.tool_call_id, "3 km"))[0]
        assert prompt.count('{"name": "depth", "arguments": {"sea": "Red"}}') == 1
        assert prompt.index("Hm.") < prompt.index('"Red"') < prompt.index("3 km")


NATIVE = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML.replace(
    "{{ m['content'] }}",
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    "{{ {'name': c.function.name, 'arguments': c.function.arguments} | tojson }}\n"
    "</tool_call>#{{ c.id }} {% endfor %}"
    "{% if m.role == 'tool' %}{{ m.tool_call_id }}={% endif %}{{ m['content'] }}",
)


@pytest.mark.parametrize("place", ["blocks", "OpenAI's form"])
def test_results_are_matched_to_their_calls_by_id(place):
    calls = [openai_call("a", "depth", '{"sea": "Red"}'), openai_call("b", "size", "{}")]
    blocks = [
        ToolCallBlock(tool_call_id="a", tool_name="depth", tool_kwargs={"sea": "Red"}),
        ToolCallBlock(tool_call_id="b", tool_name="size", tool_kwargs={}),
    ]
    calling = (
        ChatMessage(role="assistant", blocks=blocks)
        if place == "blocks"
        else ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": calls})
    )
    engine = ScriptedEngine()
    engine.tokenizer.chat_template = NATIVE
    turns = [*chat_messages(("user", "How?")), calling, result("b", "big"), result("a", "deep")]
    (prompt,) = chat(*turns, engine=engine)
    shown = re.findall(r"#(\w+)", prompt)
    answered = re.findall(r"(\w+)=(big|deep)", prompt)
    assert prompt.index('"depth"') < prompt.index('"size"')
    assert len(set(shown)) == 2
    assert answered == [(shown[1], "big"), (shown[0], "deep")]


def test_a_result_without_an_id_answers_the_tool_that_it_names():
    assert (
        "3 km" in chat(*chat_messages(("user", "How?")), CALLING["block"], result(None, "3 km"))[0]
    )
    named = result(None, "3 km", name="depth")
    assert "3 km" in chat(*chat_messages(("user", "How?")), CALLING["block"], named)[0]


def test_a_result_with_an_id_of_its_own_answers_a_call_without_one():
    calls = [ToolCallBlock(tool_name=name, tool_kwargs={}) for name in ("depth", "size")]
    calling = ChatMessage(role="assistant", blocks=calls)
    engine = ScriptedEngine()
    engine.tokenizer.chat_template = NATIVE
    results = [result("x", "big", name="size"), result("y", "deep")]
    (prompt,) = chat(*chat_messages(("user", "How?")), calling, *results, engine=engine)
    shown = re.findall(r"#(\w+)", prompt)
    assert re.findall(r"(\w+)=(big|deep)", prompt) == [(shown[1], "big"), (shown[0], "deep")]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([result("c1", "42")], r"messages\[1\].*'c1'.*none"),
        ([result(None, "42")], r"messages\[1\].*names no call"),
        ([result("zz", "42", "function")], r"messages\[1\].*'zz'"),
        ([CALLING["block"], result("c2", "42")], r"messages\[2\].*'c2'.*'c1'"),
        ([CALLING["block"], result(None, "42", name="size")], r"messages\[2\].*'size'.*'depth'"),
    ],
)
def test_results_of_no_call_are_refused(turns, message):
    with pytest.raises(PromptError, match=message):
        chat(*chat_messages(("user", "hi")), *turns)


@pytest.mark.parametrize("arguments", ["{", '{"sea": ', "[1]", "5", "null", '"x"'])
@pytest.mark.parametrize("place", ["block", "OpenAI's form"])
def test_arguments_that_are_no_object_are_refused(arguments, place):
    kwargs = {"tool_calls": [openai_call("c1", "depth", arguments)]}
    calling = (
        ChatMessage(role="assistant", blocks=[block(arguments)])
        if place == "block"
        else ChatMessage(role="assistant", content="", additional_kwargs=kwargs)
    )
    with pytest.raises(PromptError, match=r"messages\[1\] calls 'depth'.*no JSON object"):
        chat(*chat_messages(("user", "hi")), calling)


@pytest.mark.parametrize("call", [{"id": "x"}, {"function": {}}, 5, {"function": {"name": 3}}])
def test_a_call_without_a_name_is_refused(call):
    calling = ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [call]})
    with pytest.raises(PromptError, match=r"messages\[1\].*without a name"):
        chat(*chat_messages(("user", "hi")), calling)


@pytest.mark.parametrize("arguments", ["", "{}"])
def test_a_call_without_arguments_is_read(arguments):
    kwargs = {"tool_calls": [openai_call("c1", "now", arguments)]}
    calling = ChatMessage(role="assistant", content="", additional_kwargs=kwargs)
    assert '"now"' in chat(*chat_messages(("user", "hi")), calling, result(None, "8 pm"))[0]


def test_the_name_of_a_call_is_the_one_that_the_prompt_has():
    calling = ChatMessage(
        role="assistant", blocks=[ToolCallBlock(tool_name="Box[int]", tool_kwargs={"content": 1})]
    )
    prompt = chat(*chat_messages(("user", "hi")), calling, result(None, "full"))[0]
    assert '"Box_int_"' in prompt
    assert "Box[int]" not in prompt


def test_a_result_that_names_its_tool_as_llama_index_does_is_read():
    calling = ChatMessage(
        role="assistant", blocks=[ToolCallBlock(tool_name="Box[int]", tool_kwargs={"content": 1})]
    )
    assert (
        "full"
        in chat(*chat_messages(("user", "hi")), calling, result(None, "full", name="Box[int]"))[0]
    )


def test_thoughts_are_shown_to_templates_that_show_them():
    engine = ScriptedEngine()
    thought = "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    engine.tokenizer.chat_template = CHATML.replace(
        "{{ m['content'] }}", thought + "{{ m.content }}"
    )
    blocks = [
        ThinkingBlock(content="Hm,"),
        ThinkingBlock(content=None),
        ThinkingBlock(content="so."),
        TextBlock(text="Yes."),
    ]
    turns = [*chat_messages(("user", "Sea?")), ChatMessage(role="assistant", blocks=blocks)]
    shown = chat(*turns, *chat_messages(("user", "Why?")), engine=engine)[0]
    assert "<think>Hm,\n\nso.</think>Yes." in shown
    hidden = chat(*turns, *chat_messages(("user", "Why?")))[0]
    assert "Yes." in hidden
    assert "so." not in hidden
