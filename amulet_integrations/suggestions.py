"""What was probably meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

# Other names for what we have. Each leads to the first of its targets that is known.
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "strength": ("guidance_scale", "preset"),
    "guidance": ("guidance_scale",),
    "guidance_weight": ("guidance_scale",),
    "guidance_strength": ("guidance_scale",),
    "cfg": ("guidance_scale",),
    "cfg_scale": ("guidance_scale",),
    "scale": ("guidance_scale",),
    "kl": ("max_kl",),
    "kl_bound": ("max_kl",),
    "max_divergence": ("max_kl",),
    "bound": ("max_kl",),
    **dict.fromkeys(("gating", "preference_gate", "relevance"), ("gate",)),
    "ratio": ("linear_alignment_ratio",),
    "rho": ("linear_alignment_ratio",),
    "user": ("user_id",),
    "username": ("user_id",),
    "preferences": ("profile", "preference"),
    "context": ("preference_context",),
    "store": ("profiles",),
    "profile_store": ("profiles",),
    "db": ("profiles",),
    "database": ("profiles",),
    "model_name": ("model",),
    "model_id": ("model",),
    "model_path": ("model",),
    "torch_dtype": ("dtype",),
    "max_tokens": ("max_new_tokens",),
    "max_length": ("max_tokens", "max_new_tokens"),
    "max_completion_tokens": ("max_tokens", "max_new_tokens"),
    "num_predict": ("max_tokens", "max_new_tokens"),
    "num_output": ("max_tokens",),
    "min_tokens": ("min_new_tokens",),
    "repeat_penalty": ("repetition_penalty",),
    "frequency_penalty": ("repetition_penalty",),
    "presence_penalty": ("repetition_penalty",),
    "stop_sequences": ("stop",),
    "request_timeout": ("timeout",),
}

# The parameters of Amulet's game, by the names that people give them.
_PARAMETERS: Mapping[str, str] = {
    "iterations": "iterations",
    "iteration": "iterations",
    "num_iterations": "iterations",
    "n_iterations": "iterations",
    "steps": "iterations",
    "updates": "iterations",
    "alpha": "alpha",
    "eta": "eta",
    "learning_rate": "eta",
    "lambda_": "lambda_",
    "lambda": "lambda_",
    "lam": "lambda_",
    "lambd": "lambda_",
}

# How an argument is written, where its name alone is not enough.
_FORMS: Mapping[str, str] = {
    "guidance_scale": "guidance_scale=2.0",
    "preset": 'preset="strong"',
    "max_kl": "max_kl=0.1",
    "gate": 'gate="similarity"',
    "profile": 'profile=PreferenceProfile(user_id="…", preferences=["…"])',
}
_FROM_SCALE = "AmuletParams.from_guidance_scale(2.0)"


def suggest(unknown: Mapping[str, Any] | Collection[str], known: Collection[str]) -> dict[str, str]:
    """What to write in place of unknown names: the right name in quotes, or code.

    Args:
        unknown: The unknown names, with their values if they may be quoted.
        known: The names that are known.

    Returns:
        The suggestion for each name that has one. Parameters of Amulet's game share one.
    """
    found = {name: it for name in unknown if (it := _suggest_one(name, known)) is not None}
    game = {name: _PARAMETERS[name] for name in unknown if name in _PARAMETERS}
    if "params" in known and game:
        values = unknown if isinstance(unknown, Mapping) else {}
        shown = ", ".join(
            f'"{parameter}": {_number(values.get(name))}' for name, parameter in game.items()
        )
        found |= dict.fromkeys(game, f"params={{{shown}}}")
    return found


def is_about_strength(name: str) -> bool:
    """Whether a name is one that people give to the strength, or to a part of it."""
    targets = {"guidance_scale", "preset", "max_kl"}
    return name in _PARAMETERS or bool(targets & {*_SYNONYMS.get(name.lower(), ())})


def _suggest_one(name: str, known: Collection[str]) -> str | None:
    targets = [target for target in _SYNONYMS.get(name.lower(), ()) if target in known]
    if targets:
        return " or ".join(_FORMS.get(target, repr(target)) for target in targets)
    if "lambda_" in known and "guidance_scale" in {name, *_SYNONYMS.get(name.lower(), ())}:
        return _FROM_SCALE
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
    return repr(near[0]) if near else None


def _number(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return repr(value) if is_number else "…"
