"""Predictions: what the prompt's arguments and its output parser ask for, and the errors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from llama_index.core.chat_engine.condense_question import DEFAULT_TEMPLATE as CONDENSE_QUESTION
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.output_parsers.selection import SelectionOutputParser
from llama_index.core.prompts import BasePromptTemplate, PromptType
from llama_index.core.question_gen.output_parser import SubQuestionOutputParser

from amulet_integrations.errors import AmuletError, AnswerError, PromptError
from amulet_integrations.personalization.call_options import SELECTION_ARGUMENTS
from amulet_integrations.prompting.openai_compat.response_format import json_object_format

from .client_llm import ClientLLM
from .llm_call import writes_whole_prompts

F = TypeVar("F", bound=Callable[..., Any])
L = TypeVar("L", bound="ClientLLM")
T = TypeVar("T")


# The answers to these choose, extract or query; all other types are read by users.
_UNREAD = {
    PromptType.SINGLE_SELECT,
    PromptType.MULTI_SELECT,
    PromptType.SUB_QUESTION,
    PromptType.DECOMPOSE,
    PromptType.TREE_SELECT,
    PromptType.TREE_SELECT_MULTIPLE,
    PromptType.TREE_INSERT,
    PromptType.CHOICE_SELECT,
    PromptType.RANKGPT_RERANK,
    PromptType.KEYWORD_EXTRACT,
    PromptType.QUERY_KEYWORD_EXTRACT,
    PromptType.KNOWLEDGE_TRIPLET_EXTRACT,
    PromptType.SCHEMA_EXTRACT,
    PromptType.TABLE_CONTEXT,
    PromptType.TEXT_TO_SQL,
    PromptType.TEXT_TO_GRAPH_QUERY,
    PromptType.VECTOR_STORE_QUERY,
    PromptType.JSON_PATH,
    PromptType.PANDAS,
}


def raises_answer_errors(method: F) -> F:
    """Makes a method raise `AnswerError` in place of our errors that are ValueErrors.

    LlamaIndex's query engines take a ValueError for an answer that does not fit, and go on with an
    empty response. Where the method returns a coroutine, its errors are replaced as well.
    """

    @wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with _answer_errors():
            result = method(*args, **kwargs)
        return _awaited(result) if isinstance(result, Coroutine) else result

    return cast("F", wrapper)


@contextmanager
def _answer_errors() -> Iterator[None]:
    try:
        yield
    except AmuletError as error:
        if isinstance(error, ValueError | TypeError):
            raise AnswerError(str(error)) from error
        raise


async def _awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    with _answer_errors():
        return await coroutine


def bind_preferences(
    llm: L, arguments: Mapping[str, Any], prompt: BasePromptTemplate | None = None
) -> tuple[L, dict[str, Any]]:
    """Binds those of a method's arguments that select preferences.

    A prompt whose answer no user reads, such as a selector's, is answered for nobody unless the
    arguments name somebody: preferences choose no query engine and no document.

    Args:
        llm: The model.
        arguments: The arguments.
        prompt: The prompt that the others fill in; its own variables are not bound.

    Returns:
        The copy that follows the preferences, and the other arguments.

    Raises:
        PromptError: `prompt` is not a prompt template.
    """
    variables = () if prompt is None else _template_variables(prompt)
    names = (set(SELECTION_ARGUMENTS) & arguments.keys()) - set(variables)
    others = {name: value for name, value in arguments.items() if name not in names}
    bound = llm.bind_arguments({name: arguments[name] for name in names})
    if prompt is not None and _is_unread(prompt) and not bound.names_somebody:
        bound = bound.plain()
    return bound, others


def bind_parser_format(
    llm: L, arguments: Mapping[str, Any], prompt: BasePromptTemplate
) -> tuple[L, dict[str, Any]]:
    """As `bind_preferences`, with the response format that the output parser reads."""
    bound, others = bind_preferences(llm, arguments, prompt)
    parser = llm.output_parser or prompt.output_parser
    response_format = _parser_response_format(parser, {**prompt.kwargs, **others})
    if response_format is None or writes_whole_prompts(llm):
        return bound, others
    return bound.bind_arguments({"response_format": response_format}), others


def _is_unread(prompt: BasePromptTemplate) -> bool:
    """Whether the answer to a prompt is read by a program only."""
    if prompt.metadata.get("prompt_type") in _UNREAD:
        return True
    if getattr(prompt, "template", None) == CONDENSE_QUESTION:
        return True
    return isinstance(prompt.output_parser, SelectionOutputParser | SubQuestionOutputParser)


def _template_variables(prompt: object) -> Collection[str]:
    if not isinstance(prompt, BasePromptTemplate):
        raise PromptError(
            f"prompt is a {type(prompt).__name__}; give a prompt template, or pass a string to "
            "`complete`."
        )
    return prompt.template_vars


def _parser_response_format(parser: Any, prompt_args: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the response format of answers that an output parser reads.

    Prompts that have one of these parsers describe the schema to the model in words.

    Args:
        parser: An output parser, or None.
        prompt_args: The values of the prompt's variables, among them what there is to choose from.

    Returns:
        None where the parser does not read JSON of a known schema.
    """
    if _parses_as(parser, PydanticOutputParser):
        return json_object_format(parser.output_cls)
    if _parses_as(parser, SelectionOutputParser):
        return json_object_format(_selection_schema(prompt_args))
    if _parses_as(parser, SubQuestionOutputParser):
        return json_object_format(_sub_question_schema(prompt_args))
    return None


def _parses_as(parser: Any, kind: type) -> bool:
    """Whether a parser is of a kind and does not override how that kind parses."""
    # Not compared as attributes: LlamaIndex wraps methods anew each time they are looked up.
    own, known = (inspect.getattr_static(cls, "parse", None) for cls in (type(parser), kind))
    return isinstance(parser, kind) and own is known


def _selection_schema(prompt_args: Mapping[str, Any]) -> dict[str, Any]:
    choice: dict[str, Any] = {"type": "integer", "minimum": 1}
    if isinstance(count := prompt_args.get("num_choices"), int):
        choice["maximum"] = count
    selection = _object_schema(choice=choice, reason={"type": "string"})
    if "max_outputs" not in prompt_args:
        return selection
    limit = {"maxItems": prompt_args["max_outputs"]} if prompt_args["max_outputs"] else {}
    return {"type": "array", "items": selection, "minItems": 1, **limit}


def _sub_question_schema(prompt_args: Mapping[str, Any]) -> dict[str, Any]:
    tool_name: dict[str, Any] = {"type": "string"}
    try:
        names = list(json.loads(prompt_args["tools_str"]))
    except (KeyError, TypeError, ValueError):
        names = []
    if names:
        tool_name["enum"] = names
    question = _object_schema(sub_question={"type": "string"}, tool_name=tool_name)
    return _object_schema(items={"type": "array", "items": question, "minItems": 1})


def _object_schema(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
