"""The Mamba proxy: a byte-level Mamba-1 language model.

* One block is RMSNorm -> mixer -> add; no MLP (Gu and Dao, arXiv:2312.00752, section 3.4).
* The residual stream, the norms, the decay and the states are fp32, also under autocast.
* Embeddings are tied to the output; A_log, D and the bias of dt take no weight decay.
* The mixer runs on (batch, length, channel) throughout: no transposition between its parts.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval_models.proxies import MambaConfig
from eval_models.vocabulary import VOCABULARY_SIZE
from kernels import selective_scan


class CausalConv(torch.autograd.Function):
    """y_t = bias + sum_j weight_j x_{t-w+1+j}, per channel.  x [b, l, e], weight [e, w], bias [e].

    Shifted sums on the layout that the mixer has; the library's depthwise convolution wants the length
    last and is slower on a CPU, transpositions not counted.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        w, length = weight.shape[1], x.shape[1]
        padded = F.pad(x, (0, 0, w - 1, 0))
        taps = weight.t().contiguous()
        y = torch.addcmul(bias, padded[:, :length], taps[0])
        for j in range(1, w):
            y.addcmul_(padded[:, j : j + length], taps[j])
        ctx.save_for_backward(padded, taps)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        padded, taps = ctx.saved_tensors
        w, length = taps.shape[0], dy.shape[1]
        dx = dy * taps[w - 1]
        for j in range(w - 1):
            shift = w - 1 - j
            if shift < length:
                dx[:, : length - shift].addcmul_(dy[:, shift:], taps[j])
        dweight = torch.stack([(dy * padded[:, j : j + length]).sum((0, 1)) for j in range(w)], 1)
        return dx, dweight, dy.sum((0, 1))


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class MambaMixer(nn.Module):
    """in_proj, causal depthwise convolution, dt, B and C from the data, selective scan, gate, out_proj."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        d, e, n, r = config.width, config.expand * config.width, config.states, config.rank
        self.splits = (r, n, n)
        self.in_proj = nn.Linear(d, 2 * e, bias=False)
        self.conv_weight = nn.Parameter(torch.empty(e, config.conv_width))
        self.conv_bias = nn.Parameter(torch.zeros(e))
        self.x_proj = nn.Linear(e, r + 2 * n, bias=False)
        self.dt_proj = nn.Linear(r, e, bias=False)
        self.dt_bias = nn.Parameter(torch.empty(e))
        self.A_log = nn.Parameter(torch.log(torch.arange(1, n + 1, dtype=torch.float32)).repeat(e, 1))
        self.D = nn.Parameter(torch.ones(e))
        self.out_proj = nn.Linear(e, d, bias=False)
        nn.init.uniform_(self.conv_weight, -(config.conv_width**-0.5), config.conv_width**-0.5)
        nn.init.uniform_(self.dt_proj.weight, -(r**-0.5), r**-0.5)
        with torch.no_grad():
            self.out_proj.weight.div_(math.sqrt(config.layers))
            # dt log-uniform in [1e-3, 1e-1], stored as the inverse of softplus (published Mamba-1
            # initialisation)
            dt = torch.exp(torch.rand(e) * math.log(100) + math.log(1e-3)).clamp_min(1e-4)
            self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))

    def forward(self, u: Tensor) -> Tensor:
        x, z = self.in_proj(u).chunk(2, -1)
        x = F.silu(CausalConv.apply(x.float(), self.conv_weight, self.conv_bias))
        delta, B, C = self.x_proj(x).split(self.splits, -1)
        dt = F.softplus(self.dt_proj(delta).float() + self.dt_bias)
        y, _ = selective_scan(x, dt, -torch.exp(self.A_log), B.float(), C.float(), D=self.D)
        return self.out_proj(y * F.silu(z))


class Mamba(nn.Module):
    """Logits [b, l, VOCABULARY_SIZE] of the next symbol, from tokens [b, l] (int64).  Any length."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(VOCABULARY_SIZE, config.width))
        self.norms = nn.ModuleList(RMSNorm(config.width) for _ in range(config.layers))
        self.mixers = nn.ModuleList(MambaMixer(config) for _ in range(config.layers))
        self.last_norm = RMSNorm(config.width)
        nn.init.normal_(self.embedding, std=config.embedding_std)

    def forward(self, tokens: Tensor) -> Tensor:
        residual = F.embedding(tokens, self.embedding)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            residual = residual + mixer(norm(residual))
        return F.linear(self.last_norm(residual), self.embedding)
