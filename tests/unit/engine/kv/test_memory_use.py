"""How much memory a process can still have."""

from __future__ import annotations

import pytest

from amulet_integrations.engine.kv import memory_use

PLENTY = 1 << 62


def group(folder, bound, used, inactive=0, active=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{bound}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    stat = f"anon 5\ninactive_file {inactive}\nactive_file {active}\n"
    (folder / "memory.stat").write_text(stat)


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """The folder of control groups; this process is in a/b."""
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/x\n0::/a/b\n")
    monkeypatch.setattr(memory_use, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory_use, "_OWN_CGROUP", own)
    return tmp_path / "groups"


def test_a_container_has_what_its_group_leaves_it(groups):
    group(groups / "a" / "b", bound=9000, used=5000, inactive=300, active=40)
    assert memory_use.available_memory() == 4340


def test_the_narrowest_group_decides(groups):
    group(groups / "a" / "b", bound="max", used=5000)
    group(groups / "a", bound=7000, used=6000)
    group(groups, bound=PLENTY, used=6000)
    assert memory_use.available_memory() == 1000


def test_a_group_past_its_bound_leaves_nothing(groups):
    group(groups / "a" / "b", bound=5000, used=6000)
    assert memory_use.available_memory() == 0


def test_groups_that_say_it_in_other_words_are_passed_over(groups):
    group(groups / "a" / "b", bound=9000, used=5000)
    (groups / "a" / "b" / "memory.stat").write_text("anon 5\n")
    assert memory_use.available_memory() > 1 << 20


def test_a_group_may_have_a_name_that_nobody_can_read(groups, tmp_path):
    (tmp_path / "own").write_bytes(b"0::/\xff\n")
    assert memory_use.available_memory() > 1 << 20


@pytest.mark.parametrize("bound", ["max", PLENTY, "nonsense"])
def test_without_a_bound_it_is_what_the_machine_has(groups, bound):
    machine = memory_use.available_memory()
    group(groups / "a" / "b", bound=bound, used=0)
    assert memory_use.available_memory() == pytest.approx(machine, rel=0.2)
    assert machine > 1 << 20
