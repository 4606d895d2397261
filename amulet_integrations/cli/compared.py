"""What `amulet evaluate` is told, read and checked before anything is computed."""

from __future__ import annotations

from amulet_integrations.cli import screen
from amulet_integrations.errors import EvaluationError
from amulet_integrations.evaluation import Method, read_methods
from amulet_integrations.evaluation.data.methods import grid, points_of, reference_of, strengths
from amulet_integrations.evaluation.data.questions import is_on_hub


def read_compared(names: list[str], iterations: list[int], *, curve: bool) -> tuple[Method, ...]:
    """The methods that are compared, with the points of the frontier and what it is seen beside.

    Args:
        names: What `--method` said.
        iterations: What `--strength` said.
        curve: Whether the default grid is added. A point that is there already is not.

    Raises:
        EvaluationError: One is no method, or there twice.
    """
    asked = read_methods(names)
    added = (*strengths(iterations), *(grid() if curve else ()))
    if not added:
        return asked
    there = points_of(asked)
    points = points_of([*asked, *read_methods(added)])
    everything = [*asked, *(point for point in points if point not in there)]
    if reference_of(asked) is None and len(points) > 1:
        screen.notice("The frontier is seen beside the method pref, so pref answers as well.")
        everything[len(asked) : len(asked)] = read_methods(["pref"])
    return read_methods(everything)


def check_field(field: str | None, sources: list[str]) -> None:
    """Refuses `--data-field` where no file could have the field."""
    if field is not None and all(map(is_on_hub, sources)):
        raise EvaluationError(
            f"--data-field {field} names a field of files, and there is no file: it is known where "
            f"{', '.join(sources)} has its questions. Leave the option out."
        )


def check_reward(model: str | None, index: int | None, *, trust_remote_code: bool) -> None:
    """Refuses options of a reward model where there is none."""
    if model is not None:
        return
    for option, given in {
        f"--reward-index {index}": index is not None,
        "--trust-remote-code": trust_remote_code,
    }.items():
        if given:
            raise EvaluationError(f"{option} needs a reward model: name it with --reward-model.")
