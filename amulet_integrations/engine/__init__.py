"""Requests in, tokens out. Knows contexts and weights; no users, no methods, no framework."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.engine.branch import Branch
    from amulet_integrations.engine.contract import Engine
    from amulet_integrations.engine.limits import EngineLimits
    from amulet_integrations.engine.local import LocalEngine
    from amulet_integrations.engine.model_source import ModelSource
    from amulet_integrations.engine.request import GenerationRequest
    from amulet_integrations.engine.result import (
        FinishReason,
        GenerationResult,
        Increment,
        TokenLogprob,
        Usage,
    )
    from amulet_integrations.engine.shared import shared_engine
    from amulet_integrations.engine.worker import run_on_worker

__all__ = [
    "Branch",
    "Engine",
    "EngineLimits",
    "FinishReason",
    "GenerationRequest",
    "GenerationResult",
    "Increment",
    "LocalEngine",
    "ModelSource",
    "TokenLogprob",
    "Usage",
    "run_on_worker",
    "shared_engine",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".branch": ("Branch",),
        ".contract": ("Engine",),
        ".limits": ("EngineLimits",),
        ".local": ("LocalEngine",),
        ".model_source": ("ModelSource",),
        ".request": ("GenerationRequest",),
        ".result": ("FinishReason", "GenerationResult", "Increment", "TokenLogprob", "Usage"),
        ".shared": ("shared_engine",),
        ".worker": ("run_on_worker",),
    },
)
