"""What both wrappers are able to do with their fields, and how they read a call's arguments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from pydantic import PrivateAttr, model_validator

from amulet_integrations.config import SAMPLING, AmuletConfig, one_limit
from amulet_integrations.decoding.sampling_params import SamplingParams
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine.backends.transformers.loader import check_source
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import InvalidParamsError, UnknownArgumentError
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.selection import PreferenceSelection, select
from amulet_integrations.profiles import ProfileStore
from amulet_integrations.profiles.characters import checked_label
from amulet_integrations.registry import Registry

STRENGTH = tuple(Strength.model_fields)
"""Arguments of a call that say how strongly preferences are applied."""

WHOSE = ("preference", "profile", "user_id", "method", "preference_context", *STRENGTH)
"""Arguments of a call that say whose preferences it follows, when and how."""

_OTHER = ("max_tokens", "max_new_tokens", "stop", "timeout", "chat_template_kwargs")


@dataclass(frozen=True)
class Call:
    """The arguments of one call, read.

    Attributes:
        whose: What they say about whose preferences to follow.
        sampling: The constructor's sampling parameters with the call's in their place.
        timeout: Seconds after which the request fails.
        chat_template_kwargs: Further variables of the model's chat template.
    """

    whose: PreferenceSelection
    sampling: SamplingParams
    timeout: float | None
    chat_template_kwargs: Mapping[str, Any] | None = None


def without_unset(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call without those that are None, which say nothing; but `max_kl` does."""
    return {
        name: value for name, value in arguments.items() if value is not None or name == "max_kl"
    }


class AmuletClient(AmuletConfig):
    """The fields of `AmuletConfig`, with the engine, the store and the users behind them."""

    _registry: Registry = PrivateAttr(default_factory=Registry)

    @model_validator(mode="after")
    def _check_early(self) -> Self:
        # Made to be refused where a value is out of its range; nothing is loaded or opened.
        _ = self.sampling, self._personalizer(None)
        if self.engine is None:
            check_source(self.source)
        else:
            self.model = self.engine.model_name
        return self

    def of_model(self, model: str | None) -> Self:
        """This wrapper with another model, for a call that names one; may read its config.

        It has the same settings but `revision` and `trust_remote_code`, which were said of this
        model's checkpoint. Its engine stays loaded as long as this wrapper is held.

        Raises:
            InvalidParamsError: `model` is no name.
            ModelError: There is no such checkpoint, or it cannot be run.
        """
        if model is None or model == self.model:
            return self
        if not isinstance(model, str) or not model.strip():
            raise InvalidParamsError(f"model={model!r}: give a Hugging Face id or a local folder.")
        changes = {"model": model, "engine": None, "revision": None, "trust_remote_code": False}
        other = self.model_copy(update=changes)
        self._registry.check(other.source)
        return other

    def load_engine(self) -> Engine:
        """The engine that answers; loads the model on first use."""
        return self.engine or self._registry.engine(self.source)

    @property
    def context_window(self) -> int:
        """Most tokens of prompt and answer together; does not load the model."""
        if self.engine is not None:
            return self.engine.context_window
        return self._registry.context_window(self.source)

    @property
    def personalizer(self) -> Personalizer:
        """Resolves users and asks the engine; opens the store, and loads the model when asked."""
        return self._personalizer(self._registry.store(self.profiles, self.profiles_ttl))

    def _personalizer(self, store: ProfileStore | None) -> Personalizer:
        return Personalizer(
            self.load_engine,
            profiles=store,
            default=self._default,
            method=self.method,
            strength=Strength.of(self),
            saved_presets=self.saved_presets,
            linear_alignment_ratio=self.linear_alignment_ratio,
            max_guidance_scale=self.max_guidance_scale,
            separator=self.separator,
            prompts=self._registry.prompts,
        )

    def select(
        self, call: PreferenceSelection, config: PreferenceSelection | None = None
    ) -> PreferenceSelection:
        """As `personalizer.select`; does no I/O, so it may be called on an event loop."""
        if self.pinned and not call.is_set:
            if self.user_id is None:
                return call
            call = call.model_copy(update={"user_id": self.user_id})
        return select(call, config, default=self._default, searchable=self.profiles is not None)

    def for_user(self, user_id: str) -> Self:
        """A copy that answers this user, on the same engine and store; it costs next to nothing.

        The user counts as named by each call: neither a config nor a scope speaks for another
        one, only a call's own arguments do. Unlike a bound keyword argument it is part of the
        model, so that nothing built from the model loses it.

        Raises:
            PreferenceSelectionError: There is no store to look the user up in.
            InvalidProfileError: `user_id` is no valid user id.
        """
        self.select(PreferenceSelection(user_id=checked_label("user_id", user_id)))
        named = {"user_id": user_id, "preference": None, "preference_profile": None}
        return self.model_copy(update={**named, "pinned": True})

    def plain(self) -> Self:
        """A copy that follows nobody's preferences, on the same engine.

        It is for work that no user reads: choosing among tools, condensing a conversation into a
        question, grading. Neither the constructor's user nor a config or a scope counts for it,
        only a call's own arguments do.
        """
        nobody = {"user_id": None, "preference": None, "preference_profile": None}
        return self.model_copy(update={**nobody, "pinned": True})

    def __getstate__(self) -> dict[str, Any]:
        # A copy's: LlamaIndex takes out of it what cannot be pickled, and it is no copy itself. The
        # model is not written out; whoever reads this loads it by its name.
        copy = self.model_copy(update={"engine": None})
        return super(AmuletClient, copy).__getstate__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Engines and stores are shared, not copied.
        memo = {} if memo is None else memo
        memo.update({id(it): it for it in (self.engine, self.profiles, self._registry)})
        return super().__deepcopy__(memo)

    def read_call(self, arguments: Mapping[str, Any], also: Collection[str] = ()) -> Call:
        """Reads the keyword arguments of a call.

        Args:
            arguments: All of them.
            also: Names that mean something to the wrapper, which reads them itself.

        Raises:
            UnknownArgumentError: One of them means nothing here.
            InvalidParamsError: A sampling parameter is out of its range.
            PreferenceSelectionError: They name more than one preference, profile or user.
        """
        known = {*WHOSE, *SAMPLING, *_OTHER, *also}
        if unknown := arguments.keys() - known:
            raise UnknownArgumentError.for_names(f"A call of {type(self).__name__}", unknown, known)
        given = without_unset(arguments)
        one_limit(given)
        changes = {name: given[name] for name in (*SAMPLING, "stop") if name in given}
        for name in ("max_tokens", "max_new_tokens"):
            if name in given:
                changes["max_new_tokens"] = given[name]
        timeout = given.get("timeout", self.timeout)
        is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
        if timeout is not None and not (is_number and timeout > 0):
            raise InvalidParamsError(f"timeout={timeout!r}: give seconds above 0, or None.")
        return Call(
            whose=PreferenceSelection(**{name: given[name] for name in WHOSE if name in given}),
            sampling=self.sampling.model_copy(update=changes),
            timeout=timeout,
            chat_template_kwargs=self._template_kwargs(given.get("chat_template_kwargs")),
        )

    def _template_kwargs(self, given: Any) -> dict[str, Any] | None:
        if given is not None and not isinstance(given, Mapping):
            raise InvalidParamsError(
                f"chat_template_kwargs is a {type(given).__name__}; give a dict of the chat "
                "template's variables."
            )
        return {**(self.chat_template_kwargs or {}), **(given or {})} or None

    @property
    def _default(self) -> PreferenceSelection:
        return PreferenceSelection(
            preference=self.preference,
            profile=self.preference_profile,
            user_id=self.user_id,
            preference_context=self.preference_context,
        )
