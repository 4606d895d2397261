"""A crowd of users of both wrappers: what they do, how long they wait, what they were answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from amulet_integrations import Preference, PreferenceProfile, SamplingParams, SqlProfileStore
from amulet_integrations.engine import GenerationRequest, LocalEngine
from amulet_integrations.errors import (
    AmuletError,
    ContextLengthError,
    GenerationError,
    InvalidParamsError,
    InvalidRequestError,
    RequestTimeoutError,
)
from benchmarks.support.hostile_calls import HOSTILE_CALLS
from tests.support.wrappers import WRAPPERS, Ask, Turn, Wrapper

PATIENCE = 30.0  # seconds that an honest user waits; who is not answered by then fails the test
HOSTILE_TIMEOUT = 2.0
HONEST_CALLERS, HOSTILE_CALLERS = 10, 2
USERS = [f"user-{number}" for number in range(12)]
PREFERENCES = ("Be brief.", "Answer as a pirate would.", "Use a list.", "Be formal.")
QUESTIONS = ("What is tea?", "Name a river.", "Why is the sky blue?", "When does the ferry leave?")
KEPT = 25  # answers of a wave that are compared, at most
NUMBER = {
    "type": "json_schema",
    "json_schema": {
        "name": "number",
        "schema": {
            "type": "object",
            "properties": {"number": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["number"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Asked:
    """A question and what came back, to be asked again alone."""

    ask: Ask
    wrapper: str
    user_id: str
    version: int
    question: str
    arguments: dict[str, Any]
    answer: tuple[object, ...]


@dataclass
class Wave:
    """What happened while the callers were at it."""

    outcomes: Counter[str] = field(default_factory=Counter)
    asked: list[Asked] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Crowd:
    """Random users of one engine and one store.

    Args:
        engine: The engine of both wrappers.
        url: Where the profiles are.
        tokens: Most tokens of an answer.
    """

    def __init__(self, engine: LocalEngine, url: str, tokens: int) -> None:
        self._engine = engine
        self._store = SqlProfileStore(url)
        self._llms = {
            wrapper.name: wrapper.make(engine=engine, profiles=url, max_tokens=tokens)
            for wrapper in WRAPPERS
        }
        for user_id in USERS:
            self._store.save(PreferenceProfile(user_id=user_id, preferences=PREFERENCES[:1]))

    def run_wave(self, seconds: float, seed: int, *, hostile: bool) -> Wave:
        """Lets everybody call for so long; returns when the last call is over."""
        wave = Wave()
        end = time.monotonic() + seconds
        callers: list[Callable[[random.Random, Wave], None]] = [self._honest] * HONEST_CALLERS
        if hostile:
            callers += [self._hostile] * HOSTILE_CALLERS

        def keep_calling(which: int) -> None:
            dice = random.Random(f"{seed} {which}")
            while time.monotonic() < end:
                try:
                    callers[which](dice, wave)
                except Exception as error:  # noqa: BLE001 - whatever it is, the test must tell
                    wave.wrong.append(f"{type(error).__name__}: {error}")
                time.sleep(dice.expovariate(1 / 0.05))

        with ThreadPoolExecutor(len(callers)) as threads:
            list(threads.map(keep_calling, range(len(callers))))
        return wave

    def alone(self, asked: Asked, llm: Any) -> tuple[object, ...]:
        """The answer to a question on an engine where nothing else runs."""
        (profile,) = (
            change.profile
            for change in self._store.history(asked.user_id)
            if change.version == asked.version
        )
        answer = asked.ask(llm, [Turn("user", asked.question)], profile=profile, **asked.arguments)
        return _content(answer)

    def close(self) -> None:
        """Closes the crowd's own store."""
        self._store.close()

    def _honest(self, dice: random.Random, wave: Wave) -> None:
        act = dice.choice(
            [self._answer] * 5
            + [self._wait] * 3
            + [self._change, self._bad] * 1
            + [self._cancel, self._cancel_task, self._late]
        )
        done = act(dice, wave)
        wave.outcomes[done] += 1

    def _hostile(self, dice: random.Random, wave: Wave) -> None:
        wrapper = dice.choice(WRAPPERS)
        way = dice.choice([*wrapper.chats.values()])
        call = dice.choice(HOSTILE_CALLS)(dice.randrange(1_000))
        llm = self._llms[wrapper.name]
        try:
            way(llm, [Turn("user", call.text)], timeout=HOSTILE_TIMEOUT, **call.arguments)
        except AmuletError:
            wave.outcomes["hostile, refused"] += 1
        else:
            wave.outcomes["hostile, answered"] += 1

    def _answer(self, dice: random.Random, wave: Wave) -> str:
        wrapper, user_id = dice.choice(WRAPPERS), dice.choice(USERS)
        ask, question = dice.choice([*wrapper.chats.values()]), dice.choice(QUESTIONS)
        arguments = dice.choice(
            [
                {},
                {"temperature": 1.0, "top_k": 3, "seed": dice.randrange(99)},
                {"response_format": NUMBER},
                {"guidance_scale": dice.uniform(-1, 5)},
            ]
        )
        answer = ask(
            self._llms[wrapper.name],
            [Turn("user", question)],
            user_id=user_id,
            timeout=PATIENCE,
            **arguments,
        )
        applied = answer.applied
        if applied["user_id"] != user_id:
            wave.wrong.append(f"{applied['user_id']} was answered instead of {user_id}")
        version = applied["profile_version"]
        wave.asked.append(
            Asked(ask, wrapper.name, user_id, version, question, arguments, _content(answer))
        )
        return "answered"

    def _wait(self, dice: random.Random, wave: Wave) -> str:
        started = time.monotonic()
        with self._stream(dice) as stream:
            next(stream)
            wave.first_tokens.append(time.monotonic() - started)
            for _ in stream:
                pass
        return "streamed"

    def _cancel(self, dice: random.Random, wave: Wave) -> str:
        with self._stream(dice) as stream:
            for _ in range(dice.randrange(3)):
                next(stream)
        return "stream closed"

    def _stream(self, dice: random.Random) -> Any:
        wrapper = dice.choice(WRAPPERS)
        stream = dice.choice([*wrapper.streams.values()])(
            self._llms[wrapper.name],
            [Turn("user", dice.choice(QUESTIONS))],
            user_id=dice.choice(USERS),
            timeout=PATIENCE,
        )
        return closing(stream)

    def _cancel_task(self, dice: random.Random, wave: Wave) -> str:
        wrapper: Wrapper = dice.choice(WRAPPERS)
        way = dice.choice([*wrapper.awaited.values()])

        async def cancel() -> None:
            await asyncio.wait_for(way(self._llms[wrapper.name]), dice.uniform(0.0, 0.1))

        try:
            asyncio.run(cancel())
        except TimeoutError:
            return "task cancelled"
        return "task done"

    def _late(self, dice: random.Random, wave: Wave) -> str:
        wrapper = dice.choice(WRAPPERS)
        ask = dice.choice([*wrapper.chats.values()])
        try:
            ask(self._llms[wrapper.name], [Turn("user", QUESTIONS[0])], timeout=1e-3)
        except RequestTimeoutError:
            return "late"
        return "in time"

    def _change(self, dice: random.Random, wave: Wave) -> str:
        preferences = [
            Preference(text=text, weight=dice.choice([1.0, 1.0, 0.5]))
            for text in dice.sample(PREFERENCES, dice.randint(1, 2))
        ]
        self._store.update(
            dice.choice(USERS), lambda it: it.model_copy(update={"preferences": tuple(preferences)})
        )
        return "profile changed"

    def _bad(self, dice: random.Random, wave: Wave) -> str:
        """Everything that an engine has to refuse, and a policy that fails in its midst."""
        request = GenerationRequest(contexts=[[5]], sampling=SamplingParams(max_new_tokens=2))
        error, changes = dice.choice(
            [
                (ContextLengthError, {"contexts": [[5] * 9000]}),
                (InvalidRequestError, {"contexts": [[999_999]]}),
                (InvalidParamsError, {"sampling": {"temperature": -1}}),
                (GenerationError, {"policy": lambda _: 1 / 0}),
            ]
        )
        with pytest.raises(error):
            self._engine.generate([request.model_copy(update=changes)])
        return "refused"


def _content(answer: Any) -> tuple[object, ...]:
    return answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens
