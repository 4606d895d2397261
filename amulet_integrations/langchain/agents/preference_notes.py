"""What remembering and forgetting make of a profile, and what the model is told about it.

What is told names preferences and never quotes them: it stays in conversations and traces. The
arguments come from a model, which may have been talked into anything, so they are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import count

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile

LONGEST_REMEMBERED = 500
"""Most characters of a preference that is remembered."""

LONGEST_NAME = 60
"""Most characters of its name."""

MOST_REMEMBERED = 20
"""Most preferences of a profile to which another one may be added."""

_WORD = re.compile(r"(?=\w)[\u2e80-\u9fff]|[^\W\u2e80-\u9fff]+")

Outcome = tuple[PreferenceProfile | None, str]
"""The profile to be stored (None: leave it) and what the model is told about it."""

Change = Callable[[PreferenceProfile], Outcome]


def remembered(text: str | None, name: str | None) -> Change:
    """The change that adds a preference, or puts it in the place of one of the same name.

    Args:
        text: The preference, as the model gives it.
        name: Its name; None or an empty one for a number. One that quotes the text becomes a
            number, too.
    """

    def change(profile: PreferenceProfile) -> Outcome:
        said, called = (text or "").strip(), (name or "").strip()
        if complaint := _complaint(said, called):
            return None, complaint
        # A name is told to callbacks and traces, so one that quotes the text is none.
        if _quotes(called, said) and not _named(profile.preferences, called):
            called = ""
        same = next((it for it in profile.preferences if _alike(it.text, said)), None)
        if same and not _holds_always(same):
            return _replaced(profile, same, Preference(text=said, name=called or same.name))
        if same and (not called or _alike(same.name or called, called)):
            return None, f"That is remembered already{_as(same)}. Nothing was changed."
        return _added(profile, said, called)

    return change


def forgotten(text: str | None, name: str | None) -> Change:
    """The change that takes a preference away.

    Args:
        text: Its name or text, or some words of them.
        name: Its name.
    """

    def change(profile: PreferenceProfile) -> Outcome:
        called, said = (name or "").strip(), (text or "").strip()
        found = _named(profile.preferences, called) or _fitting(profile.preferences, said)
        if not found:
            return None, f"There is no such preference. {_inventory(profile.preferences)}"
        if len(found) > 1:
            return None, (
                f"That fits {len(found)} preferences. {_inventory(found)} Say which one is meant."
            )
        left = tuple(it for it in profile.preferences if it is not found[0])
        return _with(profile, left), f"Forgotten{_as(found[0])}. It no longer holds."

    return change


def _complaint(said: str, called: str) -> str | None:
    """What is wrong with the arguments, in words that the model can pass on."""
    if not said:
        return "Nothing was remembered: say what the user prefers, in one sentence."
    if len(said) > LONGEST_REMEMBERED:
        return (
            f"Nothing was remembered: the preference has {len(said):,} characters, and at most "
            f"{LONGEST_REMEMBERED} are kept. Say it in fewer words."
        )
    if len(called) > LONGEST_NAME:
        return (
            f"Nothing was remembered: the name has {len(called):,} characters. Give a name of "
            "one or two words."
        )
    try:
        Preference(text=said, name=called or None)
    except InvalidProfileError as error:
        return f"Nothing was remembered: {error}"
    return None


def _added(profile: PreferenceProfile, said: str, called: str) -> Outcome:
    earlier = _named(profile.preferences, called)
    if earlier:
        return _replaced(profile, earlier[0], Preference(text=said, name=earlier[0].name))
    if len(profile.preferences) >= MOST_REMEMBERED:
        return None, (
            f"Nothing was remembered: at most {MOST_REMEMBERED} preferences are kept. "
            f"{_inventory(profile.preferences)} One of them has to be forgotten first."
        )
    new = Preference(text=said, name=called or _free_name(profile.preferences))
    return _with(profile, (*profile.preferences, new)), f"Remembered{_as(new)}. It holds from now."


def _replaced(profile: PreferenceProfile, earlier: Preference, new: Preference) -> Outcome:
    changed = tuple(new if it is earlier else it for it in profile.preferences)
    return _with(profile, changed), f"Remembered{_as(new)}, in place of the earlier one."


def _holds_always(preference: Preference) -> bool:
    """Whether it holds in full, at all times and whatever a call is about."""
    return preference == Preference(text=preference.text, name=preference.name)


def _with(profile: PreferenceProfile, preferences: tuple[Preference, ...]) -> PreferenceProfile:
    return profile.model_copy(update={"preferences": preferences})


def _named(preferences: Sequence[Preference], name: str) -> list[Preference]:
    """The preference of this name; where none is, those whose names differ in case alone."""
    exact = [it for it in preferences if it.name and it.name == name]
    if exact or not _plain(name):
        return exact
    return [it for it in preferences if it.name and _alike(it.name, name)]


def _fitting(preferences: Sequence[Preference], words: str) -> list[Preference]:
    """Those with this name, else with this text, else with these words in name or text."""
    if not _plain(words):
        return []
    whole_words = re.compile(rf"(?<!\w){re.escape(_plain(words))}(?!\w)")
    tests: tuple[Callable[[Preference], object], ...] = (
        lambda it: it.name and _alike(it.name, words),
        lambda it: _alike(it.text, words),
        lambda it: _words(words) and whole_words.search(_plain(f"{it.name or ''}\n{it.text}")),
    )
    by_test = ([it for it in preferences if test(it)] for test in tests)
    return next((found for found in by_test if found), [])


def _quotes(name: str, text: str) -> bool:
    """Whether a name tells all of a text, or three words of it that follow each other."""
    said, called = _words(text), _words(name)
    length = min(3, len(said)) or 1
    return _alike(name, text) or not _runs(said, length).isdisjoint(_runs(called, length))


def _runs(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def _words(text: str) -> list[str]:
    """Its words; where a script has no spaces between them, its characters."""
    return _WORD.findall(text.casefold())


def _alike(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


def _plain(text: str) -> str:
    """Without what people vary: case, and quotes and full stops at the ends."""
    return text.casefold().strip(" \t\n\"'.!").strip()


def _free_name(preferences: Sequence[Preference]) -> str:
    taken = {it.name for it in preferences}
    return next(name for number in count(1) if (name := f"preference {number}") not in taken)


def _as(preference: Preference) -> str:
    return "" if preference.name is None else f" as {preference.name!r}"


def _inventory(preferences: Sequence[Preference]) -> str:
    names = [repr(it.name) for it in preferences if it.name is not None]
    unnamed = len(preferences) - len(names)
    parts = names + ([f"{unnamed} without a name"] if unnamed else [])
    return f"There are: {', '.join(parts)}." if parts else "None is remembered."
