"""The memories of mem0: what `get_all` returns, exports of it as JSON, and a `Memory` itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.stores.access import foreign_errors

from .foreign_memory import ForeignMemory, checked_users, only_of, read_last_day, read_time
from .json_items import at, check_object, check_text, read_items

ORIGIN = "mem0"

_EXPECTED = 'a memory of mem0, such as {"id": "…", "memory": "…", "user_id": "…"}'
_WHAT = 'memories of mem0, as `get_all` returns them ({"results": [{"id": …, "memory": …}]})'
_FIRST_PAGE = 1000


def read_mem0(source: Any, user_ids: Iterable[str] | None = None) -> list[ForeignMemory]:
    """Reads memories of mem0.

    Args:
        source: What `get_all` returned (a dict with "results", or a list), the same as JSON text or
            as JSON lines, or a `Memory`, which is asked for everything of `user_ids`.
        user_ids: The users. A `Memory` needs them, for it does not list its users. A single one
            is also the user of memories that name nobody.

    Raises:
        InvalidProfileError: It is something else, or one page of several; or a `Memory` is given
            without users. The message names the place and what was expected.
        ProfileStoreError: The `Memory` fails.
    """
    users = None if user_ids is None else checked_users(user_ids)
    if callable(getattr(source, "get_all", None)):
        return list(_of_memory(source, users))
    owner = users[0] if users is not None and len(users) == 1 else None
    items = read_items(source, _WHAT) if isinstance(source, str) else [("", source)]
    return only_of(list(_of_items(items, owner)), users)


def _of_memory(memory: Any, users: list[str] | None) -> Iterator[ForeignMemory]:
    if inspect.iscoroutinefunction(memory.get_all):
        raise InvalidProfileError(
            f"A {type(memory).__name__} is asynchronous; give what its get_all returns: "
            "await memory.get_all(…)."
        )
    if users is None:
        raise InvalidProfileError(
            f"A {type(memory).__name__} does not list its users; give user_ids."
        )
    for user_id in users:
        result = _everything(memory, user_id)
        found = _of_items([(f"user {user_id!r:.80}: ", result)], user_id)
        yield from sorted(found, key=lambda it: it.created_at or datetime.max.replace(tzinfo=UTC))


def _everything(memory: Any, user_id: str) -> Any:
    """All memories of a user: `get_all` returns no more than it is asked for, by default 20."""
    parameters = inspect.signature(memory.get_all).parameters
    if "filters" in parameters and "top_k" in parameters:  # mem0 2
        limit, options = "top_k", {"filters": {"user_id": user_id}}
        if "show_expired" in parameters:
            options["show_expired"] = True  # type: ignore[assignment]
    elif "user_id" in parameters and "limit" in parameters:  # before
        limit, options = "limit", {"user_id": user_id}  # type: ignore[dict-item]
    else:
        raise InvalidProfileError(
            f"{type(memory).__name__}.get_all takes {', '.join(parameters) or 'nothing'}; a Memory "
            "of mem0 1 or 2 was expected. Give what its get_all returns instead."
        )
    size = _FIRST_PAGE
    while True:
        with foreign_errors(memory, "get_all"):
            result = memory.get_all(**options, **{limit: size})
        found = result.get("results") if isinstance(result, Mapping) else result
        if not isinstance(found, list) or len(found) < size:
            return result
        size *= 4


def _of_items(items: list[tuple[str, Any]], owner: str | None) -> Iterator[ForeignMemory]:
    for place, item in items:
        if isinstance(item, Mapping) and "results" in item:
            yield from _of_results(place if len(items) > 1 else "", item, owner)
        elif isinstance(item, list):
            for number, one in enumerate(item):
                yield _memory(f"{place}[{number}]", one, owner)
        else:
            yield _memory(place, item, owner)


def _of_results(
    place: str, document: Mapping[str, Any], owner: str | None
) -> Iterator[ForeignMemory]:
    prefix = f"{place}: " if place.startswith("line") else place
    if document.get("next"):
        raise InvalidProfileError(
            f"{prefix}next says that there are further pages; expected were all results. Fetch the "
            "other pages too, and give the results of all of them as one list."
        )
    results = document["results"]
    if not isinstance(results, list):
        raise InvalidProfileError(
            f"{prefix}results is a {type(results).__name__}; expected was a list of memories."
        )
    for number, item in enumerate(results):
        yield _memory(f"{prefix}results[{number}]", item, owner)
    if document.get("relations"):
        yield ForeignMemory(
            user_id=owner or "",
            text="",
            place=f"{prefix}relations",
            origin=ORIGIN,
            obstacle="relations of a graph are no texts; they are not imported",
        )


def _memory(place: str, item: Any, owner: str | None) -> ForeignMemory:
    fields = check_object(place, item, _EXPECTED)
    key = check_text(place, fields, "id", _EXPECTED)
    text = check_text(place, fields, "memory", _EXPECTED)
    user_id, obstacle = fields.get("user_id"), None
    if user_id is None and owner is None:
        obstacle = _of_nobody(place, fields)
    elif user_id is not None:
        checked_label(f"{at(place)}: user_id", user_id)
    speaker = fields.get("role") or fields.get("attributed_to")
    if speaker == "assistant":
        obstacle = "the assistant said it, not the user"
    metadata = check_object(f"{place}.metadata", fields.get("metadata") or {}, "an object")
    return ForeignMemory(
        user_id=user_id or owner or "",
        text=text,
        place=place,
        origin=ORIGIN,
        key=key,
        kinds=tuple(_kinds(place, fields, metadata)),
        created_at=read_time(f"{place}.created_at", fields.get("created_at")),
        updated_at=read_time(f"{place}.updated_at", fields.get("updated_at")),
        expires_at=read_last_day(f"{place}.expiration_date", fields.get("expiration_date")),
        metadata=metadata,
        obstacle=obstacle,
    )


def _of_nobody(place: str, fields: Mapping[str, Any]) -> str:
    for name in ("agent_id", "run_id", "app_id"):
        if fields.get(name):
            return f"it is of no user, only of an {name}"
    raise InvalidProfileError(
        f"{at(place)} names no user; expected was {_EXPECTED}. If all of them are of one user, say "
        "which one, by user_ids."
    )


def _kinds(place: str, fields: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterator[str]:
    categories = fields.get("categories") or []
    if not isinstance(categories, list):
        raise InvalidProfileError(
            f"{place}.categories is a {type(categories).__name__}; expected was a list of names."
        )
    yield from (it for it in categories if isinstance(it, str))
    for name in ("category", "type", "kind"):
        if isinstance(metadata.get(name), str):
            yield metadata[name]
