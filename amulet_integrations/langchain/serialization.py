"""Descriptions of the chat model for caches, tracers, agents and `dumpd`, without preferences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langchain_core.language_models import ModelProfile
from langchain_core.load.serializable import SerializedConstructor

from amulet_integrations.client import AmuletClient
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine.model_source import EMBEDDED, EMBEDDED_NAME


def identifying_params(llm: AmuletClient) -> dict[str, Any]:
    """Every setting that shapes answers, except for the preferences."""
    return {
        "model": llm.model,
        "engine": llm.engine.fingerprint if llm.engine else llm.source.key,
        "method": llm.method,
        "strength": Strength.of(llm).model_dump(),
        "saved_presets": llm.saved_presets,
        "linear_alignment_ratio": llm.linear_alignment_ratio,
        "separator": llm.separator,
        "include_preference_text": llm.include_preference_text,
        "chat_template_kwargs": llm.chat_template_kwargs,
        "steer_strings": llm.steer_strings,
        **llm.sampling.model_dump(mode="json"),
    }


def model_profile(llm: AmuletClient) -> ModelProfile:
    """What the model can do, for agents; it is not loaded for that.

    Tool calls and formats are enforced for any model. What nobody knows before a model is loaded is
    left out: whether it thinks before it answers, and whether its weights are open.
    """
    window = llm.context_window
    profile = ModelProfile(
        name=_model_name(llm),
        text_inputs=True,
        image_inputs=False,
        image_url_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        pdf_inputs=False,
        image_tool_message=False,
        pdf_tool_message=False,
        attachment=False,
        text_outputs=True,
        image_outputs=False,
        audio_outputs=False,
        video_outputs=False,
        tool_calling=True,
        tool_choice=True,
        tool_call_streaming=True,
        structured_output=True,
        temperature=True,
        max_input_tokens=window,
        max_output_tokens=min(llm.max_tokens, window),
        # All system messages are written at the beginning, and so are tools.
        mid_conversation_system_messages=False,
        mid_conversation_tools=False,
    )
    if llm.engine is None and llm.model == EMBEDDED:
        profile.update({"open_weights": True, "reasoning_output": False})
    return profile


def _model_name(llm: AmuletClient) -> str:
    """The checkpoint's name; of a folder, without the path, which is nobody's business."""
    if llm.engine is None and llm.model == EMBEDDED:
        return EMBEDDED_NAME
    name = llm.model if llm.engine is None else llm.engine.model_name
    return Path(name).name if Path(name).is_absolute() else name


def serialized_constructor(llm: AmuletClient, lc_id: list[str]) -> SerializedConstructor:
    """All settings of the model, so that no environment changes it when it is loaded.

    Engines, preferences, profiles, stores and keys are left out. A loaded model has the store that
    its own environment names, because a database URL may hold a password.
    """
    settings = llm.model_dump(mode="json")
    return SerializedConstructor(lc=1, type="constructor", id=lc_id, kwargs=settings)
