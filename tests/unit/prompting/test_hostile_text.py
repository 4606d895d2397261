"""Hostile text in every place of a prompt, judged on token ids against the template alone."""

from __future__ import annotations

import json

import pytest

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import ChatMessage, JsonOutput, PromptBuilder, Tool, ToolCall
from tests.support.hostile import ALL_STRINGS, CONTROL_TOKENS, ENCODABLE, HOSTILE, UNENCODABLE
from tests.support.hostile.judge import alone, control_ids, pieces, written_into
from tests.support.hostile.templates import TEMPLATES, tokenizer_of
from tests.unit.prompting.models import CHATML, MISTRAL, byte_level, in_python, metaspace

every_template = pytest.mark.parametrize("template", TEMPLATES)
TALK = ("system", "user", "assistant", "user")
WORDS = ("Zebra", "Yak", "Xerus", "Wolf", "Vole")
JOINED = {name: f"a {' b '.join(family)} z" for name, family in ENCODABLE.items()}


def talk(texts) -> list[ChatMessage]:
    return [ChatMessage(role=role, content=text) for role, text in zip(TALK, texts, strict=True)]


def test_the_corpus_is_large_and_its_families_differ():
    assert len(set(ALL_STRINGS)) == len(ALL_STRINGS) >= 300
    assert len(CONTROL_TOKENS) >= 12
    for name, family in HOSTILE.items():
        assert len(set(family)) == len(family) > 0, name


def calm_pieces(tokenizer):
    """As transformers reads what the template alone writes, where it has a system role."""
    system = f"{WORDS[0]}\n\n{WORDS[4]}"
    try:
        return alone(tokenizer, list(zip(TALK, (system, *WORDS[1:4]), strict=True)))
    except Exception:  # noqa: BLE001 - as templates raise what they like
        turns = [("user", f"{system}\n\n{WORDS[1]}"), ("assistant", WORDS[2]), ("user", WORDS[3])]
        return alone(tokenizer, turns)


@every_template
def test_hostile_messages_and_preferences_change_nothing_but_the_text(template):
    tokenizer = tokenizer_of(template)
    builder = PromptBuilder(tokenizer)
    calm = calm_pieces(tokenizer)
    for name, text in JOINED.items():
        texts = [f"{word}{text}{word}" for word in WORDS]
        (ids,) = builder.contexts(talk(texts[:4]), [texts[4]])
        expected = written_into(calm, dict(zip(WORDS, texts, strict=True)))
        assert pieces(tokenizer, ids) == expected, name


NORMALISING = {
    "normalised": byte_level(CHATML, normalizer=True),
    "python, normalised": in_python(CHATML, normalizer=True),
    "metaspace": metaspace(MISTRAL),
    "metaspace, always": metaspace(MISTRAL, scheme="always"),
    "no template": byte_level(None),
}


@pytest.mark.parametrize("name", NORMALISING)
def test_what_a_tokenizer_normalises_becomes_no_control_token(name):
    tokenizer = NORMALISING[name]
    builder = PromptBuilder(tokenizer)

    def found(text):
        text = text.replace("ツ", "")
        (ids,) = builder.contexts(talk([f"a {text} z"] * 4), [f"a {text} z"])
        ordinary = {tokenizer.added_tokens_encoder.get(it) for it in ("\n\n\n", "ツ", "<unk>")}
        return [token_id for token_id in control_ids(tokenizer, ids) if token_id not in ordinary]

    calm = found("calm")
    for family, text in JOINED.items():
        assert found(text) == calm, family


PLACES = (
    *("description", "property", "about", "title", "enum", "argument", "value", "call", "result"),
    *("schema property", "schema title", "schema description", "schema enum", "id"),
)


def as_json(text: str) -> str:
    """As JSON writes it between two quotes."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def prompt_with_tools(builder: PromptBuilder, words: dict[str, str]) -> list[int]:
    """A conversation with tools and a schema, and words in each place that somebody writes."""
    called = ToolCall(
        name=words["call"], arguments={words["argument"]: words["value"]}, id=words["id"]
    )
    about = {"type": "string", "description": words["about"], "title": words["title"]}
    parameters = {"properties": {words["property"]: about, "kind": {"enum": [words["enum"]]}}}
    schema = {
        "title": words["schema title"],
        "type": "object",
        "properties": {
            words["schema property"]: {
                "description": words["schema description"],
                "enum": [words["schema enum"]],
            }
        },
    }
    messages = [
        ChatMessage(role="user", content="Hi"),
        ChatMessage(role="assistant", content="", tool_calls=[called]),
        ChatMessage(role="tool", content=words["result"], tool_call_id=words["id"]),
    ]
    tool = Tool(name="look", description=words["description"], parameters=parameters)
    (ids,) = builder.contexts(
        messages, [None], tools=[tool], json_output=JsonOutput(json_schema=schema)
    )
    return ids


# One of each kind of token; acceptance tries all templates.
@pytest.mark.parametrize("template", ["chatml", "gemma", "mistral", "deepseek", "minimax"])
def test_hostile_tools_calls_results_and_schemas_change_nothing_but_the_text(template):
    tokenizer = tokenizer_of(template)
    builder = PromptBuilder(tokenizer)
    calm_words = {place: f"calm{place.title().replace(' ', '')}" for place in PLACES}

    calm = pieces(tokenizer, prompt_with_tools(builder, calm_words))
    for name, text in JOINED.items():
        words = {place: f"{word}{text}" for place, word in calm_words.items()}
        written = {
            word: words[place] if place == "result" else as_json(words[place])
            for place, word in calm_words.items()
        }
        found = pieces(tokenizer, prompt_with_tools(builder, words))
        assert found == written_into(calm, written), name


def test_hostile_template_arguments_change_nothing_but_the_text():
    tokenizer = byte_level(CHATML + "{{ documents | tojson }}{{ custom }}")
    builder = PromptBuilder(tokenizer)

    def prompt(text):
        kwargs = {"documents": [{"title": text, "text": text}], "custom": text}
        hello = [ChatMessage(role="user", content="Hi")]
        (ids,) = builder.contexts(hello, [None], chat_template_kwargs=kwargs)
        return control_ids(tokenizer, ids)

    calm = prompt("calm")
    for name, text in JOINED.items():
        assert prompt(text.replace("ツ", "").replace("\n\n\n", "")) == calm, name


@pytest.mark.parametrize("text", UNENCODABLE["surrogates"], ids=ascii)
def test_what_cannot_be_encoded_is_refused_in_every_place(text):
    builder = PromptBuilder(tokenizer_of("chatml"))
    hello = [ChatMessage(role="user", content="Hi")]
    for role in ("system", "user", "assistant", "tool"):
        with pytest.raises(PromptError, match="surrogate"):
            ChatMessage(role=role, content=text)
    with pytest.raises(PromptError, match="surrogate"):
        builder.contexts(hello, [text])
    with pytest.raises(PromptError, match="surrogate"):
        builder.contexts(hello, [None], chat_template_kwargs={"custom": [text]})
    for place in set(PLACES) - {"id"}:  # ids do not get into prompts
        words = {other: f"calm {other}" for other in PLACES} | {place: text}
        with pytest.raises(PromptError, match="surrogate"):
            prompt_with_tools(builder, words)
