"""Decodes requests: contexts and weights in, tokens out. It knows no users and no frameworks."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.engine.backends.base import Backend
    from amulet_integrations.engine.backends.transformers.model_source import ModelSource
    from amulet_integrations.engine.limits import EngineLimits, EngineStats
    from amulet_integrations.engine.local_engine import LocalEngine, shared_engine
    from amulet_integrations.engine.protocol import Engine
    from amulet_integrations.engine.request import GenerationRequest
    from amulet_integrations.engine.result import (
        FinishReason,
        GenerationResult,
        Increment,
        TokenLogprob,
        Usage,
    )
    from amulet_integrations.engine.structured.alternatives import OutputAlternative
    from amulet_integrations.engine.worker import run_on_worker

__all__ = [
    "Backend",
    "Engine",
    "EngineLimits",
    "EngineStats",
    "FinishReason",
    "GenerationRequest",
    "GenerationResult",
    "Increment",
    "LocalEngine",
    "ModelSource",
    "OutputAlternative",
    "TokenLogprob",
    "Usage",
    "run_on_worker",
    "shared_engine",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".structured.alternatives": ("OutputAlternative",),
        ".protocol": ("Engine",),
        ".limits": ("EngineLimits", "EngineStats"),
        ".local_engine": ("LocalEngine", "shared_engine"),
        ".backends.base": ("Backend",),
        ".backends.transformers.model_source": ("ModelSource",),
        ".request": ("GenerationRequest",),
        ".result": ("FinishReason", "GenerationResult", "Increment", "TokenLogprob", "Usage"),
        ".worker": ("run_on_worker",),
    },
    renamed={"Branch": "OutputAlternative"},
)
