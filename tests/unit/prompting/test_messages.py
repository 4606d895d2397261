from __future__ import annotations

import subprocess
import sys

import pytest

from amulet_integrations.errors import PromptError, UnknownArgumentError
from amulet_integrations.prompting import ChatMessage, PromptBuilder
from tests.unit.prompting.models import CHATML, byte_level

HELLO = [ChatMessage(role="user", content="Hello")]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"role": "tool", "content": "x"}, "tool"),
        ({"role": "user", "content": 5}, "content=5"),
        ({"role": "user", "content": b"bytes"}, "content"),
        ({"role": "user", "content": "\ud800"}, "content"),
        ({"role": "user", "content": "x", "contents": "y"}, "content"),
    ],
)
def test_a_bad_message_is_refused_and_its_fault_named(fields, named):
    with pytest.raises((PromptError, UnknownArgumentError), match=named) as caught:
        ChatMessage(**fields)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([], "empty"),
        ([("system", "Be kind.")], "system"),
        ([("assistant", "Hi.")], "assistant"),
        ([("user", " \n"), ("assistant", "Hi.")], "blank"),
    ],
)
def test_a_conversation_in_which_no_user_speaks_is_refused(messages, named):
    conversation = [ChatMessage(role=role, content=content) for role, content in messages]
    with pytest.raises(PromptError, match=named):
        PromptBuilder(byte_level()).contexts(conversation, [None])


@pytest.mark.parametrize("preference", ["", "  \n", 3, "half \ud83d"])
def test_a_preference_that_cannot_stand_in_a_prompt_is_refused(preference):
    with pytest.raises(PromptError, match="preference"):
        PromptBuilder(byte_level()).contexts(HELLO, [None, preference])


def test_a_blank_default_system_text_is_refused():
    with pytest.raises(PromptError, match="default_system=' '"):
        PromptBuilder(byte_level(), default_system=" ")


def test_several_templates_without_a_default_are_refused_unless_one_is_named():
    tokenizer = byte_level()
    tokenizer.chat_template = {"rag": CHATML, "tools": CHATML}
    with pytest.raises(PromptError, match="rag"):
        PromptBuilder(tokenizer)
    named = PromptBuilder(tokenizer, chat_template="rag")
    assert named.contexts(HELLO, [None]) == PromptBuilder(byte_level()).contexts(HELLO, [None])


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys; from amulet_integrations.prompting import ChatMessage, PromptBuilder; "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
