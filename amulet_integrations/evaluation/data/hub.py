"""The paper's four data sets, from the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amulet_integrations.errors import EvaluationError, MissingDependencyError


@dataclass(frozen=True)
class HubDataSet:
    """Where a data set is, and what in it are the questions.

    Attributes:
        name: What this package calls it.
        id: The hub's name of it.
        split: The part that holds the questions.
        field: The field of the question.
        config: The configuration, where there are several.
        where: A field and the value it has to have; other rows are left out.
    """

    name: str
    id: str
    split: str
    field: str
    config: str | None = None
    where: tuple[str, str] | None = None


HUB_DATA_SETS = {
    data_set.name: data_set
    for data_set in (
        HubDataSet("truthful_qa", "truthfulqa/truthful_qa", "validation", "question", "generation"),
        HubDataSet(
            "personal_preference_eval", "kkuusou/personal_preference_eval", "train", "question"
        ),
        # The paper takes UltraChat's questions from UltraFeedback.
        HubDataSet(
            "ultrachat",
            "openbmb/UltraFeedback",
            "train",
            "instruction",
            where=("source", "ultrachat"),
        ),
        HubDataSet("helpsteer", "nvidia/HelpSteer", "train", "prompt"),
    )
}
"""The data sets by name."""


def load_hub_data_set(data_set: HubDataSet) -> list[dict[str, Any]]:
    """Loads the questions of a data set, each once, numbered by their rows.

    Raises:
        MissingDependencyError: `datasets` is not installed.
        EvaluationError: The hub cannot be reached, or has no such data set.
    """
    try:
        from datasets import load_dataset  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingDependencyError.for_extra("datasets", "evaluation") from error
    try:
        rows = load_dataset(data_set.id, data_set.config, split=data_set.split)
        found = [_row(data_set, number, row) for number, row in enumerate(rows)]
    except Exception as error:  # the hub, the network and the disk may fail in any way
        reason = " ".join(str(error).split())
        raise EvaluationError(
            f"The data set {data_set.name!r} ({data_set.id} on the hub) cannot be loaded. Try "
            f"again with a network, or give a file. What datasets says: {reason}"
        ) from error
    once: dict[str, dict[str, Any]] = {}
    for row in filter(None, found):
        once.setdefault(row[data_set.field], row)  # one question may stand before several answers
    return list(once.values())


def _row(data_set: HubDataSet, number: int, row: Any) -> dict[str, Any]:
    if data_set.where is not None:
        name, value = data_set.where
        if row[name] != value:
            return {}
    return {"index": number, data_set.field: row[data_set.field]}
