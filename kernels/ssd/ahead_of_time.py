"""What `kernels.ssd` compiles, for `kernels.ahead_of_time`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from kernels.ahead_of_time import Build
from kernels.ssd import backward, decay, forward, replay, step
from kernels.ssd.tiles import Tile, backward_tile, forward_tile, replay_tile, state_tile, step_tile

_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
_SHAPES = ((64, 128), (64, 64), (64, 16), (32, 128), (128, 128))  # p, n
_OF_HEADS = ("x_ptr", "y_ptr", "dy_ptr", "dx_ptr")  # tensors [b, l, h, p]
_OF_GROUPS = ("B_ptr", "C_ptr", "dB_ptr", "dC_ptr")  # [b, l, g, n]
_OF_STATES = ("states_ptr", "gradients_ptr")
_LIKE_X = (*_OF_HEADS, *_OF_GROUPS, *_OF_STATES, "z_ptr")
_INTEGERS = (
    "length",
    "chunks",
    "chunks_a_segment",
    "heads",
    "heads_a_group",
    "heads_a_program",
    "groups",
    "count",
    "new",
    "padded",
)


def _build(
    label: str, kernel: Any, kind: str, constants: Mapping[str, object], warps: int, stages: int, matrix: bool
) -> Build:
    """The signature follows from the names: those of tensors like x, fp32 for other pointers, strides in sixteens."""
    signature, rows = {}, constants.get("ROWS", constants.get("BLOCK_N"))
    for name in kernel.arg_names:
        if name in constants:
            continue
        if name in _INTEGERS:
            signature[name] = "i32"
        elif "_stride_" in name:
            signature[name] = "i32:16"
        elif name in _OF_STATES:
            signature[name] = f"tensordesc<{kind}[1, {rows}, {constants['BLOCK_P']}]>"
        elif name in _OF_HEADS + _OF_GROUPS and "BLOCK_L" in constants and "HAS_Z" not in constants:
            columns = constants["BLOCK_P"] if name in _OF_HEADS else rows
            signature[name] = f"tensordesc<{kind}[1, 1, {constants['BLOCK_L']}, {columns}]>"
        else:
            signature[name] = f"*{kind}" if name in _LIKE_X else "*fp32"
    return Build("ssd", f"{label} {kind}", kernel, signature, constants, warps, stages, matrix and kind != "fp32")


def _widths(tile: Tile, p: int, n: int) -> dict[str, object]:
    return {
        "P": p,
        "N": n,
        "PARTS": -(-p // tile.block_p),
        "BLOCK_L": tile.block_l,
        "BLOCK_P": tile.block_p,
        "BLOCK_N": tile.block_n,
        "HAS_DOCUMENT": False,
        "document_ptr": None,
    }


def matrix_builds(dtype: torch.dtype, p: int, n: int) -> list[Build]:
    """The kernels of a forward and a backward pass at these widths."""
    kind, tile, back = _NAMES[dtype], forward_tile(dtype, p, n), backward_tile(dtype, p, n)
    widths, shape = _widths(tile, p, n), f"p{p} n{n}"
    found = []
    for save in (False, True):
        constants = widths | {"HAS_D": True, "HAS_STATE": False, "state_in_ptr": None, "SAVE": save}
        if not save:
            constants["states_ptr"] = None
        label = f"forward {shape}" + (" saving" if save else "")
        found.append(_build(label, forward.ssd_forward_kernel, kind, constants, tile.num_warps, tile.num_stages, True))
    found.append(
        _build(f"segments {shape}", forward.segment_states_kernel, kind, widths, tile.num_warps, tile.num_stages, True)
    )
    passing = {key: widths[key] for key in ("P", "N", "PARTS", "BLOCK_P", "BLOCK_N")}
    passing |= {"ROWS": min(16, tile.block_n), "HAS_STATE": True}
    found.append(_build(f"pass segments {shape}", forward.pass_segments_kernel, kind, passing, 4, 3, False))
    carried = state_tile(tile)
    states = widths | {"ROWS": carried.rows, "HAS_DSTATE": False, "dstate_ptr": None}
    found.append(
        _build(
            f"state gradients {shape}", backward.state_gradients_kernel, kind, states,
            carried.num_warps, carried.num_stages, True,
        )
    )  # fmt: skip
    chunks = widths | {"HAS_D": True}
    found.append(
        _build(
            f"chunk gradients {shape}", backward.chunk_gradients_kernel, kind, chunks,
            back.num_warps, back.num_stages, True,
        )
    )  # fmt: skip
    return found


def builds() -> list[Build]:
    found = []
    for p, n in _SHAPES:
        found += matrix_builds(torch.bfloat16, p, n)
    found += matrix_builds(torch.float16, 64, 128)
    for p, n in ((64, 32), (16, 16)):  # states are done 32 at a time
        found += matrix_builds(torch.float32, p, n)
    decays = {"BLOCK_L": 64, "BLOCK_H": 16, "SOFTPLUS": True, "dt_stride_h": 1}
    found.append(_build("decays", decay.decays_kernel, "bf16", decays, 4, 3, False))
    sums = {"BLOCK_L": 64, "BLOCK_H": 16, "PARTS": 1, "SOFTPLUS": True, "HAS_D": True}
    found.append(_build("decay gradients", backward.decay_gradients_kernel, "bf16", sums, 4, 3, False))
    for p, n in ((64, 128), (64, 16)):
        tile = step_tile(p, n)
        options = {"GROUP": 16, "P": p, "N": n, "BLOCK_N": n, "SOFTPLUS": True, "HAS_D": True, "HAS_Z": True}
        step_options = options | {"BLOCK_P": tile.block_p, "dt_stride_h": 1}
        found.append(_build(f"step p{p} n{n}", step.ssd_step_kernel, "bf16", step_options, tile.num_warps, 3, False))
        tile = replay_tile(p, n)
        for fold in (False, True):
            given = options | {"BLOCK_P": tile.block_p, "BLOCK_L": 16, "FOLD": fold, "dt_stride_h": 1}
            given |= {"ACROSS": min(32, n), "WARPS": tile.num_warps}
            label = f"replay p{p} n{n}" + (" folding" if fold else "")
            found.append(_build(label, replay.ssd_replay_kernel, "bf16", given, tile.num_warps, 3, False))
    return found
