"""The Mamba proxy: a byte-level Mamba-1 language model.

* One block is RMSNorm -> mixer -> add; no MLP (Gu and Dao, arXiv:2312.00752, section 3.4).
* The residual stream, the norms, the decay and the states are fp32, also under autocast.
* Embeddings are tied to the output; A_log, D and the bias of dt take no weight decay.
* The mixer runs on (batch, length, channel) throughout: no transposition between its parts.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from eval_models.layers import Mixers
from eval_models.proxies import MambaConfig
from eval_models.vocabulary import VOCABULARY_SIZE
from kernels import causal_conv1d, selective_scan


def inverse_softplus_of_steps(channels: int) -> Tensor:
    """[channels]: softplus of it is log-uniform in [1e-3, 1e-1], as published for dt of Mamba-1 and Mamba-2."""
    dt = torch.exp(torch.rand(channels) * math.log(100) + math.log(1e-3)).clamp_min(1e-4)
    return dt + torch.log(-torch.expm1(-dt))


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
            self.dt_bias.copy_(inverse_softplus_of_steps(e))

    def forward(self, u: Tensor) -> Tensor:
        x, z = self.in_proj(u).chunk(2, -1)
        x, _ = causal_conv1d(x, self.conv_weight, self.conv_bias)
        delta, B, C = self.x_proj(x).split(self.splits, -1)
        y, _ = selective_scan(x, self.dt_proj(delta), -torch.exp(self.A_log), B, C, D=self.D, z=z, dt_bias=self.dt_bias)
        return self.out_proj(y)


class Mamba(Mixers):
    """Logits [b, l, VOCABULARY_SIZE] of the next symbol, from tokens [b, l] (int64).  Any length."""

    def __init__(self, config: MambaConfig) -> None:
        mixer = functools.partial(MambaMixer, config)
        super().__init__(VOCABULARY_SIZE, config.width, config.layers, mixer, config.embedding_std)
        self.config = config
