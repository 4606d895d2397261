from __future__ import annotations

import subprocess
import sys

import pytest

from amulet_integrations import profiles


@pytest.mark.parametrize(
    "statement",
    [
        "import amulet_integrations.profiles",
        "from amulet_integrations.profiles import Preference, PreferenceProfile",
        (
            "from amulet_integrations.profiles import InMemoryProfileStore, active_preferences, "
            "open_profile_store, preference_scope; open_profile_store(InMemoryProfileStore())"
        ),
    ],
)
def test_no_heavy_library_is_imported_where_no_database_is_used(statement):
    program = (
        f"{statement}\nimport sys\n"
        "print([name for name in ('sqlalchemy', 'torch', 'transformers', 'langchain_core', "
        "'llama_index') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.strip() == "[]"


def test_every_export_has_the_name_of_its_object():
    for name in profiles.__all__:
        assert getattr(profiles, name).__name__ == name


def test_exports_are_pinned():
    assert sorted(profiles.__all__) == [
        "CachedProfileStore",
        "Contradiction",
        "ForeignMemory",
        "ImportEntry",
        "ImportReport",
        "InMemoryProfileStore",
        "Preference",
        "PreferenceProfile",
        "PreferenceScope",
        "ProfileChange",
        "ProfileLimits",
        "ProfileStore",
        "SqlProfileStore",
        "Verdict",
        "active_preferences",
        "current_scope",
        "every_memory",
        "explain",
        "export_profiles",
        "find_contradictions",
        "import_langmem",
        "import_mem0",
        "import_plain_text",
        "import_profiles",
        "inherited",
        "line_of",
        "open_profile_store",
        "preference_scope",
        "states_preference",
    ]
