"""The mathematics: tensors in, tensors out; no model, no cache, no framework."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
    from amulet_integrations.decoding.divergence import (
        BoundedMixture,
        DivergenceBounds,
        mix_bounded_contexts,
    )
    from amulet_integrations.decoding.guidance import (
        DEFAULT_MAX_GUIDANCE_SCALE,
        AmuletParams,
        amulet_weights,
        check_guidance_scale,
        linear_alignment_weights,
        preference_weights,
    )
    from amulet_integrations.decoding.logits_filters import LogitsFilters
    from amulet_integrations.decoding.logits_processor import AmuletLogitsProcessor
    from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix
    from amulet_integrations.decoding.policies import amulet_policy, ftrl_policy
    from amulet_integrations.decoding.sampling_params import SamplingParams
    from amulet_integrations.decoding.stopping import StopStrings
    from amulet_integrations.decoding.strength import (
        PRESETS,
        Method,
        Preset,
        Strength,
        method_guidance_scale,
    )

__all__ = [
    "DEFAULT_MAX_GUIDANCE_SCALE",
    "PRESETS",
    "AmuletLogitsProcessor",
    "AmuletParams",
    "BoundedMixture",
    "DivergenceBounds",
    "IncrementalDetokenizer",
    "LogitsFilters",
    "Method",
    "Preset",
    "SamplingParams",
    "StopStrings",
    "Strength",
    "amulet_policy",
    "amulet_weights",
    "check_guidance_scale",
    "ftrl_policy",
    "linear_alignment_weights",
    "method_guidance_scale",
    "mix_bounded_contexts",
    "mix_contexts",
    "mixing_matrix",
    "preference_weights",
]
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        ".guidance": (
            "AmuletParams",
            "DEFAULT_MAX_GUIDANCE_SCALE",
            "amulet_weights",
            "check_guidance_scale",
            "linear_alignment_weights",
            "preference_weights",
        ),
        ".sampling_params": ("SamplingParams",),
        ".policies": ("amulet_policy", "ftrl_policy"),
        ".divergence": ("BoundedMixture", "DivergenceBounds", "mix_bounded_contexts"),
        ".strength": ("Method", "PRESETS", "Preset", "Strength", "method_guidance_scale"),
        ".mixture": ("mix_contexts", "mixing_matrix"),
        ".logits_filters": ("LogitsFilters",),
        ".detokenizer": ("IncrementalDetokenizer",),
        ".stopping": ("StopStrings",),
        ".logits_processor": ("AmuletLogitsProcessor",),
    },
)
