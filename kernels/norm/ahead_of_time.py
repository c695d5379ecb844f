"""What is compiled ahead of time: every kernel at three widths of the proxies, and at the widest."""

from __future__ import annotations

from typing import Any

from kernels.ahead_of_time import Build
from kernels.norm import backward, forward
from kernels.norm.tiles import WIDEST, WIDEST_GROUP, Tile, backward_tile, block, forward_tile

_STAGES = 3  # triton's default; nothing here is pipelined by the compiler
_WIDTHS = (512, 1024, 2048, WIDEST)
_ROWS = 32_768


def _build(label: str, kernel: Any, arguments: dict[str, object], d: int, tile: Tile) -> Build:
    """arguments: "*bf16" and the like, None where absent, constants otherwise; strides and rows are added."""
    known = {name: "i32:16" for name in kernel.arg_names if name.startswith("stride_")} | {"R": "i32"}
    known |= {name: "*bf16" for name in kernel.arg_names if name.endswith("_ptr")}
    known |= {"eps": "fp32", "weight_ptr": "*fp32", "partial_ptr": "*fp32"}
    known |= {name: kind for name, kind in arguments.items() if isinstance(kind, str)}
    constants = {name: value for name, value in arguments.items() if not isinstance(value, str)}
    constants |= {"D": d, "BLOCK_D": block(d), "BLOCK_R": tile.rows}
    signature = {name: kind for name, kind in known.items() if name in kernel.arg_names and name not in constants}
    return Build("norm", f"{label} d{d}", kernel, signature, constants, tile.num_warps, _STAGES, False)


def builds() -> list[Build]:
    stream, alone = "*fp32", None
    found = []
    for d in _WIDTHS:
        ahead, back = forward_tile(d), backward_tile(d, _ROWS)
        for op, centred, bias, r in (("add and rms", False, None, stream), ("layer", True, "*fp32", alone)):
            pointers: dict[str, object] = {"CENTRED": centred, "r_ptr": r or "*bf16"}
            more: dict[str, object] = {"residual_ptr": r, "bias_ptr": bias}
            found.append(_build(f"{op} forward", forward.norm_forward, pointers | more, d, ahead))
            more = {
                "dr_in_ptr": r,
                "dr_ptr": r,
                "HAS_BIAS": bias is not None,
                "AHEAD": back.ahead,
            }
            found.append(_build(f"{op} backward", backward.norm_backward, pointers | more, d, back))
        d = min(d, WIDEST_GROUP)
        ahead, back = forward_tile(d), backward_tile(d, _ROWS)
        found.append(_build("gated forward", forward.gated_forward, {}, d, ahead))
        found.append(_build("gated backward", backward.gated_backward, {"AHEAD": back.ahead}, d, back))
    signature = {"partial_ptr": "*fp32", "dweight_ptr": "*fp32", "dbias_ptr": "*fp32", "P": "i32", "D": "i32:16"}
    tile = {"BLOCK_P": backward.SUM_PROGRAMS, "BLOCK_D": backward.SUM_WIDTH}
    kernel = backward.sum_partials
    found.append(Build("norm", "sum of partial gradients", kernel, signature, tile, backward.SUM_WARPS, _STAGES, False))
    return found
