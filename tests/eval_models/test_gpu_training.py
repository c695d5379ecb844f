"""Training on a GPU: recorded steps against eager ones, GPU against CPU, checkpoints that move between them.

Needs torch, triton and numpy only.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eval_models.captured import DeviceSteps
from eval_models.layers import next_symbol_loss
from eval_models.optimiser import Optimiser
from eval_models.proxies import Mamba2Config, MambaConfig, ModelConfig, OptimiserConfig, StarCoderConfig, build_model
from eval_models.vocabulary import IGNORED

MODELS: list[ModelConfig] = [
    MambaConfig(width=32, layers=2, states=16),
    Mamba2Config(width=32, layers=2, states=16, head_width=16),
    StarCoderConfig(width=32, layers=2, heads=2, positions=64),
]
FAMILIES = [config.family for config in MODELS]
STEPS, BATCH, WINDOW = 50, 8, 64
OPTIMISER = OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.005)
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
on_a_gpu = pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)])
anywhere = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small are slower on several threads, and very much so where other processes use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def data(steps: int = STEPS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, targets and bounds of steps of 7 to 9 rows: bytes in which a pattern returns."""
    random = np.random.default_rng(0)
    bounds = np.linspace(0, steps * BATCH + 3, steps + 1).round().astype(int)
    rows = bounds[-1]
    pattern = random.integers(97, 123, 16)
    text = np.tile(pattern, (rows, WINDOW // 16 + 1))[:, : WINDOW + 1]
    noise = random.random(text.shape) < 0.2
    text = np.where(noise, random.integers(0, 256, text.shape), text)
    inputs, targets = text[:, :-1].copy(), text[:, 1:].copy()
    targets[::5, 50:] = IGNORED
    return inputs, targets, bounds


class Run:
    """A model, its optimiser and its steps on a device."""

    def __init__(self, config: ModelConfig, device: str, *, half: bool = False, record: bool = True) -> None:
        self.device, self.half = torch.device(device), half
        self.model: nn.Module = build_model(config, 0).to(self.device)
        self.optimiser = Optimiser(self.model, OPTIMISER, half=half)
        factors = np.array([OPTIMISER.factor(step, STEPS) for step in range(STEPS)])
        self.steps = DeviceSteps(
            self.model, self.optimiser, self.loss, *data(), factors, self.device, record=record
        )  # fmt: skip

    def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            return next_symbol_loss(model, inputs, targets)[0]

    def run(self, count: int) -> np.ndarray:
        for _ in range(count):
            self.steps.run()
        return self.steps.collect()[1]

    def state(self) -> dict[str, object]:
        self.optimiser.step_count = self.steps.done
        return copy.deepcopy({"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()})

    def load(self, state: dict[str, object], step: int) -> None:
        self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        self.optimiser.load_state_dict(state["optimiser"])  # type: ignore[arg-type]
        self.steps.start_at(step)


def plain(config: ModelConfig, count: int) -> list[float]:
    """The same steps on a CPU, written out: rows without targets are not there, rates are floats."""
    model = build_model(config, 0)
    optimiser = Optimiser(model, OPTIMISER)
    inputs, targets, bounds = data()
    losses = []
    for step in range(count):
        rows = slice(bounds[step], bounds[step + 1])
        loss, _ = next_symbol_loss(model, torch.from_numpy(inputs[rows]), torch.from_numpy(targets[rows]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(OPTIMISER.factor(step, STEPS))
        losses.append(loss.item())
    return losses


@anywhere
@pytest.mark.parametrize("config", MODELS, ids=FAMILIES)
def test_steps_on_a_device_are_those_of_a_plain_loop(config: ModelConfig, device: str) -> None:
    count = STEPS if device == "cuda" else 5
    losses = Run(config, device).run(count)
    assert losses.tolist() == pytest.approx(plain(config, count), abs=1e-3)  # fp32 on both
    assert device == "cpu" or losses[-1] < losses[0] - 1


@on_a_gpu
@pytest.mark.parametrize("config", MODELS, ids=FAMILIES)
def test_recorded_steps_are_those_that_are_launched(config: ModelConfig, device: str) -> None:
    recorded, launched = Run(config, device, half=True), Run(config, device, half=True, record=False)
    np.testing.assert_allclose(recorded.run(20), launched.run(20), rtol=2e-3)
    for a, b in zip(recorded.model.parameters(), launched.model.parameters(), strict=True):
        assert ((a - b).norm() / b.norm()).item() < 2e-2


@anywhere
@pytest.mark.parametrize("config", MODELS, ids=FAMILIES)
def test_a_run_goes_on_from_its_state(config: ModelConfig, device: str) -> None:
    count = 12 if device == "cuda" else 4
    whole = Run(config, device)
    wanted = whole.run(count)
    first = Run(config, device)
    first.run(count // 2)
    second = Run(config, device)
    second.load(first.state(), count // 2)
    np.testing.assert_allclose(second.run(count - count // 2), wanted[count // 2 :], rtol=1e-5)


@on_a_gpu
@pytest.mark.parametrize("config", MODELS, ids=FAMILIES)
def test_a_run_moves_between_cpu_and_gpu(config: ModelConfig, device: str) -> None:
    there = Run(config, device)
    wanted = there.run(9)
    for begin, end in ((device, "cpu"), ("cpu", device)):
        first, second = Run(config, begin), Run(config, end)
        first.run(5)
        second.load(first.state(), 5)
        np.testing.assert_allclose(second.run(4), wanted[5:], atol=1e-3)


@on_a_gpu
def test_an_earlier_recording_is_not_freed_while_another_is_made(device: str) -> None:
    """Freeing a recorded graph is a call that a recording does not survive."""

    class Collecting(Run):
        def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
            gc.collect()
            return super().loss(model, inputs, targets)

    gc.disable()
    try:
        earlier = Run(MODELS[2], device)
        earlier.run(6)
        earlier.cycle = earlier  # type: ignore[attr-defined]  # now only the collector frees it
        later = Collecting(MODELS[2], device)
        later.run(3)
        del earlier
        assert np.isfinite(later.run(3)).all()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_wrong_data_is_refused() -> None:
    model = nn.Linear(2, 2)
    inputs, targets, bounds = data(2)
    optimiser = Optimiser(model, OPTIMISER)
    arguments = (model, optimiser, lambda *_: torch.zeros(()))
    with pytest.raises(ValueError, match="1 factors for 2 steps"):
        DeviceSteps(*arguments, inputs, targets, bounds, np.ones(1), torch.device("cpu"))
    inputs[0, 0] = 70_000
    with pytest.raises(ValueError, match="does not fit"):
        DeviceSteps(*arguments, inputs, targets, bounds, np.ones(2), torch.device("cpu"))
    inputs[0, 0] = 7
    steps = DeviceSteps(*arguments, inputs, targets, bounds, np.ones(2), torch.device("cpu"))
    steps.start_at(2)
    with pytest.raises(IndexError, match="all 2 steps"):
        steps.run()
