"""The proxies by name: shape, window, optimiser.  No torch here, so that a recipe can be checked without it.

The tiny ones were chosen by held-out loss at equal CPU time (134 short runs on a mix of code and web text).
Of all levers the window told most: 64 bytes beat 128 by 0.04 (Mamba) and 0.15 (StarCoder) bits per byte at
0.5 MB, since a model that sees so little learns nothing from farther away.  Muon and small steps come next.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from eval_models.vocabulary import VOCABULARY_SIZE

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True, slots=True)
class MambaConfig:
    """Shape of a Mamba proxy (mamba.py)."""

    width: int  # d, of the residual stream
    layers: int
    states: int = 16  # n, per channel; 16 in the published models
    expand: int = 2  # inner width e = expand * width
    conv_width: int = 4
    embedding_std: float = 0.02

    @property
    def family(self) -> str:
        return "mamba"

    @property
    def rank(self) -> int:
        """Of the projection to dt: ceil(width / 16), as published."""
        return math.ceil(self.width / 16)

    def flops_per_token(self, window: int) -> int:
        """Floating-point operations to train on one token: 6 a weight, and the scan (about 3 * 7 a state)."""
        inner = self.expand * self.width
        weights = 3 * inner * self.width + inner * (2 * self.rank + 2 * self.states)
        per_layer = 6 * weights + 21 * inner * self.states + 6 * inner * self.conv_width
        return self.layers * per_layer + 6 * self.width * VOCABULARY_SIZE


@dataclasses.dataclass(frozen=True, slots=True)
class Mamba2Config:
    """Shape of a Mamba-2 proxy (mamba2.py)."""

    width: int  # d, of the residual stream
    layers: int
    states: int = 128  # n, per channel; 128 in the published models
    head_width: int = 64  # p
    groups: int = 1  # g: heads // groups share B and C
    expand: int = 2  # inner width e = expand * width
    conv_width: int = 4
    embedding_std: float = 0.02
    vocabulary: int = VOCABULARY_SIZE

    def __post_init__(self) -> None:
        if self.inner % (self.head_width * self.groups):
            raise ValueError(
                f"Mamba2Config: inner width {self.inner} must be a multiple of head_width {self.head_width} times "
                f"groups {self.groups}"
            )

    @property
    def family(self) -> str:
        return "mamba2"

    @property
    def inner(self) -> int:
        return self.expand * self.width

    @property
    def heads(self) -> int:
        return self.inner // self.head_width

    def flops_per_token(self, window: int) -> int:
        """Floating-point operations to train on one token: 6 a weight, and three times SSD in chunks of 64."""
        convolved = self.inner + 2 * self.groups * self.states
        weights = self.width * (self.inner + convolved + self.heads) + self.inner * self.width
        chunk = min(64, window)
        ssd = self.groups * chunk * self.states + self.inner * (chunk + 4 * self.states)
        per_layer = 6 * weights + 3 * ssd + 6 * convolved * self.conv_width
        return self.layers * per_layer + 6 * self.width * self.vocabulary


@dataclasses.dataclass(frozen=True, slots=True)
class StarCoderConfig:
    """Shape of a StarCoder proxy (starcoder.py)."""

    width: int  # d
    layers: int
    heads: int  # query heads
    positions: int  # longest input; learned absolute positions reach no further
    mlp_ratio: int = 4
    kv_heads: int = 1  # key and value heads; 1 in StarCoder, more in its successor
    vocabulary: int = VOCABULARY_SIZE

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"StarCoderConfig: width {self.width} must be even and a multiple of heads {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"StarCoderConfig: heads {self.heads} must be a multiple of kv_heads {self.kv_heads}")

    @property
    def family(self) -> str:
        return "starcoder"

    def flops_per_token(self, window: int) -> int:
        """Floating-point operations to train on one token: 6 a weight, and attention over half a window."""
        d = self.width
        weights = 2 * d * d + 2 * d * self.kv_heads * (d // self.heads) + 2 * self.mlp_ratio * d * d
        return self.layers * (6 * weights + 6 * window * d) + 6 * d * self.vocabulary


ModelConfig = MambaConfig | Mamba2Config | StarCoderConfig
CONFIGS: dict[str, type[ModelConfig]] = {"mamba": MambaConfig, "mamba2": Mamba2Config, "starcoder": StarCoderConfig}


@dataclasses.dataclass(frozen=True, slots=True)
class OptimiserConfig:
    """Learning rates are peaks; the schedule is linear warm-up, constant, linear decay to zero."""

    muon_learning_rate: float  # of the block matrices, relative to their orthogonal update
    adam_learning_rate: float  # of embeddings, norms, biases, convolutions, A_log, D
    weight_decay: float = 0.0  # decoupled, of the block matrices only
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.95)
    warm_up: float = 0.05  # fraction of the steps
    decay: float = 0.6  # fraction of the steps
    clip: float = 1.0  # norm of the whole gradient

    def factor(self, step: int, steps: int) -> float:
        """Of the peak learning rate at step 0 <= step < steps; the last step is small but not zero."""
        done = (step + 1) / steps
        rise = (step + 1) / max(1.0, self.warm_up * steps)
        fall = (1.0 - done + 1.0 / steps) / max(self.decay, 1.0 / steps)
        return min(1.0, rise, fall)


@dataclasses.dataclass(frozen=True, slots=True)
class Proxy:
    """A model family at one size with everything that training it needs, except data, budget and seed."""

    model: ModelConfig
    window: int  # bytes of a training row
    batch: int  # rows of a step
    optimiser: OptimiserConfig
    fim_rate: float = 0.0  # share of the windows that are permuted for fill-in-the-middle


PROXIES: dict[str, Proxy] = {
    "mamba-tiny": Proxy(
        MambaConfig(width=72, layers=2, states=2, embedding_std=0.05),
        window=64,
        batch=16,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.01),
    ),
    "starcoder-tiny": Proxy(
        StarCoderConfig(width=56, layers=2, heads=2, positions=64),
        window=64,
        batch=16,
        optimiser=OptimiserConfig(muon_learning_rate=0.03, adam_learning_rate=0.015),
        fim_rate=0.25,
    ),
    "mamba-small": Proxy(
        MambaConfig(width=128, layers=3, states=4, embedding_std=0.05),
        window=128,
        batch=16,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.01),
    ),
    "starcoder-small": Proxy(
        StarCoderConfig(width=96, layers=3, heads=4, positions=128),
        window=128,
        batch=16,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.01),
        fim_rate=0.5,
    ),
    "mamba2-tiny": Proxy(
        Mamba2Config(width=72, layers=2, states=16, head_width=16, embedding_std=0.05),
        window=64,
        batch=16,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.01),
    ),
    "mamba2-small": Proxy(
        Mamba2Config(width=128, layers=3, states=16, head_width=32, embedding_std=0.05),
        window=128,
        batch=16,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.01),
    ),
    # Ten million weights each, for a GPU; a step of 16,384 bytes.
    "mamba-10m": Proxy(
        MambaConfig(width=384, layers=10),
        window=512,
        batch=32,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.003),
    ),
    "mamba2-10m": Proxy(
        Mamba2Config(width=384, layers=10, states=64),
        window=512,
        batch=32,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.003),
    ),
    "starcoder-10m": Proxy(
        StarCoderConfig(width=384, layers=6, heads=6, positions=512),
        window=512,
        batch=32,
        optimiser=OptimiserConfig(muon_learning_rate=0.02, adam_learning_rate=0.003),
        fim_rate=0.5,
    ),
}


class MissingExtra(ImportError):
    """torch is not installed."""


def require_torch() -> None:
    """Raises MissingExtra, which names what to install, where torch cannot be imported."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("training proxy models needs torch: pip install 'gristmill[proxy]'")


def build_model(config: ModelConfig, seed: int) -> nn.Module:
    """A model whose initial weights depend on `config` and `seed` only.  torch's global generator is kept."""
    require_torch()
    import torch

    # imported before the generator is seeded: importing may draw from it
    make: Callable[..., nn.Module]
    if isinstance(config, MambaConfig):
        from eval_models.mamba import Mamba as make
    elif isinstance(config, Mamba2Config):
        from eval_models.mamba2 import Mamba2 as make
    else:
        from eval_models.starcoder import StarCoder as make
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(config)
