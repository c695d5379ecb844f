"""What the proxies share: norms that add the branch to the residual stream, and the loss of the next symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval_models.vocabulary import IGNORED
from kernels import layer_norm, linear_cross_entropy, rms_norm


def compute_dtype(x: Tensor) -> torch.dtype:
    """What matrix products run in: that of autocast where it is on, else that of `x`."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


class RMSNorm(nn.Module):
    """norm(x); or norm(residual + x) and residual + x, where x is a branch and the residual stream is fp32."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    @overload
    def forward(self, x: Tensor) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]: ...
    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        return rms_norm(x, self.weight, residual=residual, eps=self.eps)


class LayerNorm(nn.Module):
    """As RMSNorm, with the mean taken out and a bias."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    @overload
    def forward(self, x: Tensor) -> Tensor: ...
    @overload
    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]: ...
    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        return layer_norm(x, self.weight, self.bias, residual=residual, eps=self.eps)


class Mixers(nn.Module):
    """Embedding, blocks of RMSNorm -> mixer -> add, a last norm; the output layer is the embedding.

    Logits [b, l, vocabulary] of the next symbol, from tokens [b, l] (int64).  Any length.
    """

    def __init__(
        self, vocabulary: int, width: int, layers: int, mixer: Callable[[], nn.Module], embedding_std: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(vocabulary, width))
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(layers))
        self.mixers = nn.ModuleList(mixer() for _ in range(layers))
        self.last_norm = RMSNorm(width)
        nn.init.normal_(self.embedding, std=embedding_std)

    def features(self, tokens: Tensor) -> Tensor:
        """What the output layer reads: [b, l, d]."""
        residual = F.embedding(tokens, self.embedding)
        x = self.norms[0](residual.to(compute_dtype(residual)))
        for mixer, norm in zip(self.mixers, [*self.norms[1:], self.last_norm], strict=True):
            x, residual = norm(mixer(x), residual)
        return x

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.features(tokens), self.embedding)


def next_symbol_loss(
    model: nn.Module, tokens: Tensor, targets: Tensor, *, reduction: Literal["mean", "sum"] = "mean"
) -> tuple[Tensor, Tensor]:
    """Loss over the targets that are not IGNORED, and the nats of each target [b, l] (0 where ignored).

    model has `features` and `embedding`; tokens and targets are int64 [b, l].  The logits are never held whole.
    """
    x = model.features(tokens).flatten(0, 1)  # type: ignore[operator]
    weight = model.embedding
    assert isinstance(weight, Tensor)
    loss, nats = linear_cross_entropy(
        x, weight.to(x.dtype), targets.flatten(), ignore_index=IGNORED, reduction=reduction
    )
    return loss, nats.view(targets.shape)
