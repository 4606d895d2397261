"""The settings of a run: everything that its answers depend on."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, Self

from pydantic import Field

from amulet_integrations import __version__
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import UnsupportedModelError
from amulet_integrations.evaluation.data.questions import questions_digest
from amulet_integrations.evaluation.data.record_types import (
    EvaluationModel,
    Method,
    Preference,
    Question,
    group_by,
)
from amulet_integrations.evaluation.data.set_ups import SetUp

_PACKAGES = ("torch", "transformers", "tokenizers")


class DataSetFacts(EvaluationModel):
    """The questions of a data set.

    Attributes:
        name: The name of the data set.
        questions: The number of questions.
        sha256: A digest of the questions.
    """

    name: str
    questions: int
    sha256: str


class Settings(EvaluationModel):
    """The settings of a run. In float32, runs with the same settings give the same answers.

    Attributes:
        model: The checkpoint.
        model_revision: The commit of the checkpoint, if it is from the hub.
        model_sha256: The fingerprint of the model's config and weights, since two fine-tunes may
            have the same name.
        dtype: The dtype in which the model computes.
        device: The device on which it computes.
        set_up: How questions are put to the model.
        max_new_tokens: The most tokens of an answer.
        temperature: 0 is greedy. Beam search ignores it.
        seed: The seed of the samples of questions and of tokens.
        sample: How many questions of each data set were asked for.
        data_sets: The questions.
        prompts_sha256: A digest of the tokens of all prompts, and so of the chat template and the
            tokenizer.
        left_out: How many questions of each data set were left out, as too long for the model.
        preferences: The preferences.
        methods: The methods.
        versions: The versions of this package, of Python, and of the packages that compute.
    """

    model: str
    model_revision: str | None = None
    model_sha256: str | None = None
    dtype: str | None = None
    device: str | None = None
    set_up: SetUp
    max_new_tokens: int
    temperature: float = 0.0
    seed: int
    sample: int | None = None
    data_sets: tuple[DataSetFacts, ...]
    prompts_sha256: str | None = None
    left_out: dict[str, int] = Field(default_factory=dict)
    preferences: tuple[Preference, ...]
    methods: tuple[Method, ...]
    versions: dict[str, str]

    @classmethod
    def of(cls, engine: Engine, questions: Sequence[Question], **others: Any) -> Self:
        """Makes the settings of a run on an engine.

        Args:
            engine: The engine that answers.
            questions: The questions.
            **others: The fields that follow from neither of them.
        """
        return cls(
            model=engine.model_name,
            **_model_facts(engine),
            data_sets=tuple(
                DataSetFacts(name=name, questions=len(group), sha256=questions_digest(group))
                for name, group in group_by(questions, lambda it: it.data_set).items()
            ),
            versions={
                "amulet-integrations": __version__,
                "python": platform.python_version(),
                **{package: version(package) for package in _PACKAGES},
            },
            **others,
        )


def differences(stored: Any, current: Any, name: str = "") -> Iterator[str]:
    """Yields a line for each value in which two settings, given as JSON, differ."""
    if _has_names(stored) and _has_names(current):
        stored, current = ({it["name"]: it for it in items} for items in (stored, current))
        if list(stored) != list(current):
            yield f"{name} is {list(stored)!r} there and {list(current)!r} here"
        for key in (key for key in stored if key in current):
            yield from differences(stored[key], current[key], f"{name}.{key}")
    elif isinstance(stored, dict) and isinstance(current, dict):
        for key in dict.fromkeys([*stored, *current]):
            inner = f"{name}.{key}" if name else key
            yield from differences(stored.get(key), current.get(key), inner)
    elif stored != current:
        yield f"{name} is {stored!r} there and {current!r} here"


def _has_names(items: Any) -> bool:
    return isinstance(items, list) and all(isinstance(it, dict) and "name" in it for it in items)


def _model_facts(engine: Engine) -> dict[str, str | None]:
    run_model = getattr(engine, "run_model", None)
    if run_model is None:  # the model is in another process, which does not reveal this
        return {}
    sha256 = getattr(engine, "model_fingerprint", None)
    try:
        revision, dtype, device = run_model(
            lambda model: (getattr(model.config, "_commit_hash", None), model.dtype, model.device)
        )
    except UnsupportedModelError:  # the backend has no model of transformers
        return {"model_sha256": sha256}
    return {
        "model_revision": revision,
        "model_sha256": sha256,
        "dtype": str(dtype).removeprefix("torch."),
        "device": str(device),
    }
