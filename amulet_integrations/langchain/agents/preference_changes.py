"""How the tools change a profile, and the message that the model gets.

Messages name preferences and never quote them, because they stay in conversations and traces. The
arguments come from a model, which may have been made to say anything, so they are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import count

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles import Preference, PreferenceProfile, ProfileLimits

from .tool_texts import has_call_markers, repeats_a_description

MAX_TEXT_LENGTH = 500
"""Most characters of a preference that is remembered; the operator may allow fewer."""

MAX_NAME_LENGTH = 60
"""Most characters of its name."""

MAX_PREFERENCES = 20
"""A profile with this many preferences takes no further one; the operator may allow fewer."""

_NO_WISH = (
    "that is what the prompt says about tools, and not a wish of the user's. Say what the user "
    "asked for, in one sentence. Where there is no such wish, call no tool."
)

_WORD = re.compile(r"(?=\w)[\u2e80-\u9fff]|[^\W\u2e80-\u9fff]+")

Outcome = tuple[PreferenceProfile | None, str]
"""The profile to be stored (None: leave it as it is) and the message for the model."""

Change = Callable[[PreferenceProfile], Outcome]


def remember(text: str | None, name: str | None, limits: ProfileLimits) -> Change:
    """The change that adds a preference, or replaces one of the same name.

    Args:
        text: The preference.
        name: Its name. Where there is none, or one that quotes the text, it gets a number.
        limits: What the operator allows.
    """
    most = min(MAX_PREFERENCES, limits.max_preferences)
    longest = min(MAX_TEXT_LENGTH, limits.max_preference_chars)
    new_text, new_name = (text or "").strip(), (name or "").strip()

    def change(profile: PreferenceProfile) -> Outcome:
        if error := _validation_error(new_text, new_name, longest):
            return None, f"Nothing was remembered: {error}"
        kept, chosen = profile.preferences, new_name
        # Callbacks and traces see names.
        if _quotes(chosen, new_text) and not _with_name(kept, chosen):
            chosen = ""
        same = next((it for it in kept if _equal(it.text, new_text)), None)
        if same and same != Preference(text=same.text, name=same.name, kind=same.kind):
            # It holds in part or at times only; from now on it holds always.
            always = Preference(text=new_text, name=chosen or same.name, kind=same.kind)
            return _replace(profile, same, always)
        if same and (not chosen or _equal(same.name or chosen, chosen)):
            return None, f"That is remembered already{_as(same)}. Nothing was changed."
        if earlier := _with_name(kept, chosen):
            return _replace(profile, earlier[0], Preference(text=new_text, name=earlier[0].name))
        if len(kept) >= most:
            return None, (
                f"Nothing was remembered: at most {most} preferences are kept. "
                f"{_inventory(kept)} One of them has to be forgotten first."
            )
        new = Preference(text=new_text, name=chosen or _free_name(kept))
        changed = profile.model_copy(update={"preferences": (*kept, new)})
        return changed, f"Remembered{_as(new)}. It holds from now."

    return change


def forget(text: str | None, name: str | None, limits: ProfileLimits) -> Change:  # noqa: ARG001
    """The change that removes a preference.

    Args:
        text: Its name or text, or some words of them.
        name: Its name.
        limits: Not needed, for a profile only gets smaller.
    """

    def change(profile: PreferenceProfile) -> Outcome:
        kept = profile.preferences
        found = _with_name(kept, (name or "").strip()) or _search(kept, (text or "").strip())
        if not found:
            return None, f"There is no such preference. {_inventory(kept)}"
        if len(found) > 1:
            message = f"That fits {len(found)} preferences. {_inventory(found)}"
            return None, f"{message} Say which one is meant."
        left = tuple(it for it in kept if it is not found[0])
        changed = profile.model_copy(update={"preferences": left})
        return changed, f"Forgotten{_as(found[0])}. It no longer holds."

    return change


def _validation_error(text: str, name: str, longest: int) -> str | None:
    """What is wrong with the arguments, in words that the model can pass on."""
    if not text:
        return "say what the user prefers, in one sentence."
    if repeats_a_description(text) or has_call_markers(text):
        return _NO_WISH
    if len(text) > longest:
        return (
            f"the preference has {len(text):,} characters, and at most {longest} are "
            "kept. Say it in fewer words."
        )
    if len(name) > MAX_NAME_LENGTH:
        return f"the name has {len(name):,} characters. Give a name of one or two words."
    try:
        Preference(text=text, name=name or None)
    except InvalidProfileError as error:
        return str(error)
    return None


def _replace(profile: PreferenceProfile, earlier: Preference, new: Preference) -> Outcome:
    changed = tuple(new if it is earlier else it for it in profile.preferences)
    message = f"Remembered{_as(new)}, in place of the earlier one."
    return profile.model_copy(update={"preferences": changed}), message


def _with_name(preferences: Sequence[Preference], name: str) -> list[Preference]:
    """The preference of this name; without one, those whose names differ in case alone."""
    exact = [it for it in preferences if it.name and it.name == name]
    if exact or not _normalize(name):
        return exact
    return [it for it in preferences if it.name and _equal(it.name, name)]


def _search(preferences: Sequence[Preference], query: str) -> list[Preference]:
    """Preferences with this name, else with this text, else with these words in name or text."""
    if not _normalize(query):
        return []
    phrase = re.compile(rf"(?<!\w){re.escape(_normalize(query))}(?!\w)")
    tests: tuple[Callable[[Preference], object], ...] = (
        lambda it: it.name and _equal(it.name, query),
        lambda it: _equal(it.text, query),
        lambda it: _words(query) and phrase.search(_normalize(f"{it.name or ''}\n{it.text}")),
    )
    matches = ([it for it in preferences if test(it)] for test in tests)
    return next((found for found in matches if found), [])


def _quotes(name: str, text: str) -> bool:
    """Whether a name contains the whole text, or three words of it in a row."""
    text_words, name_words = _words(text), _words(name)
    length = min(3, len(text_words)) or 1
    shared = _ngrams(text_words, length) & _ngrams(name_words, length)
    return _equal(name, text) or bool(shared)


def _ngrams(words: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}


def _words(text: str) -> list[str]:
    """Its words; in scripts without spaces between words, its characters."""
    return _WORD.findall(text.casefold())


def _equal(one: str, other: str) -> bool:
    return _normalize(one) == _normalize(other)


def _normalize(text: str) -> str:
    """The text without what people vary: case, and quotes and full stops at the ends."""
    return text.casefold().strip(" \t\n\"'.!").strip()


def _free_name(preferences: Sequence[Preference]) -> str:
    taken = {it.name for it in preferences}
    return next(name for number in count(1) if (name := f"preference {number}") not in taken)


def _as(preference: Preference) -> str:
    return "" if preference.name is None else f" as {preference.name!r}"


def _inventory(preferences: Sequence[Preference]) -> str:
    names = [repr(it.name) for it in preferences if it.name is not None]
    if unnamed := len(preferences) - len(names):
        names.append(f"{unnamed} without a name")
    return f"There are: {', '.join(names)}." if names else "None is remembered."
