"""An import as a whole: all or nothing, once or twice, and nothing lost in silence."""

from __future__ import annotations

import pytest

from amulet_integrations import InMemoryProfileStore, Preference, PreferenceProfile, ProfileLimits
from amulet_integrations.errors import (
    ImportInterruptedError,
    InvalidProfileError,
    ProfileLimitError,
    ProfileStoreError,
)
from amulet_integrations.profiles import (
    ForeignMemory,
    SqlProfileStore,
    every_memory,
    import_langmem,
    import_mem0,
    import_plain_text,
)


def memory(user_id: str, key: str, text: str, **more: str) -> dict:
    return {"id": key, "memory": text, "user_id": user_id, **more}


def test_what_the_user_has_set_since_is_kept_when_a_memory_changes():
    store = InMemoryProfileStore()
    import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    profile = store.get("ann")
    tuned = profile.preferences[0].model_copy(update={"weight": 0.5, "when": {"task": "email"}})
    store.save(profile.model_copy(update={"preferences": (tuned, Preference(text="Mine."))}))
    report = import_mem0(store, [memory("ann", "1", "Prefers tables.")])
    first, second = store.get("ann").preferences
    assert (first.text, first.weight, dict(first.when)) == (
        "Prefers tables.",
        0.5,
        {"task": "email"},
    )
    assert second.text == "Mine."
    assert report.counts == {"updated": 1}


def test_a_preference_that_the_user_wrote_is_not_added_again():
    store = InMemoryProfileStore(
        [PreferenceProfile(user_id="ann", preferences=["prefers  LISTS."])]
    )
    report = import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    assert report.entries[0].reason == "the profile has the same text"
    assert store.get("ann").version == 1


def test_the_report_says_what_was_written_where_another_import_was_faster():
    class Raced(InMemoryProfileStore):
        """Another import writes first, once this one has looked."""

        def update(self, user_id, function):
            if self.get(user_id) is None:
                super().save(PreferenceProfile(user_id=user_id, preferences=[first]))
            return super().update(user_id, function)

    first = Preference(text="Prefers lists.", name="mem0#1")
    store = Raced()
    report = import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    assert (report.counts, report.changed_users) == ({"unchanged": 1}, ())
    report = import_mem0(
        Raced(), [memory("ann", "1", "Prefers lists."), memory("ann", "2", "Prefers tables.")]
    )
    assert (report.counts, report.changed_users) == ({"unchanged": 1, "added": 1}, ("ann",))


@pytest.mark.parametrize("importer", [import_mem0, import_langmem])
def test_the_report_of_one_user_quotes_nobody_else(importer):
    given = [
        {"namespace": ["memories", user], "key": user, "value": {"content": f"Likes {user}!"}}
        if importer is import_langmem
        else memory(user, user, f"Likes {user}!", metadata={"note": f"Likes {user}!"})
        for user in ("ann", "ben")
    ]
    report = importer(InMemoryProfileStore(), given, user_ids=["ann"])
    assert [(it.outcome, it.text) for it in report.entries] == [
        ("added", "Likes ann!"),
        ("skipped", ""),
    ]
    assert "Likes ben" not in str(report.as_json())


def test_a_text_that_an_update_has_freed_is_added_anew():
    store = InMemoryProfileStore()
    import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    report = import_mem0(
        store, [memory("ann", "1", "Prefers tables."), memory("ann", "2", "Prefers lists.")]
    )
    assert report.counts == {"updated": 1, "added": 1}
    assert [it.text for it in store.get("ann").preferences] == ["Prefers tables.", "Prefers lists."]


def test_a_memory_that_turned_into_a_fact_is_told_with_what_is_kept():
    store = InMemoryProfileStore()
    import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    report = import_mem0(store, [memory("ann", "1", "Lives in Rome.")])
    assert report.entries[0].outcome == "skipped"
    assert "what was imported of it before is kept" in report.entries[0].reason
    assert [it.text for it in store.get("ann").preferences] == ["Prefers lists."]


def test_users_who_are_named_and_have_no_memories_left_are_told():
    store = InMemoryProfileStore()
    import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    report = import_mem0(store, [], user_ids=["ann"])
    assert [(it.outcome, it.name) for it in report.entries] == [("missing", "mem0#1")]
    assert len(store.get("ann").preferences) == 1


def test_origins_do_not_miss_each_others_preferences():
    store = InMemoryProfileStore()
    import_mem0(store, [memory("ann", "1", "Prefers lists.")])
    item = {"namespace": ["memories", "ann"], "key": "k", "value": {"content": "Prefers tea."}}
    assert import_langmem(store, [item]).counts == {"added": 1}
    deep = {**item, "namespace": ["memories", "ann", "work"]}
    assert import_langmem(store, [deep], namespace="memories/{u}/work").counts == {"unchanged": 1}


def test_a_dry_run_reports_the_same_and_writes_nothing():
    source = [memory("ann", "1", "Prefers lists."), memory("ben", "2", "Lives in Rome.")]
    store = InMemoryProfileStore()
    dry = import_mem0(store, source, dry_run=True)
    assert (dry.is_dry_run, store.user_ids()) == (True, [])
    wet = import_mem0(store, source)
    assert (dry.entries, dry.changed_users) == (wet.entries, wet.changed_users)
    assert store.user_ids() == ["ann"]


def test_a_function_chooses_and_makes_preferences():
    def choose(found: ForeignMemory) -> bool | Preference:
        if "Rome" in found.text:
            return Preference(
                text="Assume that I am in Rome.", weight=0.5, when={"topic": "travel"}
            )
        return False

    store = InMemoryProfileStore()
    source = [memory("ann", "1", "Lives in Rome."), memory("ann", "2", "Prefers lists.")]
    report = import_mem0(store, source, choose=choose)
    assert store.get("ann").preferences == (
        Preference(
            text="Assume that I am in Rome.", weight=0.5, when={"topic": "travel"}, name="mem0#1"
        ),
    )
    assert [it.reason for it in report.of("skipped")] == ["choose= left it out"]
    with pytest.raises(InvalidProfileError, match="choose returned a str"):
        import_mem0(store, source, choose=lambda _: "yes")


def test_a_profile_above_a_limit_is_refused_and_nobody_is_written():
    store = InMemoryProfileStore(limits=ProfileLimits(max_preferences=2))
    source = [memory("ann", "0", "Prefers tea.")]
    source += [memory("ben", str(i), f"Prefers the number {i}.") for i in range(1, 4)]
    with pytest.raises(ProfileLimitError, match=r"'ben' has 3 preferences.*Nothing was imported"):
        import_mem0(store, source)
    assert store.user_ids() == []


class FailingStore(InMemoryProfileStore):
    """Fails when one user is written."""

    fails_for = "ben"

    def update(self, user_id, function):
        if user_id == self.fails_for:
            raise ProfileStoreError("The disk is full.")
        return super().update(user_id, function)


def test_a_store_that_fails_on_the_way_says_who_is_written_and_the_rest_follows():
    store = FailingStore()
    text = "ann: Be brief.\nben: Use lists.\nzoe: No emojis."
    with pytest.raises(
        ImportInterruptedError, match=r"'ben': The disk is full\. .*before: 'ann'\."
    ) as error:
        import_plain_text(store, text)
    assert error.value.written == ("ann",)
    store.fails_for = ""
    assert import_plain_text(store, text).changed_users == ("ben", "zoe")


def test_a_change_that_comes_between_is_not_lost():
    class Busy(InMemoryProfileStore):
        def update(self, user_id, function):
            self.save(PreferenceProfile(user_id=user_id, preferences=["From elsewhere."]))
            return super().update(user_id, function)

    store = Busy()
    import_plain_text(store, "Be brief.", user_id="ann")
    assert [it.text for it in store.get("ann").preferences] == ["From elsewhere.", "Be brief."]


def test_the_history_says_who_imported(tmp_path):
    with SqlProfileStore(tmp_path / "profiles.db") as store:
        import_plain_text(store, "Be brief.", user_id="ann", by="zoe")
        assert store.history("ann")[0].by == "zoe"


def test_neither_reports_nor_errors_show_texts_unasked():
    store = InMemoryProfileStore(limits=ProfileLimits(max_preferences=1))
    source = [memory("ann", "1", "Prefers secret lists."), memory("ann", "2", "Has a secret.")]
    report = import_mem0(store, source, dry_run=True)
    assert "secret" not in repr(report)
    assert "secret" in str(report.as_json())
    with pytest.raises(ProfileLimitError) as error:
        import_mem0(store, source, choose=every_memory)
    assert "secret" not in str(error.value)


def test_ids_that_are_no_names_still_find_their_preference():
    store = InMemoryProfileStore()
    source = [memory("ann", "x" * 5000, "Prefers lists."), memory("ann", "a\0b", "Prefers tea.")]
    assert import_mem0(store, source).counts == {"added": 2}
    assert import_mem0(store, source).counts == {"unchanged": 2}
    source[1]["memory"] = "Prefers coffee."
    assert import_mem0(store, source).counts == {"unchanged": 1, "updated": 1}
