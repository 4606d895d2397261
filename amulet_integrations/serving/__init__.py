"""A server that speaks OpenAI's API: the same model for every client, with users and keys."""

from amulet_integrations._exports import attach_exports

__getattr__, __dir__, __all__ = attach_exports(
    __name__,
    __file__,
    extras=dict.fromkeys(("fastapi", "h11", "prometheus_client", "starlette", "uvicorn"), "serve"),
)
