"""Batches of a dataset that does not fit the device, gathered on the host ahead of the steps."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

_AHEAD = 2
"""Batches in flight: one on its way to the device, one being gathered."""

_Moved = tuple[list[Tensor], torch.cuda.Event | None]


class Prefetcher:
    """`rows(step)`: the dataset's rows of gradient step `step`, every column `[R, …]` on the device.

    A thread gathers the rows of the following steps into pinned memory and copies them on a stream of its
    own while the device works on this step's.

    Columns are `[T, …]` each, on the CPU; `indices` is called for one step after the other, R in all.
    """

    def __init__(
        self, columns: Sequence[Tensor], indices: Callable[[int], Tensor], device: torch.device
    ) -> None:
        self._columns = list(columns)
        self._indices = indices
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._coming: dict[int, Future[_Moved]] = {}

    def __call__(self, step: int) -> list[Tensor]:
        """The rows of `step`; those of the steps after it are on their way."""
        self._coming = {at: rows for at, rows in self._coming.items() if step <= at < step + _AHEAD}
        for at in range(step, step + _AHEAD):
            if at not in self._coming:
                # A copy: the next chunk of indices is drawn over this one.
                self._coming[at] = self._thread.submit(self._gather, self._indices(at).reshape(-1).clone())
        rows, moved = self._coming.pop(step).result()
        if moved is not None:
            training = torch.cuda.current_stream(self._device)
            training.wait_event(moved)
            for column in rows:
                column.record_stream(training)  # or its memory could be given away while the step reads it
        return rows

    def _gather(self, indices: Tensor) -> _Moved:
        if self._stream is None:
            return [column.index_select(0, indices) for column in self._columns], None
        with torch.cuda.stream(self._stream):
            rows = []
            for column in self._columns:
                shape = (len(indices), *column.shape[1:])
                pinned = torch.empty(shape, dtype=column.dtype, pin_memory=True)
                torch.index_select(column, 0, indices, out=pinned)
                rows.append(pinned.to(self._device, non_blocking=True))
            return rows, self._stream.record_event()
