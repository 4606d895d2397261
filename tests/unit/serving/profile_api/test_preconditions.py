"""Entity tags: what If-Match and If-None-Match let through, also between writers at once."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from amulet_integrations.profiles import PreferenceProfile

CHANGES = {
    "PUT": {"json": {"preferences": ["New."]}},
    "PATCH": {"json": {"preferences": ["New."]}},
    "DELETE": {},
    "ERASE": {},
    "RESTORE": {"json": {"version": 1}},
}


def arguments(change: str, path: str) -> dict[str, object]:
    """What a client is called with for a change."""
    method = {"ERASE": "DELETE", "RESTORE": "POST"}.get(change, change)
    url = path + {"ERASE": "?erase=true", "RESTORE": "/restore"}.get(change, "")
    return {"method": method, "url": url, **CHANGES[change]}


def saved_twice(store, user):
    store.save(PreferenceProfile(user_id=user, preferences=["Old."]))
    return store.save(PreferenceProfile(user_id=user, preferences=["Newer."]))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"If-Match": '"2"'}, True),
        ({"If-Match": "*"}, True),
        ({"If-Match": '"1", "2"'}, True),
        ({"If-Match": ' , "x,y" ,"2",'}, True),
        ({"If-Match": '"1"'}, False),
        ({"If-Match": '"1", "3"'}, False),
        ({"If-Match": 'W/"2"'}, False),
        ({"If-Match": '"02"'}, False),
        ({"If-None-Match": "*"}, False),
        ({"If-None-Match": '"2"'}, False),
        ({"If-None-Match": 'W/"2"'}, False),
        ({"If-None-Match": '"1"'}, True),
        ({"If-Match": '"2"', "If-None-Match": '"2"'}, False),
    ],
)
def test_a_change_depends_on_the_stored_version(change, headers, passes, ann):
    before = saved_twice(ann.store, ann.user)
    response = ann.client.request(**arguments(change, ann.path), headers=headers)
    assert response.status_code == (200 if passes else 412)
    assert (ann.store.get(ann.user) == before) is not passes
    if not passes:
        assert response.json()["error"]["code"] == "precondition_failed"


@pytest.mark.parametrize("change", ["PUT", "DELETE"])
@pytest.mark.parametrize("tag", ["2", "'2'", '"2', "", 'w/"2"', 'W""', '*, "2"', '"2" "3"'])
def test_what_is_no_entity_tag_is_refused(change, tag, ann):
    before = saved_twice(ann.store, ann.user)
    response = ann.client.request(**arguments(change, ann.path), headers={"If-Match": tag})
    assert response.status_code == 400
    assert "in quotes" in response.json()["error"]["message"]
    assert ann.store.get(ann.user) == before


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("tag", ["*", '"1"', '"0"'])
def test_where_there_is_no_profile_no_tag_matches(change, tag, ann):
    saved_twice(ann.store, ann.user)
    ann.store.delete(ann.user)
    response = ann.client.request(**arguments(change, ann.path), headers={"If-Match": tag})
    assert response.status_code == 412
    assert ann.store.get(ann.user) is None
    assert len(ann.store.history(ann.user)) == 3


def test_a_profile_is_made_only_where_there_is_none(ann):
    only_new = {"If-None-Match": "*"}
    assert ann.client.put(ann.path, json={}, headers=only_new).status_code == 201
    assert ann.client.put(ann.path, json={}, headers=only_new).status_code == 412
    ann.store.delete(ann.user)
    assert ann.client.put(ann.path, json={}, headers=only_new).status_code == 201


def test_reading_what_is_known_sends_nothing(ann):
    saved_twice(ann.store, ann.user)
    for tag in ('"2"', 'W/"2"', "*", '"1", "2"'):
        known = ann.client.get(ann.path, headers={"If-None-Match": tag})
        assert (known.status_code, known.content) == (304, b"")
        assert known.headers["etag"] == '"2"'
    assert ann.client.get(ann.path, headers={"If-None-Match": '"1"'}).status_code == 200
    assert ann.client.get(ann.path, headers={"If-Match": '"1"'}).status_code == 412
    assert ann.client.get(ann.path, headers={"If-Match": '"2"'}).status_code == 200


def test_a_list_may_be_sent_in_several_lines(ann):
    saved_twice(ann.store, ann.user)
    lines = [("If-Match", '"1"'), ("If-Match", '"2"')]
    assert ann.client.patch(ann.path, json={}, headers=lines).status_code == 200


def test_a_long_header_takes_no_time(ann):
    saved_twice(ann.store, ann.user)
    header = '"1"' + " , " * 8_000 + "x"
    assert ann.client.patch(ann.path, json={}, headers={"If-Match": header}).status_code == 400


@pytest.mark.parametrize("change", CHANGES)
async def test_of_many_writers_with_one_tag_one_writes(change, ann):
    saved_twice(ann.store, ann.user)
    transport = httpx.ASGITransport(ann.client.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as writers:
        requests = [
            writers.request(**arguments(change, ann.path), headers={"If-Match": '"2"'})
            for _ in range(4)
        ]
        responses = await asyncio.gather(*requests)
    assert sorted(it.status_code for it in responses) == [200, 412, 412, 412]
    assert len(ann.store.history(ann.user)) == (0 if change == "ERASE" else 3)


async def test_of_many_who_make_a_profile_one_does(ann):
    transport = httpx.ASGITransport(ann.client.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as writers:
        responses = await asyncio.gather(
            *(writers.put(ann.path, json={}, headers={"If-None-Match": "*"}) for _ in range(4))
        )
    assert sorted(it.status_code for it in responses) == [201, 412, 412, 412]
    assert ann.store.get(ann.user).version == 1


async def test_no_change_of_many_without_a_tag_is_lost(ann):
    ann.store.save(PreferenceProfile(user_id=ann.user))
    transport = httpx.ASGITransport(ann.client.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as writers:
        fields = [{"guidance_scale": 3}, {"max_kl": 0.5}, {"method": "amulet"}]
        responses = await asyncio.gather(*(writers.patch(ann.path, json=one) for one in fields))
    assert {it.status_code for it in responses} == {200}
    stored = ann.store.get(ann.user)
    assert (stored.guidance_scale, stored.max_kl, stored.method) == (3.0, 0.5, "amulet")
    assert stored.version == 4
