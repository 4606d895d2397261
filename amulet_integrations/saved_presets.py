"""Has moved to `personalization.saved_presets`; the old name goes with the next release."""

from amulet_integrations._exports import forward_module

__getattr__ = forward_module(__name__, "amulet_integrations.personalization.saved_presets")
