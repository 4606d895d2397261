"""What vLLM calls: once before its application starts, and once when the model is loaded."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from amulet_integrations.client import AmuletClient
from amulet_integrations.errors import UnsupportedByEngineError
from amulet_integrations.profiles import ProfileStore
from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.profile_api.profile_service import ProfileService
from amulet_integrations.serving.profiles_application import add_profile_routes

from .completion_reader import read_chat, read_completion
from .group_answers import GroupAnswers
from .key_guard import KeyGuard
from .personal_requests import PersonalRequests
from .plugin_settings import read_settings
from .server_flags import check_flags
from .vllm_served_model import VLLMServedModel

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.datastructures import State
    from vllm.engine.protocol import EngineClient


class AmuletPlugin:
    """The plug-in.

    Attributes:
        name: Its name in `VLLM_PLUGINS`.
        required_tasks: It is for models that write text.
    """

    name = "amulet"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._access: Access | None = None
        self._profiles: ProfileService | None = None
        self._client: AmuletClient | None = None

    def attach_router(self, app: FastAPI) -> None:
        """Reads the settings, and adds /v1/profiles and the check of keys.

        Raises:
            AmuletError: A setting is not valid. vLLM does not start then.
        """
        settings = read_settings()
        args = getattr(app.state, "args", Namespace())
        has_key = getattr(args, "api_key", None) or os.environ.get("VLLM_API_KEY")
        if settings.keys is not None and has_key:
            raise UnsupportedByEngineError(
                "--api-key or VLLM_API_KEY beside AMULET_KEYS: both keys are sent in the header "
                "'Authorization'. Leave vLLM's out. Its routes ask for those of AMULET_KEYS."
            )
        self._access = Access(
            settings.keys, settings.user_headers, share_prefixes=settings.share_prefixes
        )
        self._profiles = ProfileService(
            None if settings.profiles is None else self._open_profiles,
            max_guidance_scale=settings.max_guidance_scale,
            preference_check=settings.preference_check,
        )
        add_profile_routes(app, self._access, self._profiles)
        if settings.keys is not None:
            app.add_middleware(KeyGuard, access=self._access)

    async def init_state(
        self, engine_client: EngineClient | None, state: State, args: Namespace
    ) -> None:
        """Puts the user's preferences before vLLM's own routes.

        Raises:
            UnsupportedByEngineError: vLLM was started without what keeps contexts in step.
        """
        if engine_client is None or self._access is None or self._profiles is None:
            return  # it renders prompts only, or has no routes
        check_flags(engine_client.vllm_config)
        settings = read_settings()
        model = VLLMServedModel.of(
            engine_client.vllm_config, getattr(state.openai_serving_chat, "chat_template", None)
        )
        client = self._client = AmuletClient(
            engine=model,
            profiles=settings.profiles,
            unknown_user="plain",
            max_guidance_scale=settings.max_guidance_scale,
            chat_template_kwargs=getattr(args, "default_chat_template_kwargs", None),
        )
        requests = PersonalRequests(client, self._access, self._profiles, model)
        await client.awarm_up()
        for name, read in _ROUTES.items():
            own: Any = getattr(state, name, None)
            if own is not None:
                setattr(state, name, GroupAnswers(own, requests, read))

    def _open_profiles(self, *, make: bool = False) -> ProfileStore | None:
        """The store that requests read, too, so that what is written counts for them at once."""
        return None if self._client is None else self._client.open_profiles(make=make)


_ROUTES = {"openai_serving_chat": read_chat, "openai_serving_completion": read_completion}
"""Where vLLM keeps what answers its routes, and how their requests are read."""
