"""The configurations of the convolution's kernels: by direction, length and size of a number.

Measured on an H100 80GB HBM3 (copy 3,004 GB/s, torch 2.11, triton 3.6.0) on 2026-11-25, width 4, bias and silu, bf16,
microseconds; shapes are (batch, length, channels), "copy" what their bytes take at the speed of a copy:

    forward    (32, 1024, 768)  (16, 2048, 1280)  (8, 4096, 2304)  (8, 16384, 1280)
      copy           33.5             55.8             100.5             223.4
      chosen         39.6             61.2             105.5             227.6
      steps 16       41.0             62.8             107.0             229.0
      channels 256   42.0             63.2             106.6             228.8
      blocks 2       42.8             65.0             109.8             234.6    (channels 256)
    backward, with the sum of its partial gradients
      copy           50.3             83.9                               335.5
      chosen         70.2            110.6                               388.7
      other ahead    76.2            114.2                               390.1
      steps 4        78.8            128.9                               447.5
      channels 128   83.0            140.9                               458.7
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Tile:
    """What one program owns: `runs` runs of steps * blocks time steps each, in `channels` channels."""

    steps: int  # rows loaded at once
    blocks: int  # of steps, one after the other
    runs: int
    channels: int
    num_warps: int
    ahead: bool = False  # of the backward pass: the next steps are loaded while these are computed

    @property
    def rows(self) -> int:
        return self.steps * self.blocks * self.runs


TILES = {
    "forward": Tile(steps=8, blocks=1, runs=4, channels=128, num_warps=4),
    "forward fp32": Tile(steps=8, blocks=1, runs=4, channels=128, num_warps=4),  # not measured yet
    "backward short": Tile(steps=8, blocks=8, runs=4, channels=64, num_warps=4),
    "backward long": Tile(steps=8, blocks=8, runs=4, channels=64, num_warps=4, ahead=True),
    "backward fp32": Tile(steps=4, blocks=16, runs=4, channels=64, num_warps=4),  # not measured yet
}
_LONG = 1025  # steps; at 1,024 loading ahead costs more programs per SM than it hides


def forward_tile(item_bytes: int, length: int) -> Tile:
    return TILES["forward" if item_bytes == 2 else "forward fp32"]


def backward_tile(item_bytes: int, length: int) -> Tile:
    if item_bytes != 2:
        return TILES["backward fp32"]
    return TILES["backward long" if length >= _LONG else "backward short"]
