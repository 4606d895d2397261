"""Everything that answers depend on, recorded beside them."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar, Self

from pydantic import Field

from amulet_integrations import __version__
from amulet_integrations.engine.protocol import Engine
from amulet_integrations.errors import AmuletError, EvaluationError
from amulet_integrations.evaluation.data.questions import digest
from amulet_integrations.evaluation.data.set_ups import SetUp
from amulet_integrations.evaluation.runs.fingerprints import weights_digest
from amulet_integrations.evaluation.runs.records import Method, Preference, Question
from amulet_integrations.validation import FrozenModel

_PACKAGES = ("torch", "transformers", "tokenizers")


class DataSetFacts(FrozenModel):
    """Which questions of a data set are asked.

    Attributes:
        name: The data set's name.
        questions: How many.
        sha256: Tells them apart from others.
    """

    error_type: ClassVar[type[AmuletError]] = EvaluationError

    name: str
    questions: int
    sha256: str


class Settings(FrozenModel):
    """The settings of a run. A run with the same ones gives the same answers, in float32.

    Attributes:
        model: The checkpoint.
        model_revision: Its commit on the hub, where it is from there.
        model_sha256: Of a sample of its weights: a name does not tell one fine-tune from the next.
        dtype: What the model computes in.
        device: Where it computes.
        set_up: How questions are put to it.
        max_new_tokens: Most tokens of an answer.
        temperature: 0 is greedy. Beam search has none.
        seed: What samples of questions and of tokens are drawn with.
        sample: How many questions of each data set were asked for.
        data_sets: Which questions are asked.
        prompts_sha256: Of the tokens of all prompts: of the chat template and the tokenizer.
        left_out: How many of each data set were too long for the model, and are not asked.
        preferences: The preferences.
        methods: The methods.
        versions: Of this package, of Python, and of the packages that compute.
    """

    error_type: ClassVar[type[AmuletError]] = EvaluationError

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
    def of(
        cls,
        engine: Engine,
        questions: Sequence[Question],
        **others: Any,
    ) -> Self:
        """The settings of a run on an engine.

        Args:
            engine: What answers.
            questions: The questions asked.
            **others: The fields that neither of them tells.
        """
        return cls(
            model=engine.model_name,
            **_model_facts(engine),
            data_sets=tuple(_data_sets(questions)),
            versions=_versions(),
            **others,
        )


def differences(there: Any, asked: Any, name: str = "") -> Iterator[str]:
    """Tells how two settings differ, as JSON, a line for each value."""
    if _is_named(there) and _is_named(asked):
        there, asked = ({item["name"]: item for item in items} for items in (there, asked))
        if list(there) != list(asked):
            yield _difference(name, list(there), list(asked))
        for key in (key for key in there if key in asked):
            yield from differences(there[key], asked[key], f"{name}.{key}")
    elif isinstance(there, dict) and isinstance(asked, dict):
        for key in dict.fromkeys([*there, *asked]):
            inner = f"{name}.{key}" if name else key
            yield from differences(there.get(key), asked.get(key), inner)
    elif there != asked:
        yield _difference(name, there, asked)


def _is_named(items: Any) -> bool:
    return isinstance(items, list) and all(
        isinstance(item, dict) and "name" in item for item in items
    )


def _difference(name: str, there: Any, asked: Any) -> str:
    return f"{name} is {there!r} there and {asked!r} here"


def _model_facts(engine: Engine) -> dict[str, str | None]:
    run_model = getattr(engine, "run_model", None)
    if run_model is None:  # the model is in another process, which keeps this to itself
        return {}
    facts: dict[str, str | None] = run_model(
        lambda model: {
            "model_revision": getattr(model.config, "_commit_hash", None),
            "model_sha256": weights_digest(model),
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
        }
    )
    return facts


def _data_sets(questions: Sequence[Question]) -> Iterator[DataSetFacts]:
    for name in dict.fromkeys(question.data_set for question in questions):
        asked = [question for question in questions if question.data_set == name]
        yield DataSetFacts(name=name, questions=len(asked), sha256=digest(asked))


def _versions() -> dict[str, str]:
    found = {"amulet-integrations": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
