"""Chosen tiles of the kernels of `ssd`, by type and widths.

Measured on an NVIDIA H100 80GB HBM3, 2026-11-25, bf16, b 16, l 2048, 16 heads of 64, n 128, one group, microseconds:

    kernel                          warps, stages   time    others
    ssd_forward                     4, 2              97    136 when it saves the states
    state_gradients, 64 rows        4, 3             109
    chunk_gradients                 4, 2             317
    decays, decay_gradients         4                  5, 6
    forward as a graph                               105
    forward and backward                             580
    ssd_step, b 256, d 1024, 32 rows  4              185    16 rows and 2 or 4 warps 185, 64 rows and 4 warps 186
    ssd_replay of 8, 64 rows        4                105    16 to 64 rows, 1 to 8 warps: 105-112; folding 196
    ssd_replay, 4 new of 8          4                143    8 warps 142, 32 rows and 2 warps 145

Chunks of 64 are one product of a group of four warps; 8 warps were slower by a tenth.  Other widths are not measured.
"""

from __future__ import annotations

import dataclasses

import torch

# Programs of the forward kernel that an H100 or H200 holds at once: 132 multiprocessors, two programs on each.
_PLACES = 264


@dataclasses.dataclass(frozen=True)
class Tile:
    """One configuration.  A head of more than block_p columns is done in parts of block_p."""

    block_l: int  # tokens of a chunk
    block_p: int
    block_n: int
    num_warps: int
    num_stages: int


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def power_of_two(width: int) -> int:
    """The smallest that is not less."""
    return 1 << (width - 1).bit_length()


def _at_least_16(width: int) -> int:
    return max(16, power_of_two(width))


def forward_tile(dtype: torch.dtype, p: int, n: int, chunk: int | None = None) -> Tile:
    if dtype == torch.float32:
        # products on the ordinary units, whose operands fill the registers
        return Tile(chunk or 16, min(32, _at_least_16(p)), _at_least_16(n), num_warps=4, num_stages=2)
    return Tile(chunk or 64, min(64, _at_least_16(p)), _at_least_16(n), num_warps=4, num_stages=2)


def backward_tile(dtype: torch.dtype, p: int, n: int, chunk: int | None = None) -> Tile:
    """Same blocks as the forward tile: the states it saves are read."""
    return forward_tile(dtype, p, n, chunk)


@dataclasses.dataclass(frozen=True)
class StateTile:
    """Configuration of the kernel that carries gradients of states: rows of n that a program has."""

    rows: int
    num_warps: int
    num_stages: int


def state_tile(tile: Tile) -> StateTile:
    return StateTile(min(64, tile.block_n), num_warps=4, num_stages=3)


def segments(rows: int, chunks: int) -> int:
    """Into how many pieces a sequence is cut, so that rows * segments programs fill the device."""
    return max(1, min(_PLACES // rows, chunks // 8))


def head_splits(programs: int, group: int) -> int:
    """Into how many parts the heads of a group are dealt in the backward pass; divides group."""
    splits = 1
    while group % (2 * splits) == 0 and 2 * programs * splits < 2 * _PLACES:
        splits *= 2
    return splits


@dataclasses.dataclass(frozen=True)
class StepTile:
    """Configuration of the decoding kernels: rows of the state that a program owns, and its warps."""

    block_p: int
    num_warps: int


def step_tile(p: int, n: int) -> StepTile:
    return StepTile(min(32, power_of_two(p)), num_warps=4)


def replay_tile(p: int, n: int) -> StepTile:
    return StepTile(min(64, power_of_two(p)), num_warps=4)
