"""What the constructor and calls take, and how the model presents itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from langchain_core.language_models import ModelProfile

from amulet_integrations import AmuletParams, PreferenceProfile
from amulet_integrations.engine import LocalEngine
from amulet_integrations.errors import (
    AmuletError,
    ContextLengthError,
    GuidanceScaleError,
    InvalidParamsError,
    ModelNotFoundError,
    UnknownArgumentError,
)
from amulet_integrations.installation import install_command
from amulet_integrations.langchain import ChatAmulet
from tests.support.tiny import CONTEXT_WINDOW

Make = Callable[..., ChatAmulet]
QUESTION = "What is the sea?"


def test_a_misspelt_constructor_argument_is_refused(chat: Make) -> None:
    with pytest.raises(UnknownArgumentError, match="did you mean 'temperature'"):
        chat(temprature=1.0)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"temperature": -1.0}, "temperature=-1"),
        ({"max_tokens": 0}, "max_new_tokens=0"),
        ({"timeout": 0.0}, "timeout=0"),
        ({"method": "magic"}, "method='magic'"),
        ({"max_new_tokens": 3}, "one parameter"),  # `chat` gives max_tokens
    ],
    ids=str,
)
def test_a_bad_constructor_value_is_our_error(chat: Make, bad: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidParamsError, match=said):
        chat(**bad)


def test_a_profile_may_be_a_dict_and_is_never_taken_for_langchains_own(chat: Make) -> None:
    taste = {"user_id": "ann", "preferences": ["Keep this secret."]}
    llm = chat(profile=taste)
    assert "secret" not in repr(llm.profile)
    assert "secret" not in repr(llm)
    assert llm.invoke(QUESTION).response_metadata["amulet"]["user_id"] == "ann"
    with pytest.raises(AmuletError, match="profile is a str"):
        chat(profile="ann")
    assert chat(profile={"max_input_tokens": 9}).profile == {"max_input_tokens": 9}


# What nobody knows before a model is loaded, or what its weights do not say.
UNKNOWN = {"status", "release_date", "last_updated", "open_weights", "reasoning_output"}
NEVER = {"reasoning_effort_levels", "reasoning_effort_default"}  # there is no such argument


def test_the_profile_answers_every_question_of_langchains(chat: Make) -> None:
    """A field that is new in langchain-core makes this fail: answer it."""
    profile = chat(max_tokens=8).profile
    assert profile is not None
    assert get_type_hints(ModelProfile).keys() - profile.keys() == UNKNOWN | NEVER
    can = {name for name, value in profile.items() if value is True}
    assert can == {
        *("text_inputs", "text_outputs", "temperature", "structured_output"),
        *("tool_calling", "tool_choice", "tool_call_streaming"),
    }
    assert (profile["max_input_tokens"], profile["max_output_tokens"]) == (CONTEXT_WINDOW, 8)
    embedded = ChatAmulet().profile
    assert embedded is not None
    assert embedded["name"] == "SmolLM2-135M-Instruct"
    assert (embedded["open_weights"], embedded["reasoning_output"]) == (True, False)


def test_a_model_with_an_engine_of_its_own_can_be_pickled(chat: Make) -> None:
    llm = chat(profiles=None)
    llm.model = "embedded"
    assert pickle.loads(pickle.dumps(llm)).engine is None  # noqa: S301


def test_an_unknown_model_is_refused_at_once() -> None:
    with pytest.raises(ModelNotFoundError):
        ChatAmulet(model="/nowhere/at-all")


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        ({"temprature": 1.0}, UnknownArgumentError),
        ({"functions": []}, UnknownArgumentError),
        ({"n": 2}, InvalidParamsError),
        ({"top_logprobs": 2}, InvalidParamsError),
        ({"logprobs": True, "top_logprobs": 21}, InvalidParamsError),
        ({"chat_template_kwargs": "x"}, InvalidParamsError),
        ({"min_new_tokens": -1}, InvalidParamsError),
        ({"model": "/nowhere/at-all"}, ModelNotFoundError),
        ({"model": ""}, InvalidParamsError),
        ({"personalization": "ann"}, UnknownArgumentError),
        ({"temperature": -1.0}, InvalidParamsError),
        ({"preference": "x", "params": AmuletParams(alpha=50.0)}, GuidanceScaleError),
    ],
    ids=str,
)
async def test_a_bad_call_is_our_error_on_every_path(
    chat: Make, bad: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        chat().invoke(QUESTION, **bad)
    with pytest.raises(kind):
        list(chat().stream(QUESTION, **bad))
    with pytest.raises(kind):
        await chat().ainvoke(QUESTION, **bad)
    with pytest.raises(kind):
        await anext(aiter(chat().astream(QUESTION, **bad)))
    with pytest.raises(kind):
        chat().batch([QUESTION], **bad)


async def test_a_conversation_past_the_context_window_is_our_error(chat: Make) -> None:
    long = "The sea is blue. " * 400
    with pytest.raises(ContextLengthError, match="640"):
        chat().invoke(long)
    with pytest.raises(ContextLengthError, match="640"):
        await chat().ainvoke(long)


def test_one_bad_input_of_a_batch_is_its_own(chat: Make) -> None:
    answers = chat().batch([QUESTION, []], return_exceptions=True)
    assert answers[0].text
    assert type(answers[1]).__name__ == "PromptError"


def test_profile_takes_a_users_profile_and_langchains_own(chat: Make) -> None:
    profile = PreferenceProfile(user_id="zoe", preferences=[{"text": "Be brief."}])
    answer = chat(profile=profile).invoke(QUESTION)
    assert answer.response_metadata["amulet"]["user_id"] == "zoe"
    assert chat(profile={"max_input_tokens": 640}).profile == {"max_input_tokens": 640}


def test_what_has_no_effect_is_accepted(chat: Make) -> None:
    llm = chat(max_retries=7, api_key="sk-x")
    assert llm.invoke(QUESTION).text == chat().invoke(QUESTION).text


def test_tracers_learn_the_usual_parameters(chat: Make) -> None:
    llm = chat(temperature=0.5, max_tokens=9, stop=["x"])
    told = llm._get_ls_params()
    assert told == {
        "ls_provider": "amulet",
        "ls_model_type": "chat",
        "ls_model_name": "tiny",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["x"],
    }
    told = llm._get_ls_params(stop=["y"], temperature=0.1, max_new_tokens=3)
    assert (told["ls_stop"], told["ls_temperature"], told["ls_max_tokens"]) == (["y"], 0.1, 3)
    assert llm._llm_type == "chat-amulet"


def test_tokens_are_counted_by_the_models_own_tokenizer(
    chat: Make, tiny_engine: LocalEngine
) -> None:
    ids = chat().get_token_ids("The sea is blue.")
    assert tiny_engine.tokenizer.decode(ids) == "The sea is blue."
    assert chat().get_num_tokens("The sea is blue.") == len(ids)


def test_without_langchain_the_import_says_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['langchain_core'] = None\n"
        "from amulet_integrations.errors import MissingDependencyError\n"
        "try:\n    import amulet_integrations.langchain\n"
        "except MissingDependencyError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert install_command("langchain") in done.stdout
