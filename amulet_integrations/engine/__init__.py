"""Requests in, tokens out. Knows contexts and weights; no users, no methods, no framework."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.engine.backends.transformers.model_source import ModelSource
    from amulet_integrations.engine.limits import EngineLimits
    from amulet_integrations.engine.local_engine import LocalEngine
    from amulet_integrations.engine.protocol import Engine
    from amulet_integrations.engine.request import GenerationRequest
    from amulet_integrations.engine.result import (
        FinishReason,
        GenerationResult,
        Increment,
        TokenLogprob,
        Usage,
    )
    from amulet_integrations.engine.shared import shared_engine
    from amulet_integrations.engine.structured.alternatives import OutputAlternative
    from amulet_integrations.engine.worker import run_on_worker

__all__ = [
    "Engine",
    "EngineLimits",
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
        ".limits": ("EngineLimits",),
        ".local_engine": ("LocalEngine",),
        ".backends.transformers.model_source": ("ModelSource",),
        ".request": ("GenerationRequest",),
        ".result": ("FinishReason", "GenerationResult", "Increment", "TokenLogprob", "Usage"),
        ".shared": ("shared_engine",),
        ".worker": ("run_on_worker",),
    },
    renamed={"Branch": "OutputAlternative"},
)
