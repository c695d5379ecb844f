"""Chosen tiles of the selective scan."""

from __future__ import annotations

import dataclasses
import functools


@dataclasses.dataclass(frozen=True, slots=True)
class Tile:
    """What one program of a kernel owns at a time."""

    steps: int  # time steps
    channels: int
    lanes: int  # threads that share the states of a channel
    states: int  # of a thread and channel; lanes * states is the padded number of states
    warps: int
    pair: int = 1  # states of a thread whose sums over channels the backward kernel exchanges at a time: 1 or 2
    packed: bool = False  # B and C stay in 16 bits in shared memory: less of its bandwidth, two instructions more

    def __post_init__(self) -> None:
        if self.channels * self.lanes < 32 * self.warps:
            raise ValueError(f"{self}: time steps would be spread over threads")


@functools.cache
def chosen(states: int, narrow: bool, channels: int) -> tuple[Tile, Tile]:
    """The tiles of the forward and the backward kernel: `states` of a channel, padded; inputs of 16 bits or not; and
    channels of all sequences together.

    H100 80GB HBM3, 2026-11-25, Triton 3.6.0, bf16, 16 states, ms, tiles as (steps, channels, lanes, states, warps), p:
    packed.  Forward alone, or with what backward needs / backward and its sums:
    * b 16, l 2048, e 1024: (16, 32, 2, 8, 2) 0.265, or 0.278; (16, 32, 2, 8, 2) p 0.279; (8, 64, 4, 4, 4) p 0.294;
      (16, 64, 2, 8, 4) p 0.294; (16, 32, 4, 4, 4) p 0.299; (16, 64, 4, 4, 4) 0.314 / (8, 64, 4, 4, 4) p 0.796;
      (16, 32, 4, 4, 4) p 0.912; (8, 32, 4, 4, 4) p 1.147.
    * b 8, l 16384, e 1024: (16, 32, 2, 8, 2) 1.294; (16, 32, 4, 4, 4) p 1.253 / (16, 32, 4, 4, 4) p 3.562;
      (8, 64, 4, 4, 4) p 4.622.
    * b 8, l 65536, e 512: (16, 32, 4, 4, 4) p 3.457; (16, 32, 2, 8, 2) 4.810 / (16, 32, 4, 4, 4) p 10.071.
    * float32 and other numbers of states: right, not measured yet.
    """
    if states == 16:
        many = channels >= 6144  # at 32 a program, enough programs to fill the chip with two warps each
        forward = Tile(16, 32, 2, 8, 2) if many else Tile(16, 32, 4, 4, 4, packed=narrow)
        if not narrow:  # 16 steps, or 64 channels, do not fit into the registers
            return forward, Tile(8, 32, 4, 4, 4)
        many = channels >= 12288
        return forward, Tile(8, 64, 4, 4, 4, packed=True) if many else Tile(16, 32, 4, 4, 4, packed=True)
    lanes = min(32, max(1, states // 4))
    at_once = 128 // lanes
    steps = 16 if states <= 128 else 8
    return Tile(steps, at_once, lanes, states // lanes, 4), Tile(steps // 2, at_once, lanes, states // lanes, 4)


def padded(states: int) -> int:
    """Number of states that the kernels compute with: a power of two, 4 or more."""
    return max(4, 1 << (states - 1).bit_length())


# States of one program of the decoding step, and its warps.  H100 80GB HBM3, 2026-11-25, in a CUDA graph, after
# the L2 was emptied, n 16: 0.0069 ms at b 32, e 512 and 0.0119 ms at b 256; twice the states 0.0083 and 0.0125.
STEP_VALUES = 1024
STEP_WARPS = 4
