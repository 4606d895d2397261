"""The mathematics: tensors in, tensors out. Knows no model, no cache and no framework."""

from amulet_integrations._lazy import lazy_exports

_EXPORTS = {
    "DEFAULT_MAX_GUIDANCE_SCALE": ".params",
    "AmuletParams": ".params",
    "check_guidance_scale": ".params",
    "SamplingParams": ".sampling_params",
    "amulet_weights": ".weights",
    "linear_alignment_weights": ".weights",
    "preference_weights": ".weights",
    "amulet_policy": ".policies",
    "ftrl_policy": ".policies",
    "mix_contexts": ".mixture",
    "TokenSampler": ".sampler",
    "IncrementalDetokenizer": ".detokenizer",
    "StopStrings": ".stopping",
    "AmuletLogitsProcessor": ".logits_processor",
}

__all__ = list(_EXPORTS)  # noqa: PLE0605 - the names above, in one place
__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
