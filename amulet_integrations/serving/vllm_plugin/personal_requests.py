"""Who asks vLLM, what they prefer, and the contexts that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from secrets import token_bytes
from typing import Any

from fastapi import Request
from pydantic import ValidationError

from amulet_integrations.client import AmuletClient
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.errors import InvalidRequestError, UnsupportedByEngineError
from amulet_integrations.personalization.applied_preferences import Personalization
from amulet_integrations.personalization.call_options import CallArguments
from amulet_integrations.prompting.openai_compat.output_options import OUTPUT_OPTIONS
from amulet_integrations.serving.access.caller import Asker
from amulet_integrations.serving.access.request_access import Access
from amulet_integrations.serving.api_errors import ApiError
from amulet_integrations.serving.openai_api.requests.amulet_fields import AmuletFields
from amulet_integrations.serving.profile_api.profile_service import ProfileService
from amulet_integrations.serving.request_faults import error_of_faults

from .completion_reader import ReadBody, ReadRequest
from .vllm_served_model import VLLMServedModel

_SECRET = token_bytes(32)


@dataclass(frozen=True)
class PersonalRequest:
    """A request that follows preferences.

    Attributes:
        request: Its contexts and their weights; how it is sampled, vLLM says.
        most_new_tokens: Most tokens that there is room for.
    """

    request: GenerationRequest
    most_new_tokens: int


@dataclass(frozen=True)
class PersonalRequests:
    """Makes the personal requests of a server.

    Attributes:
        client: Looks users up, and writes contexts.
        access: Says who is asking.
        profiles: The profiles, and what their operator allows.
        model: The model.
    """

    client: AmuletClient
    access: Access
    profiles: ProfileService
    model: VLLMServedModel

    async def prepare(
        self, request: Any, raw_request: Request, read: ReadBody
    ) -> PersonalRequest | None:
        """Looks for the preferences of a request, and writes its contexts.

        Args:
            request: vLLM's request. What separates its cache from others' is set here.
            raw_request: The request that it was read from.
            read: Reads what is written into the contexts.

        Returns:
            The personal request; None where there are no preferences to follow.

        Raises:
            AmuletError: Nobody may ask so, or the request cannot be answered as it is.
        """
        body = await raw_request.json()
        # vLLM can write bodies into its log; texts of preferences are not to be there.
        given = (request.model_extra or {}).pop("amulet", None)
        names_user = request.user is not None or any(
            name in raw_request.headers for name in self.access.user_headers
        )
        if self.access.keys is None and given is None and not names_user:
            return None
        asker = _with_plain_salt(await self.access.asker_of(raw_request, request.user))
        _separate(request, asker)
        fields = _fields(given, raw_request, body)
        stored = asker.user_id if self.client.has_profiles else None
        arguments = self.client.read_call(fields.call_arguments(stored))
        if not arguments.selection.is_set:
            return None
        personalize = partial(self._personalize, arguments, asker.user_id)
        found = await REQUEST_THREADS.arun(
            personalize, deadline=arguments.deadline, user_id=asker.user_id
        )
        body_read = read(request, raw_request, body) if found.preferences else None
        if body_read is None:
            return None
        write = partial(self._write, body_read, found, request.cache_salt)
        return await REQUEST_THREADS.arun(write, deadline=arguments.deadline, user_id=asker.user_id)

    def _personalize(self, arguments: CallArguments, user_id: str | None) -> Personalization:
        """The preferences that count, as the operator lets them be used."""
        selection = self.client.resolve_user(arguments.selection)
        found = self.client.personalize(selection, arguments)
        if found.gate is not None:
            raise UnsupportedByEngineError(
                f"gate={found.gate.kind!r}: this server cannot run a gate, for vLLM scores no "
                "question before it answers it. Send gate null, or use `amulet serve`.",
                param="gate",
            )
        allowed = self.profiles.check_preferences(user_id, found.preferences)
        return replace(found, user_id=user_id, preferences=allowed)

    def _write(
        self, body: ReadRequest, found: Personalization, cache_salt: str | None
    ) -> PersonalRequest:
        if body.is_constrained:
            # Amplified, preferences would break the syntax: they stand in the prompt only.
            found = replace(found, guidance_scale=1.0, max_kl=None)
        arguments = self.client.read_call(body.arguments, OUTPUT_OPTIONS)
        answer = self.client.prepare_answer(
            body.conversation, arguments, found, cache_salt=cache_salt
        )
        request = answer.request
        contexts = request.running_contexts
        if len(contexts) > self.model.max_rows:
            raise InvalidRequestError(
                f"The request has {len(contexts)} contexts; the server decodes at most "
                f"{self.model.max_rows} at once (--max-num-seqs). Give it fewer preferences."
            )
        return PersonalRequest(request, self.model.most_new_tokens(contexts, body.asked))


def _with_plain_salt(asker: Asker) -> Asker:
    """The same, with a salt of characters and a length that vLLM takes.

    Nobody can guess it: other routes of vLLM take a client's own salt as it is.
    """
    if asker.cache_salt is None:
        return asker
    salt = blake2b(asker.cache_salt.encode(), key=_SECRET, digest_size=32).hexdigest()
    return replace(asker, cache_salt=salt)


def _separate(request: Any, asker: Asker) -> None:
    """Keeps the prefixes of a user apart, beside what the client keeps apart itself."""
    if asker.cache_salt is not None:
        given = request.cache_salt
        request.cache_salt = asker.cache_salt if given is None else f"{asker.cache_salt}-{given}"


def _fields(given: Any, raw_request: Request, body: Mapping[str, Any]) -> AmuletFields:
    """Reads the object `amulet` of a body.

    Raises:
        ApiError: 400, it is not valid, or asks for explanations.
    """
    try:
        fields = AmuletFields() if given is None else AmuletFields.model_validate(given)
    except ValidationError as error:
        faults = [{**it, "loc": ("body", "amulet", *it["loc"])} for it in error.errors()]
        raise error_of_faults(raw_request, faults, body) from None
    if fields.explain:
        raise ApiError(
            400,
            "This server cannot explain its answers, for they are vLLM's. `amulet serve` can.",
            param="amulet.explain",
            code="unsupported_parameter",
        )
    return fields
