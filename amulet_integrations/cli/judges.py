"""The judge that a user named: a local model, or one that LangChain knows by its provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amulet_integrations.cli.session import open_engine
from amulet_integrations.errors import EvaluationError, MissingDependencyError

_VERDICT = 16  # tokens that a judge may say


def find_judge(name: str) -> Callable[[], Any]:
    """Finds out, before anything is loaded, whether there can be such a judge.

    Args:
        name: A model as in `--model`, or PROVIDER:MODEL.

    Returns:
        What makes it, and loads its model; a local one in its checkpoint's own dtype, whatever
        dtype the answers are computed in.

    Raises:
        MissingDependencyError: LangChain is not installed.
        EvaluationError: The provider is not known, its package is not installed, or it lacks
            something, such as a key.
    """
    if ":" in name:
        judge = _of_provider(name)
        return lambda: judge
    from amulet_integrations.langchain import ChatAmulet  # noqa: PLC0415 - optional

    return lambda: ChatAmulet(engine=open_engine(name), method="base", max_tokens=_VERDICT)


def _of_provider(name: str) -> Any:
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError.for_extra("langchain", "agents") from error
    try:
        return init_chat_model(name, temperature=0)
    except Exception as error:  # whatever the provider's package says is missing
        raise EvaluationError(f"--judge {name} cannot be used: {error}") from error
