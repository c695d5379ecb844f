"""The StarCoder proxy: a byte-level decoder with multi-query attention and learned absolute positions.

* One block is LayerNorm -> attention -> add, LayerNorm -> MLP -> add; biases everywhere; tanh-GELU, 4 times
wide
  (Li et al., StarCoder, arXiv:2305.06161, table 6 and section 5.1; the GPTBigCode architecture).
* Multi-query attention: every head has its own query, all share one key and one value (Shazeer,
arXiv:1911.02150); with kv_heads above 1, as many groups of heads each share theirs.
* Fill-in-the-middle is a matter of the data, not of the model: data_order.py.
* Positions are learned, and start as sinusoids: see `sinusoids`.
* Dropout 0: each byte is seen about once at proxy budgets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eval_models.layers import LayerNorm, compute_dtype
from eval_models.proxies import StarCoderConfig
from kernels import attention


def sinusoids(positions: int, width: int) -> Tensor:
    """Initial positions [positions, width]: unit rows of waves, of length 2 pi to 2 pi * positions.

    A shift by a few bytes is then a rotation, which one attention head can express from the start.  With
    random positions a proxy spends most of a small budget on learning which byte is the previous one:
    3.67 against 3.45 bits per byte after 0.5 MB (starcoder-tiny).
    """
    rates = positions ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(positions)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1) * (2 / width) ** 0.5


class Attention(nn.Module):
    """Causal attention whose heads share `kv_heads` keys and values."""

    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads
        self.head_width = config.width // config.heads
        # all queries, then keys, then values
        self.in_proj = nn.Linear(config.width, config.width + 2 * config.kv_heads * self.head_width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.kv_heads * self.head_width
        query, key, value = self.in_proj(x).split((x.shape[-1], shared, shared), -1)
        y = attention(
            query.unflatten(-1, (self.heads, self.head_width)),
            key.unflatten(-1, (self.kv_heads, self.head_width)),
            value.unflatten(-1, (self.kv_heads, self.head_width)),
        )
        return self.out_proj(y.flatten(2))


class Block(nn.Module):
    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        d = config.width
        self.attention_norm = LayerNorm(d)
        self.attention = Attention(config)
        self.mlp_norm = LayerNorm(d)
        self.fc1 = nn.Linear(d, config.mlp_ratio * d)
        self.fc2 = nn.Linear(config.mlp_ratio * d, d)

    def forward(self, x: Tensor, residual: Tensor, next_norm: LayerNorm) -> tuple[Tensor, Tensor]:
        """x is attention_norm(residual); returns next_norm of the new residual stream, and that stream."""
        x, residual = self.mlp_norm(self.attention(x), residual)
        return next_norm(self.fc2(F.gelu(self.fc1(x), approximate="tanh")), residual)


class StarCoder(nn.Module):
    """Logits [b, l, config.vocabulary] of the next symbol from int64 tokens [b, l], l <= config.positions."""

    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.width))
        self.position = nn.Parameter(torch.empty(config.positions, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.last_norm = LayerNorm(config.width)
        std = config.width**-0.5  # StarCoder: 0.01275 at width 6144, 0.02209 at 2048
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() == 2:
                residual_output = name.endswith(("out_proj.weight", "fc2.weight"))
                nn.init.normal_(parameter, std=std / math.sqrt(2 * config.layers) if residual_output else std)
        with torch.no_grad():
            self.position.copy_(2 * sinusoids(config.positions, config.width))

    def features(self, tokens: Tensor) -> Tensor:
        """What the output layer reads: [b, l, d]."""
        if tokens.shape[1] > self.config.positions:
            raise ValueError(f"StarCoder: {tokens.shape[1]} tokens; at most {self.config.positions} have a position")
        residual = F.embedding(tokens, self.embedding) + self.position[: tokens.shape[1]]
        norms: list[nn.Module] = [*(block.attention_norm for block in self.blocks), self.last_norm]  # type: ignore[list-item]
        x = norms[0](residual.to(compute_dtype(residual)))
        for block, norm in zip(self.blocks, norms[1:], strict=True):
            x, residual = block(x, residual, norm)
        return x

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.features(tokens), self.embedding)
