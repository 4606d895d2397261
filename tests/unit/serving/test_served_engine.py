"""Which engine a server's settings make."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from amulet_integrations.errors import (
    InvalidParamsError,
    MissingDependencyError,
    UnknownArgumentError,
)
from amulet_integrations.serving import ServerSettings, create_app
from amulet_integrations.serving.engine_options import LOCAL_OPTIONS
from tests.support.served.routes import client_of, until
from tests.support.tiny import tiny_model, tiny_tokenizer

ASKED = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}


@pytest.fixture
def tiny_settings(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    options = {"max_rows": 3, "max_prefix_tokens": 0, "pack_weights": False}
    return ServerSettings(model=str(tmp_path), profiles=None, max_waiting=7, engine_options=options)


def check_limits(engine):
    limits = engine.limits
    assert (limits.max_rows, limits.max_prefix_tokens, limits.max_waiting) == (3, 0, 7)


async def test_the_options_are_those_of_the_local_engine(tiny_settings):
    app = create_app(tiny_settings)
    state = app.state.amulet
    async with client_of(app):
        await until(lambda: state.is_ready)
        check_limits(state.client.engine)
        assert state.client.source.pack_weights is False


async def test_where_nothing_starts_the_application_the_first_request_loads_the_same(
    tiny_settings,
):
    state = create_app(tiny_settings).state.amulet
    with state.client.load_engine() as engine:
        check_limits(engine)
        assert state.client.load_engine() is engine


def test_the_options_that_are_named_are_those_of_from_pretrained():
    from amulet_integrations.engine import LocalEngine

    with pytest.raises(UnknownArgumentError) as refused:
        LocalEngine.from_pretrained(nonsense=1)
    known = set(str(refused.value).partition("It takes: ")[2].rstrip(".").split(", "))
    assert known - {"model", "dtype", "device", "backend", "max_waiting"} == LOCAL_OPTIONS


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_an_engine_that_is_not_installed_is_refused_before_anything_starts():
    with pytest.raises(MissingDependencyError, match='pip install "vllm'):
        create_app(ServerSettings(engine="vllm", profiles=None))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"engine": "sglang"}, InvalidParamsError, "engine='sglang'"),
        ({"engine_options": {"max_row": 3}}, UnknownArgumentError, "did you mean 'max_rows'"),
        ({"engine_options": {"device": "cpu"}}, InvalidParamsError, "give device"),
        ({"engine": "vllm", "device": "cpu"}, InvalidParamsError, "device='cpu'"),
        ({"engine_options": {"max_rows": 0}}, InvalidParamsError, "max_rows=0"),
        ({"engine_options": {"cuda_graphs": "no"}}, InvalidParamsError, "cuda_graphs='no'"),
        ({"engine_options": {"revision": 3}}, InvalidParamsError, "revision=3"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_loaded(settings, error, message):
    with pytest.raises(error, match=message):
        create_app(ServerSettings(profiles=None, **settings))


def test_options_beside_an_engine_that_is_there_are_refused(tiny_engine):
    settings = ServerSettings(profiles=None, engine_options={"max_rows": 3})
    with pytest.raises(InvalidParamsError, match=r"max_rows.*beside engine="):
        create_app(settings, engine=tiny_engine)
