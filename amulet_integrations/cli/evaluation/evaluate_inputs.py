"""The methods, scorers and judge that the options of `amulet evaluate` name.

Mistakes are found before any model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from amulet_integrations.cli import terminal
from amulet_integrations.cli.loading import open_engine
from amulet_integrations.engine.encoders.sentence_encoder import (
    EMBEDDED_ENCODER,
    embedded_encoder_path,
    has_embedded_encoder,
)
from amulet_integrations.errors import EvaluationError, MissingDependencyError
from amulet_integrations.evaluation import Method, read_methods
from amulet_integrations.evaluation.data.methods import grid, points_of, reference_of, strengths
from amulet_integrations.evaluation.data.questions import is_on_hub
from amulet_integrations.evaluation.metrics.relevance import RelevanceScorer

if TYPE_CHECKING:
    from amulet_integrations.evaluation import Scorer

_NO_RELEVANCE = "none"
_VERDICT_TOKENS = 16  # that a judge may write


def compared_methods(names: list[str], iterations: list[int], *, curve: bool) -> tuple[Method, ...]:
    """The methods that are compared, with the points of the frontier and their reference.

    Args:
        names: The values of `--method`.
        iterations: The values of `--iterations`.
        curve: Whether the default grid is added. A point that is there already is not.

    Raises:
        EvaluationError: One is no method, or is given twice.
    """
    named = read_methods(names)
    added = (*strengths(iterations), *(grid() if curve else ()))
    if not added:
        return named
    present = points_of(named)
    points = points_of([*named, *read_methods(added)])
    methods = [*named, *(point for point in points if point not in present)]
    if reference_of(named) is None and len(points) > 1:
        terminal.notice("The frontier is seen beside the method pref, so pref answers as well.")
        methods[len(named) : len(named)] = read_methods(["pref"])
    return read_methods(methods)


def check_field(field: str | None, sources: list[str]) -> None:
    """Refuses `--data-field` where no file could have the field."""
    if field is not None and all(map(is_on_hub, sources)):
        raise EvaluationError(
            f"--data-field {field} names a field of files, and there is no file: it is known where "
            f"{', '.join(sources)} has its questions. Leave the option out."
        )


def find_scorers(
    relevance: str | None, reward_model: str | None, index: int | None, *, trust_remote_code: bool
) -> Callable[[], list[Scorer]]:
    """Finds out, before anything is loaded, whether there can be such scorers.

    Args:
        relevance: The value of `--relevance`: an encoder, "none", or None for the embedded one
            where it is installed.
        reward_model: The value of `--reward-model`.
        index: Which of its rewards counts.
        trust_remote_code: Whether code that comes with the reward model is run.

    Returns:
        Makes the scorers, and loads the models that they need.

    Raises:
        MissingDependencyError: The embedded encoder is named, and is not installed.
        EvaluationError: There is no reward model, but an option of one.
    """
    if relevance == EMBEDDED_ENCODER:
        embedded_encoder_path()
    if reward_model is None and (index is not None or trust_remote_code):
        option = "--trust-remote-code" if index is None else f"--reward-index {index}"
        raise EvaluationError(f"{option} needs a reward model: name it with --reward-model.")

    def load() -> list[Scorer]:
        from amulet_integrations.evaluation.metrics import text_scores  # noqa: PLC0415

        scorers: list[Scorer] = [text_scores.TextScorer()]
        if text_scores.has_sentiment():
            scorers.append(text_scores.SentimentScorer())
        encoder = EMBEDDED_ENCODER if relevance is None and has_embedded_encoder() else relevance
        if encoder not in {None, _NO_RELEVANCE}:
            scorers.append(RelevanceScorer.from_pretrained(encoder))
        if reward_model is not None:
            from amulet_integrations.evaluation.metrics.reward_model import (  # noqa: PLC0415 - torch
                RewardModelScorer,
            )

            scorers.append(
                RewardModelScorer.from_pretrained(
                    reward_model, index=index, trust_remote_code=trust_remote_code
                )
            )
        return scorers

    def make() -> list[Scorer]:
        with terminal.status("Loading what measures the answers …"):
            return load()

    return make


def find_judge(name: str) -> Callable[[], Any]:
    """Finds out, before anything is loaded, whether there can be such a judge.

    Args:
        name: A model as in `--model`, or PROVIDER:MODEL.

    Returns:
        Makes the judge, and loads its model. A local model computes in its checkpoint's own dtype,
        whatever dtype the answers are computed in.

    Raises:
        MissingDependencyError: LangChain is not installed.
        EvaluationError: The provider is not known, its package is not installed, or it lacks
            something, such as a key.
    """
    if ":" in name:
        judge = _provider_judge(name)
        return lambda: judge
    from amulet_integrations.langchain import ChatAmulet  # noqa: PLC0415 - optional

    return lambda: ChatAmulet(engine=open_engine(name), method="base", max_tokens=_VERDICT_TOKENS)


def _provider_judge(name: str) -> Any:
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError.for_extra("langchain", "agents") from error
    try:
        return init_chat_model(name, temperature=0)
    except Exception as error:  # whatever the provider's package finds missing
        raise EvaluationError(f"--judge {name} cannot be used: {error}") from error
