"""Chosen configurations of the output layer's kernels.

Times are of (t 32768, d 512, v 50304) in bf16 on an NVIDIA H100 80GB HBM3, 2026-11-25, torch 2.11, triton 3.6.0: all
chunks of the kernel with exponentials kept, those of a call for losses alone, and a whole forward and backward pass.

| kernel                 | shape class          | tile t x v x d, warps, stages | ms   | losses | whole |
|------------------------|----------------------|-------------------------------|------|--------|-------|
| exponentials_streaming | Hopper, d up to 512  | 128 x 128 x 64, 2 x 4 + 1     |      |        | 9.50  |
| exponentials           | bf16, fp16           | 128 x 128 x 64, 4, 3          | 3.93 | 3.40   | 9.49  |
| exponentials           | fp32                 | 64 x 64 x 16, 4, 2            |      |        |       |

An empty cell was not measured.  At d 1024 and v 16384, losses alone: 1.99 ms with 128 x 256 x 64, 8, 3 where
128 x 128 x 64, 4, 3 takes 2.98; with exponentials kept the wide tile loses, 2.68 to 2.24.
"""

from __future__ import annotations

import dataclasses
import functools

import torch


@dataclasses.dataclass(frozen=True)
class Tile:
    block_t: int
    block_v: int
    block_d: int
    num_warps: int
    num_stages: int


# The kernel for Hopper keeps 128 rows of x, up to this width, in shared memory.
STREAMING_WIDTH = 512

HALF = Tile(128, 128, 64, 4, 3)
WIDE = Tile(128, 256, 64, 8, 3)
FLOAT = Tile(64, 64, 16, 4, 2)


def tile_for(dtype: torch.dtype, d: int, e: bool) -> Tile:
    """For rows of width d; `e` tells whether exponentials are kept."""
    if dtype == torch.float32:
        return FLOAT
    return HALF if e or d <= STREAMING_WIDTH else WIDE


# Rows of a chunk: enough to fill the chip in every product, few enough that its exponentials, the fp32 gradient of the
# weight and the gradient of x together stay below an eighth of the logits in fp32, where so many tokens are given.
# Exponentials of a small vocabulary may take 56 MB in any case.  Of (t 32768, d 512), ms of a whole pass and MiB:
#
#     rows    v 50304        v 16384
#     2048     9.92 (335)    3.48 (132)
#     3328     9.42 (464)    3.10 (175)
#     4096     9.05 (541)    3.10 (200)
#     6656     8.88 (796)    2.98 (285)
#     8192     8.77 (949)    2.87 (336)
_SMALLEST, _ENOUGH, _STEP, _FREE = 1024, 4096, 128, 56 << 20


def chunk_rows(t: int, v: int, d: int, element_size: int) -> int:
    """Rows of a chunk of t rows that are dealt evenly: all chunks but the last have as many."""
    outputs = 4 * v * d + element_size * t * d
    row = element_size * v
    fitting = min((4 * t * v // 8 - outputs) * 31 // 32 // row, _ENOUGH)
    most = max(_SMALLEST, fitting, _FREE // row)
    rows = -(-t // -(-t // most))
    return -(-rows // _STEP) * _STEP


def scoring_rows(t: int, v: int) -> int:
    """Rows of a chunk when only losses are wanted: 64 MB hold two numbers for each row and vocabulary tile."""
    return max(128, min(t, (64 << 20) // (v // 16 + 8)) // 128 * 128)


_SHARED = 227 * 1024


def slots(d: int, e: bool) -> int:
    """Tiles of the weight that fit beside 128 rows and, if `e`, two tiles of results."""
    tile = 128 * 64 * 2
    free = _SHARED - 1024 - -(-d // 64) * tile - (2 * tile if e else 0)
    return min(8, free // tile)


def _hopper(x: torch.Tensor) -> bool:
    """The language of that kernel is experimental: it was written for triton 3.6 and proven there."""
    import triton

    return x.is_cuda and torch.cuda.get_device_capability(x.device) == (9, 0) and triton.__version__.startswith("3.6.")


def slots_for(x: torch.Tensor, tiles: int, e: bool) -> int:
    """`slots` where the kernel for Hopper is used, 0 elsewhere: a few tiles do not repay the rows' way to memory."""
    if x.dtype == torch.float32 or x.shape[1] > STREAMING_WIDTH or tiles < 16 or not _hopper(x):
        return 0
    return slots(x.shape[1], e)


@functools.cache
def programs_per_row(row_blocks: int, tiles: int, processors: int = 132) -> int:
    """Into how many programs the vocabulary is cut, so that every processor is busy to the end.

    A program costs its tiles and about two more to fill its pipeline; programs run in waves of one a processor.
    """

    def time(programs: int) -> int:
        waves = -(-row_blocks * programs // processors)
        return waves * (-(-tiles // programs) + 2)

    return min(range(1, min(64, tiles) + 1), key=time)
