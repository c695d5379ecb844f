"""Chosen configurations of the long convolution's kernels, and the lengths that they serve.

Times are of (b 16, l 2048, d 512) in bf16 on an NVIDIA H100 80GB HBM3, 2026-11-25, torch 2.11, triton 3.6.0.

| kernel            | shape class        | rows, q, inner, warps, stages | ms, forward, backward | others tried, ms    |
|-------------------|--------------------|-------------------------------|-----------------------|---------------------|
| toeplitz_resident | Hopper, batch of 8 | 256, 128, 64, 3 x 4, 6        | 0.085, 0.088          |                     |
| toeplitz          | bf16, fp16         | 128, 128, 64, 4, 3            | 0.140, 0.127          | q 64: 0.16, 0.15    |
| taps_products     | bf16, fp16         | 64, 64, 64, 4, 3              | 0.164                 | tile 128: 0.28 up   |
| toeplitz          | fp32               | 32, 32, 32, 4, 2              | not measured          | for the interpreter |
"""

from __future__ import annotations

import dataclasses

import torch


@dataclasses.dataclass(frozen=True)
class Tile:
    q: int  # time steps of a block
    block_r: int  # rows of `toeplitz`: (block, batch) pairs
    block_k: int
    num_warps: int
    num_stages: int
    parts: int  # pieces of a block in `taps_products`
    block_rows: int  # its inner rows
    taps_warps: int
    taps_stages: int


HALF = Tile(128, 128, 64, 4, 3, 2, 64, 4, 3)
FLOAT = Tile(32, 32, 32, 4, 2, 2, 32, 4, 2)

# Above this, the l^2 of the products costs more than transforms (by the arithmetic, not measured).
LONGEST = 8192


def uses_products(u: torch.Tensor) -> bool:
    """Products of Toeplitz tiles rather than transforms, for u [b, l, d] that runs on kernels."""
    batch, length, _ = u.shape
    if u.is_cuda and u.dtype == torch.float32:
        return False  # fp32 products have no tensor cores
    # the tiles are read for 128 rows of 128 steps, however few there are
    return length <= LONGEST and (length <= 2048 or batch * length >= 16384)


def tile_for(dtype: torch.dtype) -> Tile:
    return FLOAT if dtype == torch.float32 else HALF


# The kernel for Hopper holds 512 rows of blocks of 128.
RESIDENT = True
_ROWS = 512


def resident_sequences(u: torch.Tensor, batch: int, blocks: int) -> int:
    """Sequences that one program of the kernel for Hopper takes, a multiple of 8; 0: it cannot be used."""
    # its language is experimental: it was written for triton 3.6 and proven there
    import triton

    if not RESIDENT or not u.is_cuda or u.dtype == torch.float32 or not triton.__version__.startswith("3.6."):
        return 0
    if torch.cuda.get_device_capability(u.device) != (9, 0):
        return 0
    fitting = [size for size in range(8, batch + 1, 8) if batch % size == 0 and size * blocks <= _ROWS]
    # two programs of 256 rows load ahead better than one of 512
    return max([size for size in fitting if size * blocks <= _ROWS // 2] or fitting, default=0)
