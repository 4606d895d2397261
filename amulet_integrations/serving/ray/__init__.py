"""The server as an application of Ray Serve: several replicas of the model behind one port."""

from amulet_integrations._exports import attach_exports

__getattr__, __dir__, __all__ = attach_exports(
    __name__,
    __file__,
    extras={
        "ray": "ray",
        **dict.fromkeys(("fastapi", "h11", "prometheus_client", "starlette", "uvicorn"), "ray"),
    },
)
