"""Decode steps captured as CUDA graphs and replayed, for GPUs that are faster than Python.

A step of one token a row does the same work every time, except for the tokens, their positions, and
the slots of their keys and values. Tokens and positions are written into a tensor that keeps its
place, and the slots are computed from them on the device. Attention sees all allocated positions
through a mask. So a captured step can be replayed for the same number of rows in the same
allocation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations.engine.kv.memory_use import free_device_memory, is_out_of_memory
from amulet_integrations.errors import InvalidRequestError

from .forward_pass import ForwardPass
from .masks import row_masks
from .row_cache import RowCache

logger = logging.getLogger(__name__)

Replay = Callable[[], Tensor]
Capture = Callable[[Replay], Replay]
"""Runs a function and returns another one that repeats its work on the same tensors."""

_STEPS_BEFORE_CAPTURE = 3  # with as many rows in the same allocation: a capture runs as many
_MAX_GRAPHS = 4  # each one holds the memory of its step


class CudaGraphRunner:
    """The captured steps of one model.

    Args:
        model: A model on one device.
        forward: The model's passes, which mix rows of unequal length.
        capture: Captures a step.

    Attributes:
        captured: The number of graphs that are held.
    """

    def __init__(self, model: PreTrainedModel, forward: ForwardPass, capture: Capture) -> None:
        self._model = model
        self._forward = forward
        self._capture: Capture | None = capture
        self._allocation: object = None
        self._steps: dict[int, int] = {}  # by number of rows
        self._graphs: dict[int, _CapturedStep] = {}  # by number of rows; the last used is last

    @property
    def captured(self) -> int:
        """See the class."""
        return len(self._graphs)

    def decode(self, cache: RowCache, ids: Sequence[int]) -> Tensor | None:
        """Appends a token to each of the first rows of the cache by replaying a step.

        Args:
            cache: The cache. The caller updates its `lengths`.
            ids: A token for each of the first rows.

        Returns:
            Logits, shape (rows, 1, vocab), valid until the next step. None if no graph can be
            replayed: the caller runs the model.
        """
        rows, lengths = len(ids), cache.lengths[: len(ids)]
        cache.reserve(max(lengths) + 1)
        if cache.allocation is not self._allocation:  # the graphs would use freed memory
            self._allocation = cache.allocation
            self.drop()
        if rows not in self._graphs and not self._capture_step(cache, ids, lengths):
            return None
        self._graphs[rows] = graph = self._graphs.pop(rows)
        return graph.replay(ids, lengths)

    def drop(self) -> bool:
        """Frees all graphs; returns whether there were any."""
        had_graphs = bool(self._graphs)
        self._steps.clear()
        self._graphs.clear()
        return had_graphs

    def _capture_step(self, cache: RowCache, ids: Sequence[int], lengths: Sequence[int]) -> bool:
        rows = len(ids)
        self._steps[rows] = self._steps.get(rows, 0) + 1
        if self._capture is None or self._steps[rows] < _STEPS_BEFORE_CAPTURE:
            return False
        while len(self._graphs) >= _MAX_GRAPHS:
            oldest = next(iter(self._graphs))
            del self._graphs[oldest], self._steps[oldest]
        graph = _CapturedStep(self._model, self._forward, cache, ids, lengths)
        try:
            graph.capture(self._capture)
        except Exception as error:  # noqa: BLE001 - the model still runs without graphs
            self._capture = None
            self.drop()
            name = type(self._model).__name__
            logger.warning("%s is decoded without CUDA graphs from here on: %s", name, error)
            if is_out_of_memory(error):
                free_device_memory()
            return False
        self._graphs[rows] = graph
        return True


class _CapturedStep:
    """A step of one token for each of the first rows."""

    def __init__(
        self,
        model: PreTrainedModel,
        forward: ForwardPass,
        cache: RowCache,
        ids: Sequence[int],
        lengths: Sequence[int],
    ) -> None:
        self._forward, self._cache = forward, cache
        self._inputs = torch.empty(2, len(ids), 1, dtype=torch.long, device=model.device)
        self._set(ids, lengths)

    def capture(self, capture: Capture) -> None:
        self._replay = capture(self._step)

    def replay(self, ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        self._set(ids, lengths)
        return self._replay()

    def _set(self, ids: Sequence[int], lengths: Sequence[int]) -> None:
        self._inputs.copy_(torch.tensor([ids, lengths])[..., None])

    def _step(self) -> Tensor:
        ids, positions = self._inputs
        self._cache.map_single_tokens(positions)
        with row_masks(positions):
            return self._forward.run_model(
                positions, input_ids=ids, past_key_values=self._cache, logits_to_keep=1
            )


def check_one_cuda_device(model: PreTrainedModel) -> None:
    """Refuses models whose steps cannot be captured.

    Raises:
        InvalidRequestError: The model is not whole on one CUDA device.
    """
    devices = sorted({str(weight.device) for weight in model.parameters()})
    if len(devices) != 1 or not devices[0].startswith("cuda"):
        raise InvalidRequestError(
            "cuda_graphs=True needs a model that is whole on one CUDA device; this one is on "
            f"{', '.join(devices)}. Leave cuda_graphs out."
        )


class CudaGraphCapture:
    """Captures work as CUDA graphs.

    Args:
        device: The CUDA device that does the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def __call__(self, step: Replay) -> Replay:
        """Runs `step` three times and returns a replay of the last one."""
        with torch.cuda.device(self._device):
            self._warm_up(step)
            graph = torch.cuda.CUDAGraph()
            # Other threads of the process may use the device meanwhile.
            capture = torch.cuda.graph(
                graph, stream=self._stream, capture_error_mode="thread_local"
            )
            with capture:
                logits = step()

        def replay() -> Tensor:
            graph.replay()
            return logits

        return replay

    def _warm_up(self, step: Replay) -> None:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            step()  # libraries make their handles and choose their kernels
            mode = torch.cuda.get_sync_debug_mode()
            # What no graph can hold must fail here: after a failed capture, torch's allocator
            # cannot return memory.
            torch.cuda.set_sync_debug_mode("error")
            try:
                step()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        torch.cuda.current_stream().wait_stream(self._stream)
