from __future__ import annotations

import pickle
import sys
from importlib.util import find_spec

import pytest

from amulet_integrations.engine.backends.llama_cpp.llama_model import LlamaCppModel
from amulet_integrations.engine.backends.llama_cpp.llama_options import LlamaCppOptions
from amulet_integrations.errors import (
    InvalidParamsError,
    MissingDependencyError,
    UnknownArgumentError,
)


def test_options_are_read_by_llama_cpps_names():
    given = {"n_gpu_layers": 0, "n_ctx": 4096, "type_k": "q8_0", "tensor_split": [1, 3]}
    options = LlamaCppOptions.read(given)
    assert options == LlamaCppOptions(
        n_gpu_layers=0, n_ctx=4096, type_k="q8_0", tensor_split=(1, 3)
    )
    assert hash(options) == hash(pickle.loads(pickle.dumps(options)))  # noqa: S301
    assert LlamaCppOptions.read({}) == LlamaCppOptions()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_gpu_layers", -2),
        ("n_gpu_layers", 2**31),
        ("n_ctx", -1),
        ("n_ctx", 1.5),
        ("n_ctx", True),
        ("n_ctx", None),
        ("n_batch", 0),
        ("n_threads", 0),
        ("use_mmap", 1),
        ("flash_attn", "yes"),
        ("type_k", "f17"),
        ("type_v", ["f16"]),
        ("split_mode", None),
        ("rope_scaling_type", "ntk"),
        ("rope_freq_base", float("nan")),
        ("yarn_beta_fast", "32"),
        ("tensor_split", []),
        ("tensor_split", [1.0, -1.0]),
        ("tensor_split", [0.0]),
        ("tensor_split", "1,2"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(name, value):
    with pytest.raises(InvalidParamsError, match=f"{name}=") as raised:
        LlamaCppOptions.read({name: value})
    assert raised.value.param == name


def test_values_that_do_not_go_together_are_refused():
    with pytest.raises(InvalidParamsError, match="n_ubatch=512 is more than n_batch=256"):
        LlamaCppOptions(n_batch=256)
    with pytest.raises(InvalidParamsError, match="type_v='q8_0' needs flash attention"):
        LlamaCppOptions(type_v="q8_0", flash_attn=False)


def test_unknown_names_and_those_of_the_engine_are_refused():
    with pytest.raises(UnknownArgumentError, match=r"'n_ctxx' \(did you mean 'n_ctx'"):
        LlamaCppOptions.read({"n_ctxx": 4096})
    with pytest.raises(UnknownArgumentError, match=r"ChatAmulet .* 'n_seq_max'.*max_rows"):
        LlamaCppOptions.read({"n_seq_max": 8}, "ChatAmulet")


@pytest.mark.skipif(find_spec("llama_cpp") is not None, reason="llama-cpp-python is installed")
def test_the_package_that_is_missing_is_named():
    with pytest.raises(MissingDependencyError, match="llama-cpp-python is not installed"):
        LlamaCppModel.load("model.gguf")
    assert "llama_cpp" not in sys.modules
