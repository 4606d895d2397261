"""What both wrappers share: the engine, the store, the users, and the arguments of calls."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, model_validator

from amulet_integrations.concurrency.deadline import Deadline
from amulet_integrations.concurrency.fair_threads import REQUEST_THREADS
from amulet_integrations.config import SAMPLING, AmuletConfig, check_one_limit
from amulet_integrations.decoding.strength import Strength
from amulet_integrations.engine.model_source import ModelSource
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import InvalidParamsError, UnknownArgumentError
from amulet_integrations.explanation.explanation import Explanation
from amulet_integrations.personalization.applied_preferences import Personalization
from amulet_integrations.personalization.call_options import (
    OTHER_ARGUMENTS,
    SELECTION_ARGUMENTS,
    CallArguments,
    checked_explain,
    checked_timeout,
    merged_template_kwargs,
    selection_from,
    without_unset,
)
from amulet_integrations.personalization.personalizer import Personalizer
from amulet_integrations.personalization.prepared_call import PreparedAnswer, PreparedCall
from amulet_integrations.personalization.user_resolution import PreferenceSelection, resolve_user
from amulet_integrations.profiles import ProfileStore, current_scope
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.profile_limits import limits_of
from amulet_integrations.profiles.stores.default_place import (
    default_path,
    has_default,
    is_default_place,
    named_place,
)
from amulet_integrations.profiles.stores.shared_store import check_picklable
from amulet_integrations.prompting import ChatMessage
from amulet_integrations.prompting.openai_compat.output_options import OutputOptions
from amulet_integrations.registry import Registry

_SHARED: ContextVar[Registry | None] = ContextVar("shared_registry", default=None)


class AmuletClient(AmuletConfig):
    """A configuration with its engine, its store and its users."""

    _registry: Registry = PrivateAttr(default_factory=lambda: _SHARED.get() or Registry())

    @model_validator(mode="after")
    def _check_early(self) -> Self:
        # Refuses values that are out of range; loads and opens nothing.
        store = self.profiles if isinstance(self.profiles, ProfileStore) else None
        _ = self.sampling
        self._personalizer(store).check_limits(self._default)
        if self.engine is None:
            self._registry.context_window(self.source)
        else:
            self._take_model_of(self.engine)
        return self

    def _take_model_of(self, engine: Engine) -> None:
        name = engine.model_name
        if "model" in self.model_fields_set and self.model != ModelSource(name).model:
            raise InvalidParamsError(
                f"model={self.model!r} beside engine=, which runs {name!r}. Leave one of them out."
            )
        self.model = name

    def of_model(self, model: str | Path | None) -> Self:
        """A copy with another model, for a call that names one; may read the model's config.

        It has the same settings, except for those that belong to this model's checkpoint:
        `revision`, `trust_remote_code`, `gguf_file`, `tokenizer_name` and `chat_template`. Its
        engine stays loaded as long as this wrapper exists.

        Raises:
            InvalidParamsError: `model` is no name.
            ModelError: There is no such checkpoint, or this engine cannot run it.
        """
        if model is None:
            return self
        if not isinstance(model, str | Path) or not str(model).strip():
            raise InvalidParamsError(f"model={model!r}: give a Hugging Face id or a local folder.")
        model = ModelSource(str(model)).model
        if model in (self.model, ModelSource(self.model).model):
            return self
        changes = {"model": model, "engine": None, "revision": None, "trust_remote_code": False}
        its_own = dict.fromkeys(("gguf_file", "tokenizer_name", "chat_template"))
        copy = self.model_copy(update=changes | its_own)
        self._registry.context_window(copy.source)
        return copy

    @classmethod
    def loading_with(cls, load: Callable[[ModelSource], Engine], **settings: Any) -> Self:
        """A client whose model is loaded by a function of its source.

        Args:
            load: Loads the engine. It is called on first use, once.
            **settings: The client's arguments.
        """
        token = _SHARED.set(Registry(load))
        try:
            return cls(**settings)
        finally:
            _SHARED.reset(token)

    def load_engine(self) -> Engine:
        """The engine; loads the model on first use."""
        return self.engine or self._registry.engine(self.source)

    @contextmanager
    def sharing_registry(self) -> Iterator[None]:
        """What is constructed inside uses the engines and stores that this client has loaded."""
        token = _SHARED.set(self._registry)
        try:
            yield
        finally:
            _SHARED.reset(token)

    def warm_up(self) -> None:
        """Does ahead what the first call would wait for: call it before a server takes requests.

        It loads the model, reads from the store, tries the chat template out and runs the model
        once. Calling it again costs next to nothing.

        Raises:
            ModelError: The model cannot be loaded.
            ProfileError: The store cannot be opened or read.
            MissingDependencyError: A package is not installed.
        """
        personalizer = self.personalizer
        if (store := personalizer.store) is not None:
            store.get("warm-up")
        example = personalizer.personalize(PreferenceSelection(preference="Be brief."))
        question = ChatMessage(role="user", content="Hello!")
        engine = self.prepare_answer((question,), self.read_call({}), example).engine
        warm_up = getattr(engine, "warm_up", None)
        if warm_up is not None:
            warm_up()

    async def awarm_up(self) -> None:
        """`warm_up` for asyncio; the event loop goes on meanwhile."""
        await REQUEST_THREADS.start(self.warm_up)

    @property
    def context_window(self) -> int:
        """Most tokens of prompt and answer together. Does not load the model."""
        if self.engine is not None:
            return self.engine.context_window
        return self._registry.context_window(self.source)

    @property
    def personalizer(self) -> Personalizer:
        """Looks users up and prepares requests; opens the store."""
        find = partial(self._registry.store, self.profiles, self.profiles_ttl, self.profile_limits)
        # Calls that name nobody leave the default place alone, for the caller has not named it.
        return self._personalizer(find if is_default_place(self.profiles) else find())

    def _personalizer(
        self, profiles: ProfileStore | Callable[[], ProfileStore | None] | None
    ) -> Personalizer:
        return Personalizer(
            self.load_engine,
            profiles=profiles,
            profile_limits=self.profile_limits,
            on_unknown_user=self.report_unknown_user,
            method=self.method,
            strength=Strength.of(self),
            saved_presets=self.saved_presets,
            linear_alignment_ratio=self.linear_alignment_ratio,
            max_guidance_scale=self.max_guidance_scale,
            separator=self.separator,
            find_prompts=self._registry.prompts,
            gate_encoder=self.gate_encoder,
            gate_memory=self._registry.gate_memory,
        )

    def open_profiles(self, *, make: bool = False) -> ProfileStore | None:
        """The store of profiles, which is opened, so it may block; None where there is none.

        Args:
            make: Whether the default place counts although there is nothing yet. The first write
                makes it.

        Raises:
            ProfileStoreError: The store cannot be opened.
        """
        return self._registry.store(
            self.profiles, self.profiles_ttl, self.profile_limits, make=make
        )

    @property
    def has_profiles(self) -> bool:
        """Whether there is a place to look users up in; opens nothing."""
        return self.profiles is not None and (not is_default_place(self.profiles) or has_default())

    @property
    def missing_place(self) -> Path | None:
        """The default database, if it would be used and does not exist."""
        return default_path() if is_default_place(self.profiles) else None

    def report_unknown_user(self, user_id: str, store: ProfileStore | None) -> None:
        """Applies the setting `unknown_user` to a user who is named and was not found.

        Args:
            user_id: The user.
            store: Where the user was looked for; None if a config names the user and there is none.

        Raises:
            UnknownUserError: `unknown_user` is "error".
        """
        if store is not None:
            self._registry.unknown_users.report_user(self.unknown_user, user_id, store)
        else:
            missing = self.missing_place
            self._registry.unknown_users.report_config_user(self.unknown_user, user_id, missing)

    def report_nobody(
        self, selection: PreferenceSelection, *, has_profiles: bool | None = None
    ) -> None:
        """Applies the setting `unknown_user` to a call that names nobody although it could.

        Args:
            selection: What the call selects.
            has_profiles: Whether there are profiles; by default, whether the constructor was given
                `profiles`; those that only the environment names do not count.

        Raises:
            UnknownUserError: `unknown_user` is "error".
        """
        if selection.is_set or self.pinned or "base" in {selection.method, self.method}:
            return
        if has_profiles is None:
            is_usual = is_default_place(self.profiles) or self.profiles == named_place()
            has_profiles = self.profiles is not None and not is_usual
        if has_profiles:
            self._registry.unknown_users.report_nobody(self.unknown_user)

    def report_unread_key(self, key: str, message: str) -> None:
        """Applies the setting `unknown_user` to a key that looks like one that is read.

        Args:
            key: The key of a config or a context.
            message: The message of the error or warning.

        Raises:
            UnknownArgumentError: `unknown_user` is "error".
        """
        self._registry.unknown_users.report_key(self.unknown_user, key, message)

    def resolve_user(
        self, call: PreferenceSelection, config: PreferenceSelection | None = None
    ) -> PreferenceSelection:
        """`resolve_user` with this client's default and store.

        It reads no store, so it may be called on an event loop.
        """
        if self.pinned and not call.is_set:
            if self.user_id is None:
                return call
            call = call.model_copy(update={"user_id": self.user_id})
        return resolve_user(
            call,
            config,
            current_scope(),
            self._default,
            searchable=self.has_profiles,
            missing=self.missing_place,
        )

    def for_user(self, user_id: str) -> Self:
        """A copy that answers this user, on the same engine and store. It is cheap.

        The user counts as named by each call, so only a call's own arguments override it, and no
        config or scope does. Unlike a bound keyword argument the user is part of the model, so
        nothing that is built from the model loses it.

        Raises:
            PreferenceSelectionError: There is no store to look the user up in.
            InvalidProfileError: `user_id` is no valid user id.
        """
        self.resolve_user(PreferenceSelection(user_id=checked_label("user_id", user_id)))
        named = {"user_id": user_id, "preference": None, "preference_profile": None}
        return self.model_copy(update={**named, "pinned": True})

    def plain(self) -> Self:
        """A copy that follows nobody's preferences, on the same engine.

        Use it for work that no user reads: choosing among tools, condensing a conversation into a
        question, grading. It ignores the user of the constructor, of configs and of scopes; only a
        call's own arguments count.
        """
        nobody = {"user_id": None, "preference": None, "preference_profile": None}
        return self.model_copy(update={**nobody, "pinned": True})

    def __getstate__(self) -> dict[str, Any]:
        # The state of a copy, because LlamaIndex removes from it what cannot be pickled; a store
        # has to be there. The engine is left out; whoever unpickles this loads the model by its
        # name.
        if isinstance(self.profiles, ProfileStore):
            check_picklable(self.profiles)
        copy = self.model_copy(update={"engine": None})
        return super(AmuletClient, copy).__getstate__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Engines and stores are shared, not copied.
        memo = {} if memo is None else memo
        shared = (self.engine, self.profiles, self._registry)
        memo.update({id(it): it for it in shared})
        return super().__deepcopy__(memo)

    def read_call(self, arguments: Mapping[str, Any], also: Collection[str] = ()) -> CallArguments:
        """Validates the keyword arguments of a call.

        Args:
            arguments: The arguments, with tools and formats as plain JSON.
            also: Names that the wrapper reads itself.

        Raises:
            UnknownArgumentError: An argument is unknown.
            InvalidParamsError: A sampling parameter is out of its range.
            PreferenceSelectionError: More than one preference, profile or user is named.
            ProfileLimitError: A profile has more preferences than anybody may have.
            PromptError: The tools, their choice or the response format cannot be followed.
            UnsupportedGrammarError: A small schema cannot be enforced, or one is too large. Others
                are left to `personalize`.
        """
        known = {*SELECTION_ARGUMENTS, *SAMPLING, *OTHER_ARGUMENTS, *also}
        if unknown := {name: value for name, value in arguments.items() if name not in known}:
            raise UnknownArgumentError.for_names(f"A call of {type(self).__name__}", unknown, known)
        given = without_unset(arguments)
        check_one_limit(given)
        changes = {name: given[name] for name in SAMPLING if name in given}
        for name in ("max_tokens", "max_new_tokens"):
            if name in given:
                changes["max_new_tokens"] = given[name]
        deadline = Deadline(checked_timeout(given.get("timeout", self.timeout)))
        explain = checked_explain(given.get("explain", self.explain))
        self._check_count(given.get("profile"))
        return CallArguments(
            selection=selection_from(given),
            sampling=self.sampling.model_copy(update=changes),
            output=OutputOptions.read(arguments, steer_strings=self.steer_strings),
            deadline=deadline,
            chat_template_kwargs=merged_template_kwargs(
                self.chat_template_kwargs, given.get("chat_template_kwargs")
            ),
            explain=explain,
        )

    def _check_count(self, profile: object) -> None:
        """Refuses too many preferences before they are read, which takes time for each."""
        if isinstance(profile, Mapping):
            limits = self.profile_limits or limits_of(self.profiles)
            limits.check_count(profile.get("user_id"), profile.get("preferences"))

    def personalize(
        self, selection: PreferenceSelection, arguments: CallArguments
    ) -> Personalization:
        """Reads a call's schemas and looks its user up, so it may block.

        Args:
            selection: Whose preferences the call follows.
            arguments: The call's other arguments.

        Raises:
            RequestTimeoutError: The deadline has passed.
            UnsupportedGrammarError: A schema cannot be enforced while decoding.
            AmuletError: As `Personalizer.personalize`.
        """
        arguments.output.check_schemas(arguments.deadline, selection.owner)
        arguments.deadline.check("while the user's profile was looked up")
        return self.personalizer.personalize(selection)

    def prepare_answer(
        self,
        messages: tuple[ChatMessage, ...] | str,
        arguments: CallArguments,
        personalization: Personalization,
        *,
        cache_salt: str | None = None,
    ) -> PreparedAnswer:
        """Renders a call; loads the model when it is first needed, so it may block.

        Args:
            messages: The conversation; a string is a prompt that the caller has written whole.
            arguments: The call's other arguments.
            personalization: The preferences, looked up for this model.
            cache_salt: Which calls share what has been computed of their prompts; see
                `GenerationRequest`.

        Raises:
            PromptError: The conversation cannot be written as a prompt for this model.
        """
        personalizer = self.personalizer
        arguments.deadline.check("while the model was loaded")
        _ = personalizer.engine
        call = PreparedCall(
            messages=messages,
            personalization=personalization,
            sampling=arguments.sampling,
            output=arguments.output,
            deadline=arguments.deadline,
            chat_template_kwargs=arguments.chat_template_kwargs,
            cache_salt=cache_salt,
            include_preference_text=self.include_preference_text,
            keep_explained=self._registry.explained.keep if arguments.explain else None,
        )
        return personalizer.prepare_answer(call)

    def explanation_of(self, answer: object = None) -> Explanation:
        """Why an answer came out as it did; of a call with `explain=True`.

        The last 32 explained answers are kept, in this process only. Several preferences that share
        a context are told apart here, by one pass over the answer for each of them.

        Args:
            answer: What the call returned: a message or a response; of a stream, the last chunk or
                the sum of all. None for the last answer that was explained, also where a chain, an
                agent or a query engine returned something else: of the user whom the constructor
                or the scope names, or else of whoever asked last.

        Raises:
            GenerationError: The engine fails.
            InvalidRequestError: The answer has no explanation, or it is not kept any more.
            PromptError: A context for a preference alone cannot be written.
        """
        user_id = self.resolve_user(PreferenceSelection()).effective_user_id
        return self._registry.explained.find(answer, user_id).explanation

    async def aexplanation_of(self, answer: object = None) -> Explanation:
        """As `explanation_of`, without blocking the event loop."""
        return await REQUEST_THREADS.start(partial(self.explanation_of, answer))

    @property
    def _default(self) -> PreferenceSelection:
        return PreferenceSelection(
            preference=self.preference,
            profile=self.preference_profile,
            user_id=self.user_id,
            preference_context=self.preference_context,
        )
