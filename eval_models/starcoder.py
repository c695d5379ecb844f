"""The StarCoder proxy: a byte-level decoder with multi-query attention and learned absolute positions.

* One block is LayerNorm -> attention -> add, LayerNorm -> MLP -> add; biases everywhere; tanh-GELU, 4 times
wide
  (Li et al., StarCoder, arXiv:2305.06161, table 6 and section 5.1; the GPTBigCode architecture).
* Multi-query attention: every head has its own query, all share one key and one value (Shazeer,
arXiv:1911.02150).
* Fill-in-the-middle is a matter of the data, not of the model: data_order.py.
* Positions are learned, and start as sinusoids: see `sinusoids`.
* Dropout 0: each byte is seen about once at proxy budgets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval_models.proxies import StarCoderConfig
from eval_models.vocabulary import VOCABULARY_SIZE


def sinusoids(positions: int, width: int) -> Tensor:
    """Initial positions [positions, width]: unit rows of waves, of length 2 pi to 2 pi * positions.

    A shift by a few bytes is then a rotation, which one attention head can express from the start.  With
    random positions a proxy spends most of a small budget on learning which byte is the previous one:
    3.67 against 3.45 bits per byte after 0.5 MB (starcoder-tiny).
    """
    rates = positions ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(positions)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1) * (2 / width) ** 0.5


class MultiQueryAttention(nn.Module):
    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        self.heads, self.head_width = config.heads, config.width // config.heads
        self.in_proj = nn.Linear(
            config.width, config.width + 2 * self.head_width
        )  # all queries, one key, one value
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        b, length, d = x.shape
        p = self.head_width
        query, key, value = self.in_proj(x).split((d, p, p), -1)
        query = query.view(b, length, self.heads, p).transpose(1, 2)
        key, value = (t[:, None].expand(b, self.heads, length, p) for t in (key, value))
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(b, length, d))


class Block(nn.Module):
    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        d = config.width
        self.attention_norm = nn.LayerNorm(d, eps=1e-5)
        self.attention = MultiQueryAttention(config)
        self.mlp_norm = nn.LayerNorm(d, eps=1e-5)
        self.fc1 = nn.Linear(d, config.mlp_ratio * d)
        self.fc2 = nn.Linear(config.mlp_ratio * d, d)

    def forward(self, residual: Tensor) -> Tensor:
        residual = residual + self.attention(self.attention_norm(residual))
        return residual + self.fc2(F.gelu(self.fc1(self.mlp_norm(residual)), approximate="tanh"))


class StarCoder(nn.Module):
    """Logits [b, l, VOCABULARY_SIZE] of the next symbol from int64 tokens [b, l], l <= config.positions."""

    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(VOCABULARY_SIZE, config.width))
        self.position = nn.Parameter(torch.empty(config.positions, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(config.width, eps=1e-5)
        std = config.width**-0.5  # StarCoder: 0.01275 at width 6144, 0.02209 at 2048
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                residual_output = name.endswith(("out_proj.weight", "fc2.weight"))
                nn.init.normal_(parameter, std=std / math.sqrt(2 * config.layers) if residual_output else std)
        with torch.no_grad():
            self.position.copy_(2 * sinusoids(config.positions, config.width))

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1] > self.config.positions:
            raise ValueError(
                f"StarCoder: {tokens.shape[1]} tokens; at most {self.config.positions} have a position"
            )
        residual = F.embedding(tokens, self.embedding) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            residual = block(residual)
        return F.linear(self.last_norm(residual), self.embedding)
