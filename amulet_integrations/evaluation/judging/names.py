"""Who a judge is, in words for people: its model, and settings that change its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amulet_integrations.evaluation.judging.prompts import prompt_digest

_MODEL = ("model_name", "model", "model_id", "deployment_name")
_SETTINGS = (
    "method",
    "revision",
    "dtype",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "reasoning_effort",
    "max_tokens",
)
_NEUTRAL = {"dtype": "auto", "top_p": "1", "top_k": "0"}  # as good as not told


def judge_name(judge: Any) -> str:
    """What a judge is called, as `gpt-5 (temperature 0, prompt 3fa2c1)`.

    It has the model's name, a digest of the prompt and, where the judge tells them, its method,
    revision, dtype, temperature, top_p, top_k, seed, reasoning effort and most tokens: verdicts
    that came about with another of these have another name. Judges that differ in anything else
    have one name. No key is in it, and no preference of the judge's own.

    Args:
        judge: A LangChain chat model, also with arguments bound to it, or anything else.
    """
    models = (_told(judge, name) for name in _MODEL)
    model = next((name for name in models if name), type(judge).__name__)
    told = {name: _told(judge, name) for name in _SETTINGS}
    if getattr(judge, "engine", None) is not None:
        del told["dtype"]  # an engine that was given computes in one of its own
    settings = [
        f"{name.replace('_', ' ')} {value}"
        for name, value in told.items()
        if value and value != _NEUTRAL.get(name)
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
