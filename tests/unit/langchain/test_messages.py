"""Which conversations reach the model, and how they are written."""

from __future__ import annotations

import base64
import json
import re
import time
import warnings
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from amulet_integrations.errors import PromptError, UnreadableContentWarning
from amulet_integrations.langchain import ChatAmulet
from amulet_integrations.langchain.messages import to_chat_messages
from tests.support.scripted import ScriptedEngine
from tests.support.tiny import CHATML


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def llm(engine: ScriptedEngine) -> ChatAmulet:
    return ChatAmulet(engine=engine)


def prompt_of(engine: ScriptedEngine) -> str:
    return engine.tokenizer.decode(engine.requests[-1].contexts[0])


def test_a_conversation_keeps_its_turns(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    llm.invoke([SystemMessage("Sys."), HumanMessage("One"), AIMessage("Two"), ("human", "Three")])
    assert prompt_of(engine) == (
        "<|im_start|>system\nSys.<|im_end|>\n<|im_start|>user\nOne<|im_end|>\n"
        "<|im_start|>assistant\nTwo<|im_end|>\n<|im_start|>user\nThree<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    ("message", "written"),
    [
        ("Plain", "user\nPlain"),
        ([ChatMessage(role="user", content="Hi")], "user\nHi"),
        ([ChatMessage(role="system", content="Sys."), HumanMessage("x")], "system\nSys."),
        ([HumanMessage("x"), ChatMessage(role="assistant", content="So")], "assistant\nSo"),
        ([HumanMessage("x"), AIMessageChunk("So")], "assistant\nSo"),
        ([HumanMessage(["a", {"type": "text", "text": "b"}])], "user\na\nb"),
        ([{"role": "user", "content": [{"type": "text", "text": "b", "id": "1"}]}], "user\nb"),
    ],
    ids=str,
)
def test_what_is_written(
    llm: ChatAmulet, engine: ScriptedEngine, message: Any, written: str
) -> None:
    llm.invoke(message)
    assert f"<|im_start|>{written}" in prompt_of(engine)


CALL = {"name": "f", "args": {"x": "hé"}, "id": "1"}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "4"}]}
CALLING = AIMessage("", tool_calls=[CALL])
TOOL_USE = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": "hé"}}
ASKED = HumanMessage("x")

EXCHANGES: dict[str, list[BaseMessage]] = {
    "tool call and message": [ASKED, CALLING, ToolMessage("4", tool_call_id="1")],
    "list": [
        ASKED,
        CALLING,
        ToolMessage([{"type": "text", "text": "4"}], tool_call_id="1"),
    ],
    "artifact": [ASKED, CALLING, ToolMessage("4", tool_call_id="1", artifact="hidden")],
    "anthropic": [ASKED, AIMessage([TOOL_USE]), HumanMessage([RESULT])],  # type: ignore[list-item]
    "anthropic and tool calls": [
        ASKED,
        AIMessage([TOOL_USE], tool_calls=[CALL]),  # type: ignore[list-item]
        ToolMessage("4", tool_call_id="1"),
    ],
    "v1": [
        ASKED,
        AIMessage(content_blocks=[{"type": "tool_call", **CALL}]),  # type: ignore[typeddict-item]
        ToolMessage("4", tool_call_id="1"),
    ],
    "responses": [
        ASKED,
        AIMessage(
            [{"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"x": "hé"}'}]
        ),
        HumanMessage([{"type": "function_call_output", "call_id": "1", "output": "4"}]),
    ],
}


@pytest.mark.parametrize("form", EXCHANGES)
def test_calls_and_results_of_every_form_are_shown_alike(
    llm: ChatAmulet, engine: ScriptedEngine, form: str
) -> None:
    llm.invoke(EXCHANGES["tool call and message"])
    expected = prompt_of(engine)
    assert '{"name": "f", "arguments": {"x": "hé"}}' in expected
    assert "4" in expected.split('"hé"')[1]
    llm.invoke(EXCHANGES[form])
    assert prompt_of(engine) == expected


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CSV, PDF = base64_of("sea,depth\nRed,3"), base64_of("%PDF-1.4")
READABLE: dict[str, tuple[list[Any], str]] = {
    "json": ([{"type": "json", "json": {"größe": [1, None]}}], '{"größe": [1, null]}'),
    "json of Bedrock": ([{"json": {"a": 1}}], '{"a": 1}'),
    "search results": (
        [
            {
                "type": "search_result",
                "title": "Seas",
                "source": "https://a.b/1",
                "content": [{"type": "text", "text": "Blue."}, {"type": "text", "text": "Deep."}],
            },
            {"type": "search_result", "title": "", "source": "s2", "content": []},
        ],
        "Seas (https://a.b/1)\nBlue.\nDeep.\ns2",
    ),
    "file": ([{"type": "file", "base64": CSV, "mime_type": "text/csv"}], "sea,depth\nRed,3"),
    "file of OpenAI": (
        [
            {
                "type": "file",
                "file": {"filename": "a.csv", "file_data": "data:text/csv;base64," + CSV},
            }
        ],
        "a.csv\nsea,depth\nRed,3",
    ),
    "file by its name": (
        [{"type": "input_file", "filename": "a.csv", "file_data": CSV}],
        "a.csv\nsea,depth\nRed,3",
    ),
    "plain text": ([{"type": "text-plain", "text": "Deep.", "mime_type": "text/plain"}], "Deep."),
    "document": (
        [
            {
                "type": "document",
                "title": "T",
                "source": {"type": "text", "media_type": "text/plain", "data": "Deep."},
            }
        ],
        "T\nDeep.",
    ),
    "document of blocks": (
        [
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
            }
        ],
        "a\nb",
    ),
    "resource of MCP": (
        [
            {
                "type": "resource",
                "resource": {"uri": "x://y", "mimeType": "text/plain", "text": "Deep."},
            }
        ],
        "x://y\nDeep.",
    ),
    "link of MCP": (
        [{"type": "resource_link", "name": "Seas", "uri": "x://y", "description": "All seas."}],
        "Seas (x://y)\nAll seas.",
    ),
    "output of a custom tool": ([{"type": "custom_tool_call_output", "output": "Deep."}], "Deep."),
    "not standard": (
        [{"type": "non_standard", "value": {"type": "text", "text": "Deep."}}],
        "Deep.",
    ),
    "search result in a dict": (
        [{"type": "search_result", "title": "T", "content": {"text": "Deep."}}],
        "T\nDeep.",
    ),
    "search result of rows": (
        [{"type": "search_result", "source": "s", "content": {"rows": [1, 2], "type": None}}],
        's\n{"rows": [1, 2], "type": null}',
    ),
    "search result of other items": (
        [{"type": "search_result", "title": "T", "content": ["a", 3, None]}],
        'T\n["a", 3, null]',
    ),
    "search result under another name": (
        [{"type": "search_result", "title": "T", "snippet": "Deep."}],
        '{"type": "search_result", "title": "T", "snippet": "Deep."}',
    ),
    "search result in its source": (
        [{"type": "search_result", "source": {"passage": "Deep."}}],
        '{"type": "search_result", "source": {"passage": "Deep."}}',
    ),
    "custom output with a type": (
        [{"type": "custom_tool_call_output", "output": {"type": 5, "sea": "Red"}}],
        '{"type": 5, "sea": "Red"}',
    ),
    "document with its context": (
        [{"type": "document", "title": "T", "context": "Old.", "source": {"text": "Deep."}}],
        "T\nOld.\nDeep.",
    ),
    "custom output in a dict": (
        [{"type": "custom_tool_call_output", "output": {"sea": "Red", "depth": 3}}],
        '{"sea": "Red", "depth": 3}',
    ),
    "custom output of one block": (
        [{"type": "custom_tool_call_output", "output": {"type": "text", "text": "Deep."}}],
        "Deep.",
    ),
    "custom output that is a number": ([{"type": "custom_tool_call_output", "output": 0}], "0"),
    "link about a dict": (
        [{"type": "resource_link", "name": "Seas", "description": {"en": "All."}}],
        'Seas\n{"en": "All."}',
    ),
    "document of a dict": (
        [{"type": "document", "title": "T", "content": {"rows": [1, 2]}}],
        'T\n{"rows": [1, 2]}',
    ),
    "several texts": (
        ["One.", {"type": "text", "text": "Two."}, {"text": "Three."}],
        "One.\nTwo.\nThree.",
    ),
}
UNREADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "image": ({"type": "image", "base64": "x", "mime_type": "image/png"}, "an image (image/png)"),
    "image by its address": (
        {"type": "image", "url": "https://a.b/c.png"},
        "an image (https://a.b/c.png)",
    ),
    "image of OpenAI": (
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA=="}},
        "an image (image/png)",
    ),
    "image of Anthropic": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "eA=="}},
        "an image (image/png)",
    ),
    "image of MCP": (
        {
            "type": "image",
            "data": "eA==",
            "mimeType": "image/png",
            "mime_type": "image/png",
            "base64": "x",
        },
        "an image (image/png)",
    ),
    "sound": ({"type": "audio", "base64": "x", "mime_type": "audio/wav"}, "a sound (audio/wav)"),
    "video": ({"type": "video", "base64": "x", "mime_type": "video/mp4"}, "a video (video/mp4)"),
    "file": (
        {"type": "file", "base64": PDF, "mime_type": "application/pdf", "filename": "a.pdf"},
        "a file (a.pdf, application/pdf)",
    ),
    "file by its id": ({"type": "file", "file_id": "f1"}, "a file"),
    "broken text": (
        {"type": "file", "base64": "/w==", "mime_type": "text/plain"},
        "a file (text/plain)",
    ),
    "document": (
        {
            "type": "document",
            "title": "T",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        },
        "a document (T, application/pdf)",
    ),
    "file in a dict": (
        {"type": "file", "filename": "a.bin", "content": {"bytes": b"\0\1"}},
        "a file (a.bin)",
    ),
    "source of another kind": (
        {"type": "hologram", "source": {"media_type": "image/holo", "data": "eA" * 80 + "=="}},
        "a block of type 'hologram' (image/holo)",
    ),
    "of another kind": ({"type": "hologram", "data": "A" * 80}, "a block of type 'hologram'"),
}


@pytest.mark.parametrize("form", READABLE)
def test_what_tools_return_is_read_where_it_is_text(
    llm: ChatAmulet, engine: ScriptedEngine, form: str
) -> None:
    blocks, written = READABLE[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.invoke([ASKED, CALLING, ToolMessage(blocks, tool_call_id="1")])
        expected = prompt_of(engine)
        llm.invoke([ASKED, CALLING, HumanMessage([{**RESULT, "content": blocks}])])
    assert f"<tool_response>\n{written}\n</tool_response>" in expected
    assert prompt_of(engine) == expected
    if form not in {"json", "json of Bedrock"}:
        llm.invoke([HumanMessage(blocks)])
        assert f"<|im_start|>user\n{written}<|im_end|>" in prompt_of(engine)


@pytest.mark.parametrize("form", UNREADABLE)
def test_what_is_no_text_is_named_in_the_place_of_what_a_tool_returned(
    llm: ChatAmulet, engine: ScriptedEngine, form: str
) -> None:
    block, named = UNREADABLE[form]
    blocks = [{"type": "text", "text": "See:"}, block, {"type": "text", "text": "Nice."}]
    with pytest.warns(
        UnreadableContentWarning, match=f"A ToolMessage holds {re.escape(named)}"
    ) as warned:
        llm.invoke([ASKED, CALLING, ToolMessage(blocks, tool_call_id="1")])
    assert {it.filename for it in warned} == {__file__}
    assert f"See:\n[{named}, which cannot be shown here]\nNice." in prompt_of(engine)
    # What a person shows is asked about, so it is refused.
    with pytest.raises(PromptError, match=r"A HumanMessage holds .*a block of type .* text only"):
        llm.invoke([HumanMessage([block])])


def test_hostile_blocks_take_no_time() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "odd", "value": " " * 50_000 + "!"},
        {"type": "odd", "value": "A" * 50_000 + "!"},
        {
            "type": "file",
            "url": "data:" + ";a" * 50_000,
            "mime_type": "application/" + "+x" * 9_999,
        },
        {("a", 1): "b"},  # type: ignore[dict-item]
    ]
    started = time.monotonic()
    messages = [ASKED, CALLING, ToolMessage(blocks, tool_call_id="1")]  # type: ignore[arg-type]
    with pytest.warns(UnreadableContentWarning, match="holds a file"):
        assert len(to_chat_messages(messages)[-1].content) > 100_000
    assert time.monotonic() - started < 30  # or for hours


def test_other_blocks_of_tools_are_written_as_json(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    row = {"type": "row", "sea": "Ägäis", "depth": 3, "note": "as the old maps have it " * 9}
    llm.invoke([ASKED, CALLING, ToolMessage([row], tool_call_id="1")])
    assert f"\n{json.dumps(row, ensure_ascii=False)}\n" in prompt_of(engine)


SHA256, JWT = "0123456789abcdef" * 4, "eyJhbGciOiJIUzI1NiJ9" * 9
KEPT: dict[str, dict[str, Any]] = {
    "hash": {"type": "record", "note": "important", "sha256": SHA256},
    "hash in capitals": {"type": "record", "note": "important", "digest": SHA256.upper() * 2},
    "hash as data": {"type": "record", "note": "important", "data": SHA256},
    "hash alone": {"type": "record", "sha256": SHA256},
    "token": {"type": "record", "note": "important", "token": JWT},
    "path": {"type": "record", "note": "important", "path": "usr/share/sea" * 9},
    "hashes in a list": {"type": "record", "note": "important", "files": [{"sha": SHA256}]},
    "JSON": {"type": "json", "json": {"sha256": SHA256, "note": "important"}},
}
REPLACED: dict[str, tuple[str, Any]] = {
    "bytes": ("raw", b"\0" * 9),
    "base64 under its name": ("data", "eA" * 80 + "=="),
    "base64 under any name": ("thumbnail", "eA" * 4000),
    "data URL": ("picture", "data:image/png;base64,eA=="),
}


@pytest.mark.parametrize("form", KEPT)
def test_hashes_and_tokens_are_shown(llm: ChatAmulet, engine: ScriptedEngine, form: str) -> None:
    block = KEPT[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        llm.invoke([ASKED, CALLING, ToolMessage([block], tool_call_id="1")])
    written = json.dumps(block.get("json", block), ensure_ascii=False)
    assert f"<tool_response>\n{written}\n</tool_response>" in prompt_of(engine)


@pytest.mark.parametrize("kind", ["record", "json", "custom_tool_call_output"])
@pytest.mark.parametrize("form", REPLACED)
def test_data_is_named_in_its_place_and_the_rest_is_shown(
    llm: ChatAmulet, engine: ScriptedEngine, form: str, kind: str
) -> None:
    name, data = REPLACED[form]

    def block(value: Any) -> dict[str, Any]:
        row = {"note": "important", "parts": [{name: value, "depth": 3}]}
        return {"type": kind, {"json": "json"}.get(kind, "output"): row}

    with pytest.warns(UnreadableContentWarning, match=f"ToolMessage holds data under '{name}'"):
        llm.invoke([ASKED, CALLING, ToolMessage([block(data)], tool_call_id="1")])
    shown = block(f"[data under '{name}', which cannot be shown here]")
    written = json.dumps(shown if kind == "record" else [*shown.values()][1])
    assert f"<tool_response>\n{written}\n</tool_response>" in prompt_of(engine)


def in_itself(kind: str, name: str) -> dict[str, Any]:
    block: dict[str, Any] = {"type": kind, "title": "T"}
    block[name] = [block] if name == "content" else block
    return block


def nested(levels: int) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "odd"}
    for _ in range(levels):
        block = {"type": "odd", "value": block}
    return block


@pytest.mark.parametrize(
    "block",
    [
        in_itself("search_result", "content"),
        in_itself("document", "content"),
        in_itself("non_standard", "value"),
        in_itself("custom_tool_call_output", "output"),
        in_itself("json", "json"),
        in_itself("image", "source"),
        in_itself("odd", "value"),
        nested(5000),
    ],
    ids=lambda block: block["type"],
)
def test_a_block_that_holds_itself_ends_no_run(block: dict[str, Any]) -> None:
    with pytest.warns(UnreadableContentWarning, match="holds a block that holds itself"):
        seen = to_chat_messages([ASKED, CALLING, ToolMessage(["See:", block], tool_call_id="1")])
    assert seen[-1].content.startswith("See:\n[a block that holds itself")
    with pytest.raises(PromptError, match="A HumanMessage holds a block that holds itself"):
        to_chat_messages([HumanMessage([block])])


NATIVE = CHATML.replace(
    "{{ m['content'] }}",
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}#{{ c.id }} {% endfor %}"
    "{% if m.role == 'tool' %}{{ m.tool_call_id }}={% endif %}{{ m['content'] }}",
)


@pytest.mark.parametrize(
    "given",
    [
        [("a", None), ("b", None)],  # by their order
        [("x", "f"), ("x", "g")],
        [("b", "g"), ("a", "f")],  # by their names
        [("a", "g"), ("b", None)],
    ],
    ids=str,
)
def test_results_find_calls_without_an_id(
    llm: ChatAmulet, engine: ScriptedEngine, given: list[tuple[str, str | None]]
) -> None:
    engine.tokenizer.chat_template = NATIVE

    def prompt(ids: list[str | None], results: list[tuple[str, str | None]]) -> str:
        calls = [{"name": name, "args": {}, "id": it} for name, it in zip("fg", ids, strict=True)]
        answers = [
            ToolMessage(f"of {made_up}{name}", tool_call_id=it, name=name)
            for (it, name), (made_up, _) in zip(results, given, strict=True)
        ]
        llm.invoke([ASKED, AIMessage("", tool_calls=calls), *answers])
        return prompt_of(engine)

    by_name = {"f": "1", "g": "2"}
    left = iter(sorted(set("12") - {by_name[name] for _, name in given if name}))
    right = [(by_name[name] if name else next(left), name) for _, name in given]
    assert prompt([None, None], given) == prompt(["1", "2"], right)
    # One that has an id is never answered by another id.
    with pytest.raises(PromptError, match="the calls made are: '1', one of 'g' without an id"):
        prompt(["1", None], [("x", "f"), ("y", "g")])


def test_text_beside_a_result_stays_the_users(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    said = {"type": "text", "text": "Go on.", "cache_control": {"type": "ephemeral"}}
    llm.invoke([ASKED, CALLING, HumanMessage([RESULT, said])])
    assert "<|im_start|>user\nGo on.<|im_end|>" in prompt_of(engine)


def test_a_failed_tool_is_told_to_have_failed(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    failed = {"tool_call_id": "1", "status": "error"}
    llm.invoke([ASKED, CALLING, ToolMessage("no net", **failed)])
    assert "Error: no net" in prompt_of(engine)
    llm.invoke([ASKED, CALLING, ToolMessage("Error: no net", **failed)])
    assert "Error: Error" not in prompt_of(engine)


def test_a_broken_call_is_shown_as_text_and_its_complaint_as_the_users(
    llm: ChatAmulet, engine: ScriptedEngine
) -> None:
    broken = {"name": "f", "args": '{"x": ', "id": "9", "error": "cut"}
    complaint = ToolMessage("Not JSON.", tool_call_id="9")
    llm.invoke([ASKED, AIMessage("", invalid_tool_calls=[broken]), complaint])  # type: ignore[list-item]
    assert prompt_of(engine).endswith(
        '<|im_start|>assistant\nf {"x":<|im_end|>\n<|im_start|>user\nNot JSON.<|im_end|>\n'
        "<|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
        [{"type": "reasoning", "reasoning": "Hm."}],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}],
        [{"type": "redacted_thinking", "data": "x"}],
    ],
    ids=str,
)
def test_thoughts_are_no_part_of_what_was_said(
    llm: ChatAmulet, engine: ScriptedEngine, blocks: Any
) -> None:
    answer = AIMessage([*blocks, {"type": "text", "text": "Hello."}])
    llm.invoke([ASKED, answer, HumanMessage("y")])
    assert "<|im_start|>assistant\nHello.<|im_end|>" in prompt_of(engine)


def test_names_of_people_are_passed_over(llm: ChatAmulet, engine: ScriptedEngine) -> None:
    llm.invoke([HumanMessage("x", name="ann")])
    assert "ann" not in prompt_of(engine)


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        ([HumanMessage("x"), ToolMessage("4", tool_call_id="77")], "77"),
        ([HumanMessage("x"), CALLING, ToolMessage("4", tool_call_id="77")], "77"),
        ([FunctionMessage("4", name="f")], "FunctionMessage"),
        (
            [
                HumanMessage("x"),
                AIMessage("", additional_kwargs={"function_call": {"name": "f"}}),
                FunctionMessage("4", name="f"),
            ],
            "function_call",
        ),
        ([HumanMessage("x"), AIMessage([{**TOOL_USE, "input": "{"}])], "'f'.*JSON"),
        ([ChatMessage(role="critic", content="x")], "'critic'"),
        ([HumanMessage([{"type": "image_url", "image_url": {"url": "x"}}])], "image_url"),
        ([HumanMessage([{"type": "audio", "base64": "x", "mime_type": "a/b"}])], "audio"),
        ([HumanMessage([{"type": "file", "file_id": "x"}])], "file"),
        ([], "empty"),
        ([SystemMessage("Sys.")], "user"),
        ("", "blank"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_refused_with_its_reason(
    llm: ChatAmulet, engine: ScriptedEngine, conversation: list[BaseMessage], said: str
) -> None:
    with pytest.raises(PromptError, match=said):
        llm.invoke(conversation)
    with pytest.raises(PromptError, match=said):
        list(llm.stream(conversation))
    assert not engine.requests


@pytest.mark.parametrize(
    "nonsense",
    [5, [("robot", "x")], [{"no": "role"}], [object()]],
    ids=["number", "unknown role", "no role", "object"],
)
async def test_an_input_that_is_no_conversation_is_refused(llm: ChatAmulet, nonsense: Any) -> None:
    with pytest.raises(PromptError, match="no conversation"):
        llm.invoke(nonsense)
    with pytest.raises(PromptError, match="no conversation"):
        await llm.ainvoke(nonsense)
