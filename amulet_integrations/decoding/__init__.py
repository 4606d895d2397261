"""The mathematics: tensors in, tensors out. Knows no model, no cache and no framework."""

from typing import TYPE_CHECKING

from amulet_integrations._lazy import lazy_exports

if TYPE_CHECKING:
    from amulet_integrations.decoding.detokenizer import IncrementalDetokenizer
    from amulet_integrations.decoding.divergence import (
        BoundedMixture,
        DivergenceBounds,
        mix_bounded_contexts,
    )
    from amulet_integrations.decoding.logits_processor import AmuletLogitsProcessor
    from amulet_integrations.decoding.methods import Method, method_guidance_scale
    from amulet_integrations.decoding.mixture import mix_contexts, mixing_matrix
    from amulet_integrations.decoding.params import (
        DEFAULT_MAX_GUIDANCE_SCALE,
        AmuletParams,
        check_guidance_scale,
    )
    from amulet_integrations.decoding.policies import amulet_policy, ftrl_policy
    from amulet_integrations.decoding.sampler import TokenSampler
    from amulet_integrations.decoding.sampling_params import SamplingParams
    from amulet_integrations.decoding.stopping import StopStrings
    from amulet_integrations.decoding.strength import PRESETS, Preset, Strength
    from amulet_integrations.decoding.weights import (
        amulet_weights,
        linear_alignment_weights,
        preference_weights,
    )

__all__ = [
    "DEFAULT_MAX_GUIDANCE_SCALE",
    "PRESETS",
    "AmuletLogitsProcessor",
    "AmuletParams",
    "BoundedMixture",
    "DivergenceBounds",
    "IncrementalDetokenizer",
    "Method",
    "Preset",
    "SamplingParams",
    "StopStrings",
    "Strength",
    "TokenSampler",
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
        ".params": ("AmuletParams", "DEFAULT_MAX_GUIDANCE_SCALE", "check_guidance_scale"),
        ".sampling_params": ("SamplingParams",),
        ".weights": ("amulet_weights", "linear_alignment_weights", "preference_weights"),
        ".methods": ("Method", "method_guidance_scale"),
        ".policies": ("amulet_policy", "ftrl_policy"),
        ".divergence": ("BoundedMixture", "DivergenceBounds", "mix_bounded_contexts"),
        ".strength": ("PRESETS", "Preset", "Strength"),
        ".mixture": ("mix_contexts", "mixing_matrix"),
        ".sampler": ("TokenSampler",),
        ".detokenizer": ("IncrementalDetokenizer",),
        ".stopping": ("StopStrings",),
        ".logits_processor": ("AmuletLogitsProcessor",),
    },
)
