"""Settings that would mean something else on each replica are refused before one starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from amulet_integrations.errors import InvalidParamsError
from amulet_integrations.serving import ServerSettings
from amulet_integrations.serving.ray.cluster_settings import check_machines, settled


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"port": 9000}, "http_options.port"),
        ({"host": "::1"}, "http_options.host"),
        ({"send_timeout": 5}, "send_timeout=5"),
        ({"keys": "keys.json"}, "keys='keys.json' is relative"),
        ({"profiles": "p.db"}, "profiles='p.db' is relative"),
        ({"profiles": "sqlite:///p.db"}, "profiles='p.db' is relative"),
        ({"profiles": ":memory:"}, "in memory"),
        ({"profiles": "postgresql://ann:hush@db/p"}, "AMULET_PROFILES"),
        ({"profiles": "postgresql://db/p?password=hush"}, "AMULET_PROFILES"),
        ({"engine": "vllm", "engine_options": {"hf_token": "hush"}}, "HF_TOKEN"),
    ],
)
def test_what_cannot_be_shared_is_refused(given, message) -> None:
    with pytest.raises(InvalidParamsError, match=message) as caught:
        settled(ServerSettings(**given))
    assert "hush" not in str(caught.value)


def test_a_folder_of_weights_is_named_by_its_absolute_path(tmp_path, monkeypatch) -> None:
    (tmp_path / "my-model").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidParamsError, match="model='my-model' is relative"):
        settled(ServerSettings(model="my-model"))
    for model in ("owner/my-model", "embedded", str(tmp_path / "my-model")):
        assert settled(ServerSettings(model=model)).model == model


def test_nobody_passes_for_this_machine_behind_a_proxy_of_rays(monkeypatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    with pytest.raises(InvalidParamsError, match="Give keys"):
        settled(ServerSettings())
    settled(ServerSettings(keys="/etc/keys.json"))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"profiles": None},
        {"profiles": "/data/p.db"},
        {"profiles": Path("/data/p.db")},
        {"profiles": "sqlite:////data/p.db"},
        {"profiles": "postgresql://ann@db/p"},
        {"keys": "/etc/keys.json"},
    ],
)
def test_profiles_are_read_for_every_request_unless_another_time_is_given(given) -> None:
    assert settled(ServerSettings(**given)) == ServerSettings(**given, profiles_ttl=0)
    assert settled(ServerSettings(**given, profiles_ttl=3)).profiles_ttl == 3


def test_several_machines_do_not_keep_profiles_in_files_of_their_own(monkeypatch) -> None:
    for settings in (ServerSettings(), ServerSettings(profiles="/data/p.db")):
        check_machines(settings, 1)
        with pytest.raises(InvalidParamsError, match="3 machines"):
            check_machines(settings, 3)
    check_machines(ServerSettings(profiles=None), 3)
    check_machines(ServerSettings(profiles="postgresql://ann@db/p"), 3)
    monkeypatch.setenv("AMULET_PROFILES", "postgresql://ann:hush@db/p")
    check_machines(ServerSettings(), 3)
