"""The memories of LangMem: items of a LangGraph store, or of a file with such items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from amulet_integrations.errors import InvalidProfileError
from amulet_integrations.profiles.field_types import checked_label
from amulet_integrations.profiles.stores.access import foreign_errors

from .foreign_memory import ForeignMemory, checked_users, only_of, read_time
from .json_items import at, check_object, check_text, read_items
from .langmem_contents import read_contents
from .namespace_template import DEFAULT_NAMESPACE, NamespaceTemplate

_EXPECTED = (
    'an item of a LangGraph store, such as {"namespace": ["memories", "ann"], "key": "…", '
    '"value": {"content": "…"}}'
)
_WHAT = "items of a LangGraph store with namespace, key and value"
_PAGE = 500


class _Item(NamedTuple):
    place: str
    namespace: tuple[str, ...]
    key: str
    value: Mapping[str, Any]
    times: Mapping[str, Any]


def read_langmem(
    source: Any,
    namespace: str | Sequence[str] = DEFAULT_NAMESPACE,
    user_ids: Iterable[str] | None = None,
) -> list[ForeignMemory]:
    """Reads memories of LangMem.

    Args:
        source: A LangGraph `BaseStore`, such as a `PostgresStore`; or its items, or these as JSON
            (a list, or an object on each line).
        namespace: Where the memories are, with the user in braces; a string has "/" between the
            parts.
        user_ids: The users; None for all.

    Raises:
        InvalidProfileError: It is something else, or nothing stands in such a namespace. The
            message names the place and what was expected.
        ProfileStoreError: The store fails.
    """
    template = NamespaceTemplate.of(namespace)
    users = None if user_ids is None else checked_users(user_ids)
    is_store = callable(getattr(source, "list_namespaces", None))
    items = list(_stored(source, template) if is_store else _given(source))
    memories = [it for item in items for it in _memories(item, template)]
    if items and all(template.user_of(item.namespace) is None for item in items):
        raise InvalidProfileError(
            f"{at(items[0].place)} is in the namespace {'/'.join(items[0].namespace)!r:.120}, and "
            f"nothing is in one of the form {str(template)!r:.120}, which was expected. Say where "
            "the memories are, by namespace."
        )
    return only_of(memories, users)


def _stored(store: Any, template: NamespaceTemplate) -> Iterator[_Item]:
    """Everything below the namespaces of a store, a page at a time, in a fixed order."""
    namespaces: list[tuple[str, ...]] = []
    while True:
        with foreign_errors(store, "list_namespaces"):
            page = store.list_namespaces(
                prefix=template.prefix or None, limit=_PAGE, offset=len(namespaces)
            )
        namespaces += page
        if len(page) < _PAGE:
            break
    for namespace in sorted(set(namespaces)):
        offset, found = 0, list[Any]()
        while True:
            with foreign_errors(store, "search"):
                page = store.search(namespace, limit=_PAGE, offset=offset, refresh_ttl=False)
            offset += len(page)
            # A search finds what is further down too; that has a namespace of its own.
            found += [it for it in page if tuple(it.namespace) == tuple(namespace)]
            if len(page) < _PAGE:
                break
        found.sort(key=lambda it: (it.created_at, it.key))
        yield from (_item(f"{'/'.join(namespace)} {it.key!r:.80}", it) for it in found)


def _given(source: Any) -> Iterator[_Item]:
    if isinstance(source, str):
        entries = read_items(source, _WHAT)
    elif isinstance(source, Iterable) and not isinstance(source, Mapping):
        entries = [(f"[{number}]", it) for number, it in enumerate(source)]
    else:
        raise InvalidProfileError(
            f"The source is a {type(source).__name__}; a LangGraph store, or {_WHAT} were expected."
        )
    for place, entry in entries:
        yield _item(place, entry)


def _item(place: str, entry: Any) -> _Item:
    """An item, as an object of LangGraph's or as JSON."""
    if not isinstance(entry, Mapping) and callable(getattr(entry, "dict", None)):
        entry = entry.dict()
    fields = check_object(place, entry, _EXPECTED)
    namespace = fields.get("namespace", fields.get("prefix"))  # PostgresStore's table has a prefix
    if isinstance(namespace, str):
        namespace = namespace.split(".")
    if (
        not isinstance(namespace, list | tuple)
        or not namespace
        or not all(isinstance(it, str) and it for it in namespace)
    ):
        raise InvalidProfileError(
            f"{at(place)} has no namespace of names; expected was {_EXPECTED}."
        )
    key = check_text(place, fields, "key", _EXPECTED)
    if "value" not in fields:
        raise InvalidProfileError(f"{at(place)} has no value; expected was {_EXPECTED}.")
    value = check_object(f"{place}.value", fields["value"], 'an object, such as {"content": "…"}')
    return _Item(place, tuple(namespace), key, value, fields)


def _memories(item: _Item, template: NamespaceTemplate) -> Iterator[ForeignMemory]:
    user_id = template.user_of(item.namespace)
    obstacle = None
    if user_id is None:
        obstacle = f"its namespace is not of the form {template}"
    else:
        checked_label(f"{at(item.place)}: the user in its namespace", user_id)
    common = ForeignMemory(
        user_id=user_id or "",
        text="",
        place=item.place,
        origin=template.origin,
        key=item.key,
        created_at=read_time(f"{item.place}.created_at", item.times.get("created_at")),
        updated_at=read_time(f"{item.place}.updated_at", item.times.get("updated_at")),
        expires_at=read_time(f"{item.place}.expires_at", item.times.get("expires_at")),
        obstacle=obstacle,
    )
    try:
        parts = list(read_contents(item.value))
    except RecursionError:
        raise InvalidProfileError(
            f"{at(item.place)}.value is nested too deeply; expected was {_EXPECTED}."
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise InvalidProfileError(f"{at(item.place)}.value is no text: {error}.") from None
    if not parts:
        yield replace(common, obstacle=obstacle or "it says nothing")
    for part in parts:
        key = f"{item.key}#{part.path}" if part.path else item.key
        yield replace(common, key=key, text=part.text, kinds=part.kinds, metadata=part.more)
