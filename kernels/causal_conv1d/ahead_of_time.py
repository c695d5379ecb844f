"""What is compiled ahead of time: every kernel in every chosen configuration, with its variants."""

from __future__ import annotations

from kernels.ahead_of_time import Build
from kernels.causal_conv1d import backward, forward
from kernels.causal_conv1d.tiles import TILES, Tile

_STAGES = 3  # triton's default; nothing here is pipelined by the compiler


def _common(kind: str) -> dict[str, str]:
    return {
        "x_ptr": f"*{kind}",
        "weight_ptr": "*fp32",
        "bias_ptr": "*fp32",
        "L": "i32",
        "C": "i32:16",
        "stride_b": "i32:16",
        "stride_l": "i32:16",
    }


def _constants(tile: Tile, w: int) -> dict[str, object]:
    return {
        "W": w,
        "SILU": True,
        "STEPS": tile.steps,
        "BLOCKS": tile.blocks,
        "BLOCK_S": tile.runs,
        "BLOCK_C": tile.channels,
    }


def builds() -> list[Build]:
    found = []
    for name, tile in TILES.items():
        kind = "fp32" if name.endswith("fp32") else "bf16"
        for w, with_state, with_ids in ((4, False, False), (4, True, True), (2, False, False)):
            signature, constants = _common(kind), _constants(tile, w)
            for flag, pointer, dtype in ((with_state, "state_in_ptr", kind), (with_ids, "ids_ptr", "i32")):
                if flag:
                    signature[pointer] = f"*{dtype}"
                else:
                    constants[pointer] = None
            if name.startswith("forward"):
                kernel = forward.conv_forward
                signature |= {"y_ptr": f"*{kind}", "state_ptr": f"*{kind}"}
            else:
                kernel = backward.conv_backward
                constants["AHEAD"] = tile.ahead
                signature |= {"dy_ptr": f"*{kind}", "dx_ptr": f"*{kind}", "partial_ptr": "*fp32"}
                signature |= {"dy_stride_b": "i32:16", "dy_stride_l": "i32:16"}
                if with_state:
                    signature["dstate_in_ptr"] = f"*{kind}"
                else:
                    constants["dstate_in_ptr"] = None
            label = f"{name} w{w}" + " state" * with_state + " sequences" * with_ids
            found.append(Build("causal_conv1d", label, kernel, signature, constants, tile.num_warps, _STAGES, False))
    found.append(
        Build(
            "causal_conv1d",
            "sum of partial gradients w4",
            backward.conv_weight_gradients,
            {"partial_ptr": "*fp32", "dweight_ptr": "*fp32", "dbias_ptr": "*fp32", "P": "i32", "C": "i32:16"},
            {"W": 4, "BLOCK_P": backward.SUM_PROGRAMS, "BLOCK_C": backward.SUM_CHANNELS},
            backward.SUM_WARPS,
            _STAGES,
            False,
        )
    )
    step = {k: v for k, v in _common("bf16").items() if k not in ("L", "stride_l")}
    found.append(
        Build(
            "causal_conv1d",
            "step w4",
            forward.conv_step,
            step | {"state_ptr": "*bf16", "y_ptr": "*bf16"},
            {"W": 4, "SILU": True, "BLOCK_C": forward.STEP_CHANNELS},
            forward.STEP_WARPS,
            _STAGES,
            False,
        )
    )
    return found
