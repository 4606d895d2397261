"""What each kind of model gets; the oracle is its own tokenizer and template."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from tokenizers import Regex, normalizers
from tokenizers.processors import TemplateProcessing

from amulet_integrations.errors import PromptError
from amulet_integrations.prompting import (
    DEFAULT_SEPARATOR,
    DEFAULT_SYSTEM,
    ChatMessage,
    PromptBuilder,
)
from tests.unit.prompting.models import (
    CHATML,
    CHATML_OWN_SYSTEM,
    GEMMA,
    LLAMA3,
    MISTRAL,
    MISTRAL3,
    QWEN3,
    SPECIAL,
    SWITCHED,
    TEMPLATES,
    byte_level,
    in_python,
    metaspace,
)

PREFERENCE = "Answer like a pirate."
TOKENIZERS = {"byte-level": byte_level, "metaspace": metaspace, "python": in_python}


def chat(*turns: tuple[str, str]) -> list[ChatMessage]:
    return [ChatMessage(role=role, content=content) for role, content in turns]


def own(tokenizer, *turns: tuple[str, str]) -> list[int]:
    """The ids that the tokenizer itself gives to a conversation; an answer is to be continued."""
    continued = turns[-1][0] == "assistant"
    text = tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns],
        tokenize=False,
        add_generation_prompt=not continued,
        continue_final_message=continued,
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]


TALK = [
    ("user", "  What is 3 < 4 [1], `a->b`, 日本語 🙂?\n"),
    ("assistant", "True.\n"),
    ("user", "Über… naïve  cafés\n\n\nyes ツ \U000f0000"),
]
SYSTEM = ("system", "Be brief.")


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("name", ["chatml", "chatml-own-system", "llama3", "qwen3", "zephyr"])
def test_ids_are_the_models_own_where_there_is_a_system_role(make, name):
    tokenizer = make(TEMPLATES[name])
    base, pref = PromptBuilder(tokenizer).contexts(chat(SYSTEM, *TALK), [None, PREFERENCE])
    assert base == own(tokenizer, SYSTEM, *TALK)
    assert pref == own(tokenizer, ("system", "Be brief.\n\n" + PREFERENCE), *TALK)


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("template", [GEMMA, MISTRAL], ids=["gemma", "mistral"])
def test_the_system_text_opens_the_first_user_turn_where_there_is_no_system_role(make, template):
    tokenizer = make(template)
    base, pref = PromptBuilder(tokenizer).contexts(chat(SYSTEM, *TALK), [None, PREFERENCE])
    (_, question), *rest = TALK
    assert base == own(tokenizer, ("user", "Be brief.\n\n" + question), *rest)
    opened = f"Be brief.\n\n{PREFERENCE}\n\n{question}"
    assert pref == own(tokenizer, ("user", opened), *rest)


@pytest.mark.parametrize("template", [CHATML, CHATML_OWN_SYSTEM, LLAMA3, QWEN3])
def test_without_a_system_message_both_contexts_get_the_same_neutral_one(template):
    tokenizer = byte_level(template)
    base, pref = PromptBuilder(tokenizer).contexts(chat(*TALK), [None, PREFERENCE])
    assert base == own(tokenizer, ("system", DEFAULT_SYSTEM), *TALK)
    text = DEFAULT_SYSTEM + DEFAULT_SEPARATOR + PREFERENCE
    assert pref == own(tokenizer, ("system", text), *TALK)


def test_separator_and_default_system_are_settings():
    tokenizer = byte_level(CHATML)
    builder = PromptBuilder(tokenizer, separator=" ", default_system="You help.")
    (pref,) = builder.contexts(chat(*TALK), [PREFERENCE])
    assert pref == own(tokenizer, ("system", f"You help. {PREFERENCE}"), *TALK)


@pytest.mark.parametrize("name", [*TEMPLATES, "plain"])
def test_contexts_differ_by_the_preference_and_nothing_else(name):
    builder = PromptBuilder(byte_level(TEMPLATES.get(name)))
    for conversation in (chat(*TALK), chat(SYSTEM, *TALK)):
        with_preference = builder.render(conversation, PREFERENCE)
        assert with_preference.count(PREFERENCE) == 1
        without = with_preference.replace(DEFAULT_SEPARATOR + PREFERENCE, "")
        assert without == builder.render(conversation)


@pytest.mark.parametrize("name", ["chatml", "chatml-own-system", "llama3", "qwen3"])
def test_ids_of_the_contexts_part_at_one_place_only(name):
    builder = PromptBuilder(byte_level(TEMPLATES[name]))
    base, pref = builder.contexts(chat(SYSTEM, *TALK), [None, PREFERENCE])
    added = len(pref) - len(base)
    at = next(i for i, (a, b) in enumerate(zip(base, pref, strict=False)) if a != b)
    assert added > 0
    assert base == pref[:at] + pref[at + added :]


def test_system_messages_are_gathered_in_order_at_the_front():
    tokenizer = byte_level(CHATML)
    conversation = chat(SYSTEM, TALK[0], ("system", " "), ("system", "Be kind."), *TALK[1:])
    (pref,) = PromptBuilder(tokenizer).contexts(conversation, [PREFERENCE])
    gathered = f"Be brief.\n\nBe kind.\n\n{PREFERENCE}"
    assert pref == own(tokenizer, ("system", gathered), *TALK)


def test_turns_of_one_role_in_a_row_are_merged_only_where_the_template_refuses_them():
    turns = [("user", "One."), ("user", "Two."), ("assistant", "A."), ("assistant", "B.")]
    gemma, chatml = byte_level(GEMMA), byte_level(CHATML)
    (ids,) = PromptBuilder(gemma).contexts(chat(SYSTEM, *turns), [None])
    assert ids == own(gemma, ("user", "Be brief.\n\nOne.\n\nTwo."), ("assistant", "A.\n\nB."))
    (ids,) = PromptBuilder(chatml).contexts(chat(SYSTEM, *turns), [None])
    assert ids == own(chatml, SYSTEM, *turns)


@pytest.mark.parametrize("template", [GEMMA, LLAMA3], ids=["gemma", "llama3"])
def test_bos_stands_once_where_the_tokenizer_adds_it_too(template):
    tokenizer = byte_level(template)
    (ids,) = PromptBuilder(tokenizer).contexts(chat(*TALK), [None])
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1


def test_reasoning_of_earlier_answers_is_left_to_the_template():
    tokenizer = byte_level(QWEN3)
    answer = "<think>\nParis, I think.\n</think>\n\nParis."
    turns = [SYSTEM, TALK[0], ("assistant", answer), TALK[2]]
    builder = PromptBuilder(tokenizer)
    assert builder.contexts(chat(*turns), [None]) == [own(tokenizer, *turns)]
    # Of the answer that is going on, the reasoning stays, in the template's own tokens.
    assert builder.contexts(chat(*turns[:3]), [None]) == [own(tokenizer, *turns[:3])]


def test_reasoning_stays_text_where_the_template_knows_none():
    builder = PromptBuilder(byte_level(CHATML))
    answer = "<think>\nParis, I think.\n</think>\n\nParis."
    assert answer in builder.render(chat(TALK[0], ("assistant", answer), TALK[2]))


def test_a_template_sees_the_words_that_switch_it():
    tokenizer = byte_level(SWITCHED)
    turns = [("system", "Be brief. /no_think"), *TALK]
    assert PromptBuilder(tokenizer).contexts(chat(*turns), [None]) == [own(tokenizer, *turns)]


@pytest.mark.parametrize("name", [*TEMPLATES, "plain"])
@pytest.mark.parametrize(
    "answer", ["It really is", "It is so ", " It\nis\n\n", "<|im_end|> It is</s>"]
)
def test_an_answer_at_the_end_is_continued(name, answer):
    tokenizer = byte_level(TEMPLATES.get(name))
    builder = PromptBuilder(tokenizer)
    base, pref = builder.contexts(chat(SYSTEM, TALK[0], ("assistant", answer)), [None, PREFERENCE])
    assert base != pref
    for ids in (base, pref):
        text = tokenizer.decode(ids)
        assert text.rstrip().endswith(answer.strip())
        assert text.count("Be brief.") == 1
        # Nothing closes it, and nothing in it is a control token.
        assert not set(ids[-3:]) & {tokenizer.convert_tokens_to_ids(it) for it in SPECIAL}
    assert tokenizer.decode(pref).count(PREFERENCE) == 1
    if name != "plain" and answer == "It really is":
        system, question = SYSTEM, TALK[0]
        if name in {"gemma", "mistral", "mistral3"}:
            question = ("user", f"{SYSTEM[1]}\n\n{question[1]}")
            assert base == own(tokenizer, question, ("assistant", answer))
        else:
            assert base == own(tokenizer, system, question, ("assistant", answer))


def test_an_answer_before_a_last_system_message_is_not_continued():
    builder = PromptBuilder(byte_level(CHATML))
    text = builder.render(chat(TALK[0], ("assistant", "So."), ("system", "Answer in French.")))
    assert text.startswith("<|im_start|>system\nAnswer in French.<|im_end|>")
    assert text.endswith("So.<|im_end|>\n<|im_start|>assistant\n")
    plain = PromptBuilder(byte_level(None))
    talk = chat(TALK[0], ("assistant", "So."), ("system", "Answer in French."))
    assert plain.render(talk).endswith("Assistant: So.\nAssistant:")


@pytest.mark.parametrize("hidden", ["system", "assistant"])
def test_the_system_role_is_used_wherever_the_template_writes_it(hidden):
    # What would be hidden beside an answer that goes on is shown before one that begins.
    shown = f"m['content'] if add_generation_prompt or m['role'] != '{hidden}' else ''"
    builder = PromptBuilder(byte_level(CHATML.replace("m['content']", shown)))
    asked, answered = ("user", "One."), ("assistant", "So.")
    last = builder.render(chat(asked, answered, ("system", "In French.")))
    assert last.startswith("<|im_start|>system\nIn French.<|im_end|>\n<|im_start|>user\nOne.<")
    if hidden == "system":
        first = builder.render(chat(("system", "In French."), asked, answered))
        assert first.startswith("<|im_start|>user\nIn French.\n\nOne.<")


@pytest.mark.parametrize("name", [*TEMPLATES, "plain"])
def test_an_empty_answer_at_the_end_has_yet_to_be_written(name):
    builder = PromptBuilder(byte_level(TEMPLATES.get(name)))
    for blank in ("", " \n"):
        talk = chat(*TALK, ("assistant", blank))
        assert builder.contexts(talk, [None]) == builder.contexts(chat(*TALK), [None])


def test_a_template_that_hides_an_answer_cannot_continue_it():
    template = CHATML.replace("m['content']", "('' if m['role'] == 'assistant' else m['content'])")
    builder = PromptBuilder(byte_level(template))
    with pytest.raises(PromptError, match="so it cannot be continued") as caught:
        builder.contexts(chat(*TALK[:2]), [None, PREFERENCE])
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "pirate" not in str(caught.value)


@pytest.mark.parametrize("words", ["continue_final_message is set", "The chat ends otherwise"])
def test_no_wording_of_transformers_shows_the_preference(words):
    tokenizer = byte_level(CHATML)

    def refuses(turns, **options):
        raise ValueError(f"{words}. Rendered chat: {turns}")

    builder = PromptBuilder(tokenizer)
    prepared = builder.prepare(chat(*TALK[:2]))
    assert prepared.render(PREFERENCE).count("pirate") == 1  # all probes are done
    tokenizer.apply_chat_template = refuses
    with pytest.raises(PromptError, match="so it cannot be continued") as caught:
        builder.prepare(chat(*TALK[:2])).render(PREFERENCE)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "pirate" not in str(caught.value)


# Where a template drops the system text.

DROPS = {
    "not before the user's last turn": MISTRAL3,
    "after an answer": CHATML.replace(
        "{% for m in messages %}",
        "{% for m in messages if not (m['role'] == 'system' and messages | length > 2) %}",
    ),
    "always": CHATML.replace(
        "{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}"
    ),
}
ENDINGS = {
    "user": [("user", "One.")],
    "longer": [("user", "One."), ("assistant", "A."), ("user", "Two.")],
    "assistant": [("user", "One."), ("assistant", "A.")],
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", DROPS)
def test_the_system_text_and_the_preference_are_never_dropped(name, ending):
    builder = PromptBuilder(byte_level(DROPS[name]))
    talk = chat(SYSTEM, *ENDINGS[ending])
    base, pref = builder.render(talk), builder.render(talk, PREFERENCE)
    assert base.count("Be brief.") == 1
    assert pref.replace(DEFAULT_SEPARATOR + PREFERENCE, "") == base
    assert builder.contexts(talk, [None])[0] != builder.contexts(talk, [PREFERENCE])[0]


def test_a_prompt_without_a_trace_of_the_preference_is_refused():
    # It cuts the system text short, which a probe of two words does not show.
    template = CHATML.replace("m['content']", "m['content'][:20]")
    builder = PromptBuilder(byte_level(template))
    with pytest.raises(PromptError, match="leaves the preference out") as caught:
        builder.contexts(chat(("system", "Be brief. " * 9), TALK[0]), [None, PREFERENCE])
    assert "pirate" not in str(caught.value)


@pytest.mark.parametrize("is_formatted", [False, True])
def test_a_preference_of_which_the_tokenizer_leaves_nothing_is_refused(is_formatted):
    tokenizer = byte_level(CHATML)
    dropped = normalizers.Replace(Regex(r"[\s\u200b]+"), "")
    tokenizer.backend_tokenizer.normalizer = dropped
    builder = PromptBuilder(tokenizer)

    def contexts(preference):
        if is_formatted:
            return builder.formatted_contexts("Why?", [None, preference])
        return builder.contexts(chat(SYSTEM, *TALK), [None, preference])

    with pytest.raises(PromptError, match="tokenizer leaves all of its characters out"):
        contexts("\u200b \u200b")
    base, pref = contexts("\u200bSo")
    assert base != pref


def test_a_template_error_that_remains_is_quoted():
    builder = PromptBuilder(byte_level(GEMMA))
    with pytest.raises(PromptError, match=r"must alternate.*chat_template"):
        builder.contexts(chat(("assistant", "Hi."), ("user", "Hello.")), [None])


def test_a_template_given_to_the_builder_replaces_the_tokenizers():
    given = PromptBuilder(byte_level(None), chat_template=CHATML)
    assert given.is_chat
    assert given.stop == ()
    expected = own(byte_level(CHATML), SYSTEM, *TALK)
    assert given.contexts(chat(SYSTEM, *TALK), [None]) == [expected]


@pytest.mark.parametrize("make", [byte_level, metaspace], ids=["byte-level", "metaspace"])
def test_a_model_without_template_gets_plain_text_with_its_bos(make):
    tokenizer = make(None)
    tokenizer._tokenizer.post_processor = _bos_and_eos(tokenizer)
    builder = PromptBuilder(tokenizer)
    expected = (
        f"Be brief.\n\n{PREFERENCE}\n\nUser: {TALK[0][1]}\nAssistant: {TALK[1][1]}\n"
        f"User: {TALK[2][1]}\nAssistant:"
    )
    assert not builder.is_chat
    assert builder.stop == ("\nUser:",)
    assert builder.render(chat(SYSTEM, *TALK), PREFERENCE) == expected
    (ids,) = builder.contexts(chat(SYSTEM, *TALK), [PREFERENCE])
    whole = tokenizer(expected)["input_ids"]
    # Its BOS, but no end of text before the answer has begun.
    assert whole[-1] == tokenizer.eos_token_id
    assert ids == whole[:-1]
    assert ids[0] == tokenizer.bos_token_id


def _bos_and_eos(tokenizer):
    ends = [("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    return TemplateProcessing(single="<s> $A </s>", special_tokens=ends)


def test_the_template_is_tried_out_once():
    tokenizer = byte_level(GEMMA)
    builder = PromptBuilder(tokenizer)
    builder.contexts(chat(*TALK), [None])
    with patch.object(
        tokenizer, "apply_chat_template", wraps=tokenizer.apply_chat_template
    ) as rendering:
        builder.contexts(chat(SYSTEM, *TALK), [None, PREFERENCE])
        # The third one shows that the template does not read the shape of such a preference.
        assert rendering.call_count == 3
        builder.contexts(chat(SYSTEM, *TALK, ("user", "So?")), [None, PREFERENCE])
    assert rendering.call_count == 5


def test_one_rendering_of_the_base_serves_all():
    tokenizer = byte_level(QWEN3)
    builder = PromptBuilder(tokenizer)
    builder.contexts(chat(SYSTEM, *TALK), [PREFERENCE])
    builder.prepare(chat(*TALK)).reasoning  # noqa: B018 - tries the template out
    with patch.object(
        tokenizer, "apply_chat_template", wraps=tokenizer.apply_chat_template
    ) as rendering:
        prompt = builder.prepare(chat(SYSTEM, *TALK))
        found = prompt.reasoning, prompt.contexts([None, PREFERENCE]), prompt.render()
    assert rendering.call_count == 2
    assert found == (
        builder.reasoning(chat(SYSTEM, *TALK)),
        builder.contexts(chat(SYSTEM, *TALK), [None, PREFERENCE]),
        builder.render(chat(SYSTEM, *TALK)),
    )


def test_no_contexts_asked_for_gives_none():
    assert PromptBuilder(byte_level()).contexts(chat(*TALK), []) == []
