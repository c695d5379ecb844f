"""The Mamba-2 proxy: a byte-level language model whose mixer is a state-space duality.

* One block is RMSNorm -> mixer -> add; no MLP (Dao and Gu, arXiv:2405.21060, section 7).
* One projection gives gate, input, B, C and dt; the decay is one number a head, so states are wide and cheap.
* The residual stream, the norms, the decay and the states are fp32, also under autocast.
* Embeddings are tied to the output; A_log, D and the bias of dt take no weight decay.
* The mixer runs on (batch, length, channel) throughout, on views of the one projection.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from eval_models.layers import Mixers
from eval_models.mamba import inverse_softplus_of_steps
from eval_models.proxies import Mamba2Config
from kernels import causal_conv1d, gated_rms_norm, ssd


class Mamba2Mixer(nn.Module):
    """in_proj, causal depthwise convolution of x, B and C, SSD, gated norm, out_proj."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        d, e, h = config.width, config.inner, config.heads
        state_width = config.groups * config.states
        self.config = config
        # gate | x, B, C | dt | nothing, up to a multiple of 8: on a GPU products of unaligned rows take twice the time
        used = 2 * e + 2 * state_width + h
        self.splits = (e, e + 2 * state_width, h, -used % 8)
        self.xbc_splits = (e, state_width, state_width)
        self.in_proj = nn.Linear(d, sum(self.splits), bias=False)
        self.conv_weight = nn.Parameter(torch.empty(e + 2 * state_width, config.conv_width))
        self.conv_bias = nn.Parameter(torch.zeros(e + 2 * state_width))
        self.dt_bias = nn.Parameter(inverse_softplus_of_steps(h))
        # A uniform in [-16, -1] (published Mamba-2 initialisation)
        self.A_log = nn.Parameter(torch.log(torch.empty(h).uniform_(1, 16)))
        self.D = nn.Parameter(torch.ones(h))
        self.norm = nn.Parameter(torch.ones(e))
        self.out_proj = nn.Linear(e, d, bias=False)
        nn.init.uniform_(self.conv_weight, -(config.conv_width**-0.5), config.conv_width**-0.5)
        with torch.no_grad():
            self.out_proj.weight.div_(math.sqrt(config.layers))

    def forward(self, u: Tensor) -> Tensor:
        config = self.config
        b, length, _ = u.shape
        z, xbc, dt, _ = self.in_proj(u).split(self.splits, -1)
        xbc, _ = causal_conv1d(xbc, self.conv_weight, self.conv_bias)
        x, B, C = xbc.split(self.xbc_splits, -1)
        y, _ = ssd(
            x.unflatten(-1, (config.heads, config.head_width)),
            dt,
            -torch.exp(self.A_log),
            B.unflatten(-1, (config.groups, config.states)),
            C.unflatten(-1, (config.groups, config.states)),
            D=self.D,
            dt_bias=self.dt_bias,
        )
        y = gated_rms_norm(y.flatten(2), z, self.norm, group=config.inner // config.groups)
        return self.out_proj(y)


class Mamba2(Mixers):
    """Logits [b, l, config.vocabulary] of the next symbol, from tokens [b, l] (int64).  Any length."""

    def __init__(self, config: Mamba2Config) -> None:
        mixer = functools.partial(Mamba2Mixer, config)
        super().__init__(config.vocabulary, config.width, config.layers, mixer, config.embedding_std)
        self.config = config
