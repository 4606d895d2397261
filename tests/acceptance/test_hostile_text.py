"""Every hostile string in every place of the prompts of every family, one at a time."""

from __future__ import annotations

import pytest

from amulet_integrations.prompting import PromptBuilder
from tests.support.hostile import ENCODABLE
from tests.support.hostile.judge import pieces, written_into
from tests.support.hostile.templates import TEMPLATES, tokenizer_of
from tests.unit.prompting.test_hostile_text import (
    PLACES,
    WORDS,
    as_json,
    calm_pieces,
    prompt_with_tools,
    talk,
)

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("family", ENCODABLE)
def test_a_hostile_string_changes_nothing_but_the_text(template: str, family: str) -> None:
    tokenizer = tokenizer_of(template)
    builder = PromptBuilder(tokenizer)
    calm = calm_pieces(tokenizer)
    calm_words = {place: f"calm{place.title().replace(' ', '')}" for place in PLACES}
    calm_tools = pieces(tokenizer, prompt_with_tools(builder, calm_words))
    for text in ENCODABLE[family]:
        texts = [f"{word}{text}{word}" for word in WORDS]
        (ids,) = builder.contexts(talk(texts[:4]), [texts[4]])
        expected = written_into(calm, dict(zip(WORDS, texts, strict=True)))
        assert pieces(tokenizer, ids) == expected, ascii(text)
        words = {place: f"{word}{text}" for place, word in calm_words.items()}
        written = {
            word: words[place] if place == "result" else as_json(words[place])
            for place, word in calm_words.items()
        }
        found = pieces(tokenizer, prompt_with_tools(builder, words))
        assert found == written_into(calm_tools, written), ascii(text)
