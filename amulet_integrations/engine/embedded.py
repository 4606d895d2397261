"""Has moved into `engine.backends.transformers`; the old name goes with the next release."""

from amulet_integrations._exports import forward_module

__getattr__ = forward_module(
    __name__, "amulet_integrations.engine.backends.transformers.loading.embedded"
)
