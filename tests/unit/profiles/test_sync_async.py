"""One code for callers on threads and on event loops."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Generator

import pytest

from amulet_integrations.profiles.sync_async import arun_steps, async_form, on_thread, run_steps


class Greeter:
    def greet(self, name: str, *, loudly: bool = False) -> tuple[str, threading.Thread]:
        """Greets somebody."""
        return f"Hello, {name}{'!' if loudly else '.'}", threading.current_thread()

    agreet = on_thread(greet)


class German(Greeter):
    def greet(self, name: str, *, loudly: bool = False) -> tuple[str, threading.Thread]:
        return f"Hallo, {name}.", threading.current_thread()


class Native(Greeter):
    async def agreet(self, name: str) -> str:
        return name


async def test_an_async_form_runs_the_method_of_its_class_on_a_thread() -> None:
    text, thread = await Greeter().agreet("Ann", loudly=True)
    assert text == "Hello, Ann!"
    assert thread is not threading.current_thread()
    assert (await German().agreet("Ann"))[0] == "Hallo, Ann."


def test_an_async_form_has_a_name_a_signature_and_a_docstring() -> None:
    assert Greeter.agreet.__name__ == "agreet"
    assert "`greet`" in (inspect.getdoc(Greeter.agreet) or "")
    assert list(inspect.signature(Greeter.agreet).parameters) == ["self", "name", "loudly"]


async def test_only_native_async_methods_are_found() -> None:
    assert async_form(Greeter(), "greet") is None
    assert async_form(Greeter(), "nothing") is None
    native = async_form(Native(), "greet")
    assert native is not None
    assert await native("Ann") == "Ann"


def adding(numbers: list[int]) -> Generator[int, int | None, int]:
    total = 0
    for number in numbers:
        total += (yield number) or 0
    return total


async def double(number: int) -> int:
    return 2 * number


def test_steps_are_run_by_threads_and_event_loops_alike() -> None:
    assert run_steps(adding([1, 2, 3]), lambda number: 2 * number) == 12
    assert asyncio.run(arun_steps(adding([1, 2, 3]), double)) == 12
    assert run_steps(adding([]), lambda number: number) == 0
    with pytest.raises(ZeroDivisionError):
        run_steps(adding([0]), lambda number: 1 // number)
