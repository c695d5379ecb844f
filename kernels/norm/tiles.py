"""The configurations of the norms' kernels, by width of what one mean runs over.

Measured on an H100 80GB HBM3 (copy 3,004 GB/s, torch 2.11, triton 3.6.0) on 2026-11-25, 32,768 rows, bf16 with an
fp32 residual stream, microseconds; (rows, warps[, programs]), "copy" what the bytes take at the speed of a copy:

    gated forward, width                        512           1024          2048
      copy                                      33.5          66.9          133.8
      (4, 4) (2, 4) (1, 4), chosen              39.0          72.7          137.6
      (2, 2)                                    39.7          72.3          139.0
      (1, 1)                                    40.0          73.1          141.1
    gated backward, with a slower sum of its partial gradients than now
      copy                                      55.9         111.8          223.7
      (2, 4, 528) (2, 4, 396) (1, 8, 264)       72.4         125.9          240.9     chosen
      (1, 4, 528)                               83.2         128.0          256.4
      (1, 4, 1056)                              73.9         140.6          265.1
      (1, 4, 528) without ahead                              142.7          291.9
    add and RMSNorm, width                      256           512           1024
      copy                                      33.5          66.9          133.8
      forward (4, 4) (4, 4) (2, 4), chosen      38.4          72.6          138.5
      backward, copy                            44.6          89.5          179.0
      (4, 4, 528) (2, 4, 528) (2, 4, 396)       61.7         105.4          196.5     chosen
      (4, 4, 396) (2, 4, 396) (1, 4, 396)       59.5         105.7          194.2
"""

from __future__ import annotations

import dataclasses

# What one mean runs over lies in the registers of one program, without spilling.
WIDEST = 8192
WIDEST_GROUP = 4096  # of the gated norm, whose backward pass holds more


@dataclasses.dataclass(frozen=True, slots=True)
class Tile:
    """`rows` rows of the width are in a program's registers at once."""

    rows: int
    num_warps: int
    # Of a backward pass, over the rows; each writes one row of partial sums of the weight's gradient.  A fixed number,
    # so that sums do not depend on the device: at most four programs for each of the 132 SMs of an H100 or H200.
    programs: int = 0
    ahead: bool = True  # of a backward pass: the next rows are loaded early, which takes registers


def block(width: int) -> int:
    """The smallest power of two that holds the width."""
    return max(16, 1 << (width - 1).bit_length())


def forward_tile(width: int) -> Tile:
    size = block(width)
    return Tile(min(4, max(1, 2048 // size)), min(16, max(4, size // 512)))


def backward_tile(width: int, rows: int) -> Tile:
    size = block(width)
    if size <= 512:
        tile = Tile(1024 // size, 4, 528)
    elif size == 1024:
        tile = Tile(2, 4, 396)
    else:
        tile = Tile(1, min(16, max(8, size // 512)), 264, ahead=size <= 2048)
    return dataclasses.replace(tile, programs=min(tile.programs, -(-rows // tile.rows)))
