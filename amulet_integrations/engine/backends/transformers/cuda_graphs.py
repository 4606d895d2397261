"""Decode steps recorded once and replayed, for GPUs that end a step before Python has said it all.

A step of one token a row does the same work every time, but for three things: the tokens, their
positions, and where their keys and values go. Tokens and positions are kept in a tensor that stays
where it is, the rest follows from them on the device, and attention sees all the room that there
is, through a mask. So a recording holds for as many rows in the same room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from amulet_integrations.engine.backends.transformers.masks import RowMasks
from amulet_integrations.engine.backends.transformers.memory import (
    free_device_memory,
    is_out_of_memory,
)
from amulet_integrations.engine.backends.transformers.row_cache import RowCache
from amulet_integrations.errors import InvalidRequestError

logger = logging.getLogger(__name__)

Replay = Callable[[], Tensor]
Record = Callable[[Replay], Replay]
"""Runs a function, and returns what does the same work again on the same tensors."""

_WORTH_RECORDING = 3  # steps of as many rows in the same room: recording runs as many
_MOST_RECORDINGS = 4  # each one holds what its step computes


class StepGraphs:
    """The recordings of one model.

    Args:
        model: On one device.
        masks: Its masks, of four dimensions.
        record: How to record.
    """

    def __init__(self, model: PreTrainedModel, masks: RowMasks, record: Record) -> None:
        self._model = model
        self._masks = masks
        self._record: Record | None = record
        self._place: object = None
        self._steps: dict[int, int] = {}
        self._recordings: dict[int, _Recording] = {}

    def decode(self, cache: RowCache, ids: Sequence[int]) -> Tensor | None:
        """Appends a token to each of the first rows of the cache, by replaying.

        Args:
            cache: Its `lengths` are left to the caller.
            ids: A token for each of the first rows.

        Returns:
            Logits, shape (rows, 1, vocab), good until the next step. None where there is no
            recording: the step has to be done in the ordinary way.
        """
        rows, lengths = len(ids), cache.lengths[: len(ids)]
        cache.make_room(max(lengths) + 1)
        self._keep_those_in(cache.place)
        if rows not in self._recordings and not self._make(cache, ids, lengths):
            return None
        self._recordings[rows] = recording = self._recordings.pop(rows)  # the last used is last
        return recording.replay(ids, lengths)

    def forget(self) -> bool:
        """Frees all recordings; whether there were any."""
        some = bool(self._recordings)
        self._steps.clear()
        self._recordings.clear()
        return some

    def _keep_those_in(self, place: object) -> None:
        """Forgets recordings whose keys and values lie elsewhere by now."""
        if place is not self._place:
            self._place = place
            self.forget()

    def _make(self, cache: RowCache, ids: Sequence[int], lengths: Sequence[int]) -> bool:
        rows = len(ids)
        self._steps[rows] = self._steps.get(rows, 0) + 1
        if self._record is None or self._steps[rows] < _WORTH_RECORDING:
            return False
        while len(self._recordings) >= _MOST_RECORDINGS:
            oldest = next(iter(self._recordings))
            del self._recordings[oldest], self._steps[oldest]
        recording = _Recording(self._model, self._masks, cache, ids, lengths)
        try:
            recording.make(self._record)
        except Exception as error:  # noqa: BLE001 - the ordinary way is there
            self._record = None
            self.forget()
            name = type(self._model).__name__
            logger.warning("%s is decoded without CUDA graphs from here on: %s", name, error)
            if is_out_of_memory(error):
                free_device_memory()
            return False
        self._recordings[rows] = recording
        return True


class _Recording:
    """A step of so many rows."""

    def __init__(
        self,
        model: PreTrainedModel,
        masks: RowMasks,
        cache: RowCache,
        ids: Sequence[int],
        lengths: Sequence[int],
    ) -> None:
        self._model, self._masks, self._cache = model, masks, cache
        self._inputs = torch.empty(2, len(ids), 1, dtype=torch.long, device=model.device)
        self._set(ids, lengths)

    def make(self, record: Record) -> None:
        self._again = record(self._step)

    def replay(self, ids: Sequence[int], lengths: Sequence[int]) -> Tensor:
        self._set(ids, lengths)
        return self._again()

    def _set(self, ids: Sequence[int], lengths: Sequence[int]) -> None:
        self._inputs.copy_(torch.tensor([ids, lengths])[..., None])

    def _step(self) -> Tensor:
        ids, positions = self._inputs
        width = self._cache.aim_first_rows(positions)
        logits: Tensor = self._model(
            input_ids=ids,
            position_ids=positions,
            attention_mask=self._masks.of(positions, width, self._model),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            return_dict=True,
        ).logits
        return logits


def check_one_cuda_device(model: PreTrainedModel) -> None:
    """Refuses models that no CUDA graph can hold.

    Raises:
        InvalidRequestError: It is not whole on one CUDA device.
    """
    devices = sorted({str(weight.device) for weight in model.parameters()})
    if len(devices) != 1 or not devices[0].startswith("cuda"):
        raise InvalidRequestError(
            "cuda_graphs=True needs a model that is whole on one CUDA device; this one is on "
            f"{', '.join(devices)}. Leave cuda_graphs out."
        )


class CudaGraphRecorder:
    """Records work as CUDA graphs.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def __call__(self, step: Replay) -> Replay:
        """Runs `step` three times and returns the replay of the last one."""
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
            # What no graph can hold must fail here: a capture that fails leaves torch's allocator
            # in a state in which it cannot give memory back.
            torch.cuda.set_sync_debug_mode("error")
            try:
                step()
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        torch.cuda.current_stream().wait_stream(self._stream)
