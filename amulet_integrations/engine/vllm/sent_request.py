"""A request on its way to vLLM's engine, which runs in another process.

It travels with the vLLM request of its first context, as bytes. Clients cannot make such a value:
what they send as `vllm_xargs` is JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from amulet_integrations.engine.request import GenerationRequest
from amulet_integrations.errors import InvalidRequestError

from .groups import Member

if TYPE_CHECKING:
    from vllm import SamplingParams

_SENT = "amulet_request"  # in the extra arguments of a vLLM request
_OURS = "amulet_"


def as_sent_args(request: GenerationRequest) -> dict[str, bytes]:
    """What `sent_request` finds in the parameters of the vLLM request.

    Raises:
        InvalidRequestError: The request has a policy of its own, which cannot travel.
    """
    if request.policy is not None:
        raise InvalidRequestError(
            "The request has a policy of its own, which cannot be sent to another process. Pass "
            "weights."
        )
    return {_SENT: request.model_dump_json(exclude_none=True).encode()}


def sent_request(params: SamplingParams | None) -> bytes | None:
    """The request that came with a vLLM request, to be read by `read_sent`; None for none."""
    sent = (params.extra_args or {}).get(_SENT) if params is not None else None
    return sent if isinstance(sent, bytes) else None


def read_sent(sent: bytes) -> GenerationRequest:
    """Reads a request that was sent.

    Raises:
        InvalidRequestError: It is none.
    """
    return GenerationRequest.model_validate_json(sent)


def without_sent(params: SamplingParams) -> dict[str, Any]:
    """The other extra arguments of a vLLM request: vLLM writes them into its log when it fails."""
    return {name: it for name, it in (params.extra_args or {}).items() if name != _SENT}


def check_not_forged(extra_args: Mapping[str, Any] | None) -> None:
    """Refuses the extra arguments of a client that use the names of this package.

    Args:
        extra_args: The extra arguments of a vLLM request, or what a client sends as such.

    Raises:
        InvalidRequestError: A client has sent them.
    """
    for name, value in (extra_args or {}).items():
        if name.startswith(_OURS) and not isinstance(value, bytes | Member):
            raise InvalidRequestError(
                f"vllm_xargs has {name!r:.80}. Names that begin with {_OURS!r} are this server's "
                "own. Leave it out.",
                param="vllm_xargs",
            )
