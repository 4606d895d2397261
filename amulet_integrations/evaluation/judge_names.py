"""Who a judge is: everything it tells that changes its verdicts, in words for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amulet_integrations.evaluation.judge_prompts import prompt_digest

_MODEL = ("model_name", "model", "model_id", "deployment_name")
_SETTINGS = ("method", "revision", "temperature", "seed", "reasoning_effort", "max_tokens")


def judge_name(judge: Any) -> str:
    """What a judge is called, as `gpt-5 (temperature 0, prompt 3fa2c1)`.

    It has the model's name, those settings that the judge tells, and a digest of the prompt, so
    verdicts that came about in another way have another name. Nothing else of the judge is in it:
    no key, and no preference of its own.

    Args:
        judge: A LangChain chat model, also with arguments bound to it, or anything else.
    """
    models = (_told(judge, name) for name in _MODEL)
    model = next((told for told in models if told), type(judge).__name__)
    settings = [
        f"{name.replace('_', ' ')} {told}" for name in _SETTINGS if (told := _told(judge, name))
    ]
    return f"{model} ({', '.join([*settings, f'prompt {prompt_digest()}'])})"


def _told(judge: Any, name: str) -> str:
    """A setting in words; nothing where the judge has none."""
    bound = getattr(judge, "kwargs", None)  # what `bind` adds goes before the model's own
    value = bound.get(name) if isinstance(bound, Mapping) else None
    if value is None:
        value = getattr(judge, name, None)
    if isinstance(value, float):
        return f"{value:g}"  # 0 and 0.0 are one temperature
    return str(value) if isinstance(value, str | int) else ""
