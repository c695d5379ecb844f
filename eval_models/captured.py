"""Training steps on a GPU without waiting for the host: data, schedule and losses lie on the device.

At proxy sizes a step is some hundred kernels of 5 to 50 microseconds each, less than the host takes to launch
them.  So a step is recorded once as a CUDA graph and replayed; the host looks at the losses only when it is asked.

* A step reads its number from the device, and with it its rows of the data and its learning rates.
* Every step has the same shape: a batch that is smaller than the largest gets rows without a target.
* Steps before the recording run the same function, so their results do not depend on when it happens.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from eval_models.optimiser import Optimiser, Rates
from eval_models.vocabulary import END_OF_DOCUMENT, IGNORED

_EAGER_STEPS = 3  # before the recording: libraries set up and kernels compiled, neither of which can be recorded

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


class DeviceSteps:
    """The steps of one run on `device`, from the data to the update.

    inputs, targets  [rows, window] integers; IGNORED targets count for nothing
    bounds           [steps + 1] rows at which the steps begin, and the end
    factors          [steps] of the peak learning rates
    loss             loss(model, inputs [b, l], targets [b, l]) -> mean over the targets, without waiting for the host
    record           whether steps are recorded and replayed

    Memory: the data as 2-byte integers.
    """

    def __init__(
        self,
        model: nn.Module,
        optimiser: Optimiser,
        loss: Loss,
        inputs: np.ndarray,
        targets: np.ndarray,
        bounds: np.ndarray,
        factors: np.ndarray,
        device: torch.device,
        *,
        record: bool = True,
    ) -> None:
        self.model, self.optimiser, self.loss = model, optimiser, loss
        self.steps = len(bounds) - 1
        if len(factors) != self.steps:
            raise ValueError(f"DeviceSteps: {len(factors)} factors for {self.steps} steps")
        self.record = record and device.type == "cuda"
        filler = inputs.shape[0]  # the row without a target
        self.inputs = _on_device(inputs, END_OF_DOCUMENT, device)
        self.targets = _on_device(targets, IGNORED, device)
        batch = int(np.diff(bounds).max())
        rows = bounds[:-1, None] + np.arange(batch)
        rows = np.where(rows < bounds[1:, None], rows, filler)
        self.rows = torch.from_numpy(rows.astype(np.int64)).to(device)
        rates = [optimiser.rates(step + 1, float(factor)) for step, factor in enumerate(factors)]
        self.rates = torch.tensor(rates, dtype=torch.float32, device=device)
        self.losses = torch.zeros(self.steps, dtype=torch.float32, device=device)
        self.step = torch.zeros(1, dtype=torch.int64, device=device)  # of the next step
        self.done = 0  # the same number, on the host
        self.collected = 0  # losses of the steps before this one were read
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager = 0  # steps that ran before the recording
        self._stream = torch.cuda.Stream(device) if self.record else None

    def start_at(self, step: int) -> None:
        """The next step is number `step`, from 0."""
        self.done = self.collected = step
        self.step.fill_(step)

    def _step(self) -> None:
        rows = self.rows.index_select(0, self.step)[0]
        inputs = self.inputs.index_select(0, rows).long()
        targets = self.targets.index_select(0, rows).long()
        loss = self.loss(self.model, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        rates = self.rates.index_select(0, self.step)[0]
        self.optimiser.apply(Rates(*rates.unbind()))
        self.losses.index_copy_(0, self.step, loss.detach().float().view(1))
        self.step.add_(1)

    def run(self) -> None:
        """Starts the next step; it may still be running when this returns."""
        if self.done >= self.steps:
            raise IndexError(f"DeviceSteps: all {self.steps} steps are done")
        if self._stream is None:
            self._step()
        elif self._graph is not None:
            self._graph.replay()
        else:
            # recording needs a stream of its own, and what runs before it belongs on the same one
            self._stream.wait_stream(torch.cuda.current_stream())
            if self._eager < _EAGER_STEPS:
                with torch.cuda.stream(self._stream):
                    self._step()
                self._eager += 1
            else:
                self._graph = torch.cuda.CUDAGraph()
                with _nothing_collected(), torch.cuda.graph(self._graph, stream=self._stream):
                    self._step()
                self._graph.replay()
            torch.cuda.current_stream().wait_stream(self._stream)
        self.done += 1

    def collect(self) -> tuple[int, np.ndarray]:
        """(number of the first step, losses) of the steps since the last call.  Waits for the device."""
        first, self.collected = self.collected, self.done
        return first, self.losses[first : self.done].cpu().numpy()


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """No garbage collection inside: freeing the graph of an earlier run would spoil the one that is recorded."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _on_device(rows: np.ndarray, filler: int, device: torch.device) -> Tensor:
    """`rows` and one more row of `filler`, as 2-byte integers."""
    narrow = np.concatenate([rows.astype(np.int16), np.full((1, rows.shape[1]), filler, np.int16)])
    if not np.array_equal(narrow[:-1], rows):
        raise ValueError("DeviceSteps: a symbol does not fit into 2 bytes")
    return torch.from_numpy(narrow).to(device)
