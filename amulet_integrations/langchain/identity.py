"""Who a chat model is, to caches, tracers, agents and people; no text of a preference is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.language_models import LangSmithParams, ModelProfile
from langchain_core.load import dumpd
from langchain_core.load.serializable import SerializedConstructor
from langchain_core.messages import BaseMessage
from langchain_core.tools import BaseTool

from amulet_integrations.decoding.strength import Strength
from amulet_integrations.langchain.entries import PERSONALIZATION, PersonalizedEntries
from amulet_integrations.langchain.messages import to_chat_messages
from amulet_integrations.langchain.tools import to_openai_tools
from amulet_integrations.personalization.applied import Personalization
from amulet_integrations.prompting.openai_compat.tools import to_tool_use


class IdentifiedModel(PersonalizedEntries):
    """How the model presents itself, and how it counts."""

    @property
    def _llm_type(self) -> str:
        return "chat-amulet"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """Every setting that shapes answers, and no text of a preference."""
        return {
            "model": self.model,
            "engine": self.engine.fingerprint if self.engine else self.source.key,
            "method": self.method,
            "strength": Strength.of(self).model_dump(),
            "saved_presets": self.saved_presets,
            "linear_alignment_ratio": self.linear_alignment_ratio,
            "separator": self.separator,
            "include_preference_text": self.include_preference_text,
            "chat_template_kwargs": self.chat_template_kwargs,
            "steer_strings": self.steer_strings,
            **self.sampling.model_dump(mode="json"),
        }

    def _resolve_model_profile(self) -> ModelProfile | None:
        """What the model is able to do, as agents ask; the tools and formats are our own."""
        window = None
        if self.engine is not None:
            window = self.engine.context_window
        profile = ModelProfile(
            text_inputs=True,
            text_outputs=True,
            image_inputs=False,
            audio_inputs=False,
            video_inputs=False,
            pdf_inputs=False,
            tool_calling=True,
            tool_choice=True,
            tool_call_streaming=True,
            structured_output=True,
            max_output_tokens=self.max_tokens,
        )
        if window:
            profile["max_input_tokens"] = window
        return profile

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Yes; engines, preferences, profiles, stores and keys stay out of the form."""
        return True

    def to_json(self) -> SerializedConstructor:
        """The model's settings, all of them, so that no environment changes it when loaded.

        A loaded model has the store that its own environment names, since a database URL may hold
        a password.
        """
        settings = self.model_dump(mode="json")
        if "streaming" not in self.model_fields_set:
            # To LangChain, False means that streaming is turned off where it is given.
            del settings["streaming"]
        if self.pinned:
            settings["pinned"] = True
        if hasattr(self.quantization_config, "to_dict"):
            settings["quantization_config"] = self.quantization_config.to_dict()
        return SerializedConstructor(lc=1, type="constructor", id=self.lc_id(), kwargs=settings)

    @property
    def _serialized(self) -> dict[str, Any]:
        # LangChain keeps it in a cached property, which `for_user` would copy with the old user.
        return cast("dict[str, Any]", dumpd(self))

    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """What callbacks are told; the cache's key adds the personalization itself to it."""
        kwargs = dict(kwargs)
        if isinstance(personalization := kwargs.get(PERSONALIZATION), Personalization):
            kwargs[PERSONALIZATION] = personalization.describe()
        params = super()._get_invocation_params(stop=self._stop(stop), **kwargs)
        if (model := kwargs.get("model")) is not None:
            params["engine"] = self.of_model(model)._identifying_params["engine"]  # noqa: SLF001
        return params

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The cache's key: all settings, those of the call, and a digest of the preferences."""
        params = {**self._get_invocation_params(stop=stop, **kwargs), **kwargs}
        return str(sorted(params.items()))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        if "max_new_tokens" in kwargs:
            kwargs["max_tokens"] = kwargs["max_new_tokens"]
        params = super()._get_ls_params(stop=self._stop(stop), **kwargs)
        params["ls_provider"] = "amulet"
        return params

    def _stop(self, stop: list[str] | None) -> list[str]:
        return list(self.stop) if stop is None else stop

    def get_token_ids(self, text: str) -> list[int]:
        """Token ids of a text, by the model's own tokenizer; loads the model."""
        if self.custom_get_token_ids is not None:
            return self.custom_get_token_ids(text)
        tokenizer = self.load_engine().tokenizer
        return cast("list[int]", tokenizer.encode(text, add_special_tokens=False))

    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """Tokens of a conversation as the model would get it; loads the model.

        Args:
            messages: Any part of a conversation.
            tools: The tools that the model would be told of.
        """
        use = to_tool_use(to_openai_tools(tools or ()))
        return self.personalizer.prompts.count_tokens(
            to_chat_messages(messages), tools=use.tools if use else ()
        )
