"""How a run was made, in lines that say what its numbers hold for."""

from __future__ import annotations

from amulet_integrations.evaluation.analysis.result import Evaluation


def about(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Names and values: the model, who measured and judged, and what with."""
    settings = evaluation.settings
    computed = [settings.dtype, settings.device and f"on {settings.device}"]
    lines = {
        "Model": settings.model,
        "Revision": settings.model_revision,
        "Computed in": " ".join(part for part in computed if part),
        "Measured by": ", ".join(evaluation.scorers),
        "Judged by": ", ".join(evaluation.judges),
        "Versions": ", ".join(f"{name} {said}" for name, said in settings.versions.items()),
        "Left out": left_out(evaluation),
    }
    return [(name, value) for name, value in lines.items() if value]


def left_out(evaluation: Evaluation) -> str:
    """Which questions were too long for the model; nothing where all fitted."""
    counted = [f"{count} of {name}" for name, count in evaluation.settings.left_out.items()]
    if not counted:
        return ""
    return f"{', '.join(counted)}: too long for the model's context window"
