from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest

from amulet_integrations.errors import InvalidProfileError, PreferenceSelectionError
from amulet_integrations.profiles import (
    Preference,
    PreferenceProfile,
    PreferenceScope,
    current_scope,
    preference_scope,
)
from amulet_integrations.profiles.conditions import PreferenceContext

PRIVATE = "I am recovering from an illness"


def test_outside_of_all_scopes_there_is_none():
    assert current_scope() is None


def test_each_of_the_three_can_be_given():
    profile = PreferenceProfile(user_id="ann")
    with preference_scope(user_id="ann"):
        assert current_scope() == PreferenceScope(user_id="ann")
    with preference_scope(profile=profile):
        assert current_scope().profile is profile
    with preference_scope(preference=Preference(text="Be brief.", weight=0.5)):
        assert current_scope().preference.weight == 0.5
    with preference_scope(preference="Be brief.") as scope:
        assert scope == PreferenceScope(preference=Preference(text="Be brief."))
        assert current_scope() is scope


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "got nothing"),
        ({"user_id": None}, "got nothing"),
        ({"user_id": "ann", "preference": "Be brief."}, "got user_id and preference"),
        (
            {"user_id": "ann", "profile": PreferenceProfile(user_id="ann")},
            "got user_id and profile",
        ),
        ({"profile": {"user_id": "ann"}}, "profile is a dict"),
        ({"preference": 5}, "preference is a int"),
    ],
)
def test_exactly_one_must_be_given(given, message):
    with pytest.raises(PreferenceSelectionError, match=message):
        preference_scope(**given)


def test_invalid_users_and_texts_are_refused_at_the_call():
    with pytest.raises(InvalidProfileError, match="user_id"):
        preference_scope(user_id="")
    with pytest.raises(InvalidProfileError, match="empty"):
        preference_scope(preference=" ")


def test_scopes_nest_and_are_restored_also_after_an_error():
    with preference_scope(user_id="ann") as outer:
        with suppress(RuntimeError), preference_scope(user_id="bob"):
            assert current_scope().user_id == "bob"
            raise RuntimeError
        assert current_scope() is outer
    assert current_scope() is None


def test_a_scope_may_be_entered_again():
    scope = preference_scope(user_id="ann")
    for _ in range(2):
        with scope, scope:
            assert current_scope().user_id == "ann"
        assert current_scope() is None


def test_reprs_show_no_text():
    with preference_scope(preference=PRIVATE) as scope:
        assert PRIVATE not in repr(scope)
    with preference_scope(profile=PreferenceProfile(user_id="a", preferences=[PRIVATE])) as scope:
        assert PRIVATE not in repr(scope)


async def test_tasks_in_different_scopes_do_not_see_each_other():
    both_inside = asyncio.Barrier(2)

    async def answer(user_id):
        with preference_scope(user_id=user_id):
            await both_inside.wait()
            seen = current_scope().user_id
            await both_inside.wait()
        return seen, current_scope()

    seen = await asyncio.gather(answer("ann"), answer("bob"))
    assert seen == [("ann", None), ("bob", None)]
    assert current_scope() is None


async def test_a_task_started_inside_keeps_the_scope_after_the_block_ends():
    over = asyncio.Event()

    async def later():
        await over.wait()
        return current_scope()

    with preference_scope(user_id="ann") as scope:
        task = asyncio.create_task(later())
    over.set()
    assert await task is scope
    assert current_scope() is None


def test_threads_in_different_scopes_do_not_see_each_other():
    both_inside = Barrier(2, timeout=10)

    def answer(user_id):
        before = current_scope()
        with preference_scope(user_id=user_id):
            both_inside.wait()
            seen = current_scope().user_id
            both_inside.wait()
        return before, seen, current_scope()

    with preference_scope(user_id="zoe"), ThreadPoolExecutor(2) as threads:
        seen = list(threads.map(answer, ["ann", "bob"]))
        assert current_scope().user_id == "zoe"
    assert seen == [(None, "ann", None), (None, "bob", None)]


async def test_to_thread_takes_the_scope_along():
    with preference_scope(user_id="ann") as scope:
        assert await asyncio.to_thread(current_scope) is scope


def test_leaving_in_another_context_neither_fails_nor_brings_a_scope_there():
    def stream():
        with preference_scope(user_id="ann"), preference_scope(user_id="bob"):
            yield

    generator = stream()
    contextvars.Context().run(next, generator)
    with preference_scope(user_id="zoe") as zoe:
        generator.close()
        assert current_scope() is zoe
    assert current_scope() is None


async def test_an_async_generator_closed_by_another_task_leaves_no_trace():
    async def stream():
        with preference_scope(user_id="ann"):
            yield 1
            yield 2

    generator = stream()
    await asyncio.create_task(anext(generator))
    with preference_scope(user_id="zoe") as zoe:
        await asyncio.create_task(generator.aclose())
        assert current_scope() is zoe
    assert current_scope() is None


def test_scopes_left_in_the_wrong_order_do_not_come_back():
    first, second = preference_scope(user_id="ann"), preference_scope(user_id="bob")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert current_scope().user_id == "bob"
    second.__exit__(None, None, None)
    assert current_scope() is None


def test_a_scope_may_have_a_context():
    with preference_scope(user_id="ann", preference_context={"topic": "health"}) as scope:
        assert scope.preference_context == {"topic": "health"}
        with preference_scope(preference_context={"locale": "de", "topic": "sport"}):
            inside = current_scope()
            assert inside.user_id == "ann"
            assert inside.preference_context == {"topic": "sport", "locale": "de"}
        assert current_scope().preference_context == {"topic": "health"}


def test_contexts_without_a_user_or_of_the_same_user_count_inside():
    german = preference_scope(preference_context={"locale": "de"})
    ann = preference_scope(user_id="ann", preference_context={"topic": "health"})
    with german, ann, preference_scope(user_id="ann", preference_context={"topic": "sport"}):
        assert current_scope().preference_context == {"locale": "de", "topic": "sport"}
        with preference_scope(profile=PreferenceProfile(user_id="ann")):
            assert current_scope().preference_context == {"locale": "de", "topic": "sport"}
        with preference_scope(preference="Be brief."):
            assert current_scope().preference_context == {"locale": "de"}


def test_the_context_of_another_user_does_not_count():
    outer = preference_scope(user_id="ann", preference_context={"topic": "health"})
    with outer, preference_scope(user_id="bob"):
        assert current_scope().preference_context == {}
        with preference_scope(preference_context={"locale": "de"}):
            assert current_scope() == PreferenceScope(
                user_id="bob", preference_context=PreferenceContext({"locale": "de"})
            )


def test_a_scope_with_only_a_context_sets_no_user():
    with preference_scope(preference_context={}) as scope:
        assert not scope.is_set


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("health", "preference_context is a str"),
        ([("topic", "x")], "preference_context is a list"),
        ({"topic": 7}, r"preference_context\['topic'\] is a int"),
        ({7: "x"}, "a name in preference_context is a int"),
        ({"topic": "a\x1bb"}, "control character"),
        ({"topic": "x" * 257}, "257 characters"),
        ({str(n): "x" for n in range(65)}, "65 entries; at most 64"),
    ],
)
def test_invalid_contexts_are_refused(context, message):
    with pytest.raises(InvalidProfileError, match=message):
        preference_scope(user_id="ann", preference_context=context)


def test_several_preferences_are_told_where_they_go():
    with pytest.raises(PreferenceSelectionError, match=r"profile=PreferenceProfile\(preferences="):
        PreferenceScope(preference=["Be brief.", "Be kind."])
