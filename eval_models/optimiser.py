"""Muon for the matrices inside the blocks, AdamW for everything else, and the schedule of both.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/): momentum, then the nearest
semi-orthogonal matrix by five steps of a quintic Newton-Schulz iteration.  Matrices of one shape are
orthogonalised in one batch: at proxy sizes the cost is the number of calls, not the arithmetic.

The rates of a step are floats, or numbers that lie on the model's device: then nothing in a step waits for
the host, and a CUDA graph that holds one can be replayed for every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from eval_models.proxies import OptimiserConfig

# Coefficients of the quintic iteration, Jordan et al. 2024 (steepest at zero that still keeps values in [0.7,
# 1.2]).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """About the nearest semi-orthogonal matrix to each of [k, rows, columns]: singular values 0.7 to 1.2."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_STEPS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if tall else x


class Rates(NamedTuple):
    """What differs between two steps.  All floats, or all tensors of no dimension on the model's device."""

    adam: float | Tensor  # learning rate over 1 - beta1**t
    root: float | Tensor  # sqrt(1 - beta2**t): divides the root of the second moment
    muon: float | Tensor  # learning rate


class Optimiser:
    """Steps every parameter of `model`.  State is a flat dict of tensors, saved and restored exactly.

    half: orthogonalise in bfloat16, as Muon was published; for devices with tensor cores.
    """

    def __init__(self, model: nn.Module, config: OptimiserConfig, *, half: bool = False) -> None:
        self.config = config
        self.half = half
        self.step_count = 0
        by_shape: dict[tuple[int, ...], list[Tensor]] = {}
        self.adam: list[Tensor] = []
        for name, parameter in model.named_parameters():
            if name.endswith(("proj.weight", "fc1.weight", "fc2.weight")):
                by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            else:
                self.adam.append(parameter)
        self.muon = list(by_shape.values())
        self.parameters = [*self.adam, *(p for group in self.muon for p in group)]
        self.muon_momentum = [torch.zeros_like(torch.stack(group)) for group in self.muon]
        self.first = [torch.zeros_like(p) for p in self.adam]
        self.second = [torch.zeros_like(p) for p in self.adam]

    def rates(self, step: int, factor: float) -> Rates:
        """Of step number `step`, from 1, at `factor` times the peak learning rates."""
        config = self.config
        beta1, beta2 = config.betas
        return Rates(
            config.adam_learning_rate * factor / (1 - beta1**step),
            (1 - beta2**step) ** 0.5,
            config.muon_learning_rate * factor,
        )

    def step(self, factor: float) -> None:
        """One update from the gradients at `factor` times the peak learning rates; clears the gradients."""
        self.step_count += 1
        self.apply(self.rates(self.step_count, factor))

    @torch.no_grad()
    def apply(self, rates: Rates) -> None:
        """The update of `step`, without counting it."""
        config = self.config
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, (config.clip / (norm + 1e-6)).clamp_max(1.0))
        beta1, beta2 = config.betas
        gradients = [p.grad for p in self.adam if p.grad is not None]
        torch._foreach_lerp_(self.first, gradients, 1 - beta1)
        torch._foreach_mul_(self.second, beta2)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(self.second)
        torch._foreach_div_(scale, rates.root)
        torch._foreach_add_(scale, 1e-8)
        if isinstance(rates.adam, Tensor):
            moves = torch._foreach_div(self.first, scale)
            torch._foreach_mul_(moves, -rates.adam)
            torch._foreach_add_(self.adam, moves)
        else:
            torch._foreach_addcdiv_(self.adam, self.first, scale, -rates.adam)
        for group, momentum in zip(self.muon, self.muon_momentum, strict=True):
            gradient = torch.stack([p.grad for p in group if p.grad is not None])
            momentum.lerp_(gradient, 1 - config.momentum)
            wanted = torch.lerp(gradient, momentum, config.momentum)  # Nesterov
            update = orthogonalise(wanted.bfloat16()).float() if self.half else orthogonalise(wanted)
            # a tall matrix gets a longer step, so that each output moves alike (Jordan et al., 2024)
            stretch = max(1.0, update.shape[1] / update.shape[2]) ** 0.5
            if config.weight_decay:
                torch._foreach_mul_(group, 1 - rates.muon * config.weight_decay)
            if isinstance(rates.muon, Tensor):
                torch._foreach_add_(group, list((update * (rates.muon * -stretch)).unbind(0)))
            else:
                torch._foreach_add_(group, list(update.unbind(0)), alpha=-rates.muon * stretch)
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, object]:
        return {
            "step_count": self.step_count,
            "first": self.first,
            "second": self.second,
            "muon_momentum": self.muon_momentum,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, object]) -> None:
        self.step_count = int(state["step_count"])  # type: ignore[call-overload]
        for name in ("first", "second", "muon_momentum"):
            for mine, saved in zip(getattr(self, name), state[name], strict=True):  # type: ignore[call-overload]
                mine.copy_(saved)
