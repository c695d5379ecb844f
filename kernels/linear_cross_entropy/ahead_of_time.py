"""Every kernel of the output layer in every chosen configuration."""

from __future__ import annotations

from triton.experimental.gluon import language as gl

from kernels.ahead_of_time import Build
from kernels.linear_cross_entropy import backward, forward, hopper
from kernels.linear_cross_entropy.tiles import FLOAT, HALF, WIDE, Tile, slots

OP = "linear_cross_entropy"


def _exponentials(kind: str, out: str, tile: Tile, store: bool) -> Build:
    signature = {
        "x_desc": f"tensordesc<{kind}[{tile.block_t},{tile.block_d}]>",
        "weight_desc": f"tensordesc<{kind}[{tile.block_v},{tile.block_d}]>",
        "target_ptr": "*i64", "base_ptr": "*fp32", "sums_ptr": "*fp32", "shifts_ptr": "*fp32",
        "row_first": "i32", "rows": "i32", "vocabulary": "i32", "tables": "i32:16", "width": "i32:16",
    }  # fmt: skip
    constants: dict[str, object] = {
        "BLOCK_T": tile.block_t, "BLOCK_V": tile.block_v, "BLOCK_D": tile.block_d, "STORE": store,
    }  # fmt: skip
    if store:
        signature["e_desc"] = f"tensordesc<{out}[{tile.block_t},{tile.block_v}]>"
    else:
        constants["e_desc"] = None
    label = f"{kind} {tile.block_t}x{tile.block_v}" + (" train" if store else " score")
    return Build(OP, label, forward.exponentials, signature, constants, tile.num_warps, tile.num_stages, kind != "fp32")


def _streaming(d: int, slots: int, store: bool) -> Build:
    layout = gl.NVMMASharedLayout.get_default_for([128, 64], gl.bfloat16)
    box = f"tensordesc<bf16[128, 64],{layout!r}>"
    signature = {
        "x_desc": box, "weight_desc": box, "target_ptr": "*i64", "base_ptr": "*fp32", "sums_ptr": "*fp32",
        "shifts_ptr": "*fp32", "row_first": "i32", "rows": "i32", "vocabulary": "i32", "tables": "i32:16",
        "tiles": "i32", "per_program": "i32",
    }  # fmt: skip
    constants: dict[str, object] = {"PIECES": d // 64, "SLOTS": slots, "STORE": store}
    if store:
        signature["e_desc"] = box
    else:
        constants["e_desc"] = None
    label = f"bf16 d{d} streaming" + (" train" if store else " score")
    return Build(OP, label, hopper.exponentials_streaming, signature, constants, 4, 3, True)


def builds() -> list[Build]:
    found = [_streaming(d, slots(d, store), store) for d in (256, 512) for store in (True, False)]
    found += [_exponentials("bf16", "bf16", HALF, store) for store in (True, False)]
    found.append(_exponentials("bf16", "bf16", WIDE, False))
    found += [_exponentials("fp16", "bf16", HALF, True), _exponentials("fp32", "fp32", FLOAT, True)]
    found.append(
        Build(
            OP, "bf16", forward.target_logits,
            {"x_ptr": "*bf16", "weight_ptr": "*bf16", "target_ptr": "*i64", "base_ptr": "*fp32", "rows": "i32",
             "vocabulary": "i32", "width": "i32:16"},
            {"BLOCK_T": 16, "BLOCK_D": 256}, 4, 3, False,
        )
    )  # fmt: skip
    finish = {
        "e_ptr": "*bf16", "x_ptr": "*bf16", "scaled_ptr": "*bf16", "target_ptr": "*i64", "sums_ptr": "*fp32",
        "shifts_ptr": "*fp32", "nats_ptr": "*fp32", "coefficient_ptr": "*fp32", "row_first": "i32", "rows": "i32",
        "vocabulary": "i32", "ignore_index": "i32", "e_stride": "i32:16", "tables": "i32:16", "tiles": "i32",
        "width": "i32:16",
    }  # fmt: skip
    constants: dict[str, object] = {
        "BLOCK_T": 16, "BLOCK_D": 256, "BLOCK_TILES": 32, "BLOCK_V": HALF.block_v, "TRAIN": True,
    }  # fmt: skip
    found.append(Build(OP, "bf16", forward.finish_rows, finish, {**constants, "upstream_ptr": None}, 4, 3, False))
    found.append(
        Build(OP, "bf16 per token", forward.finish_rows, {**finish, "upstream_ptr": "*fp32"}, constants, 4, 3, False)
    )
    for source, out, label in (("*bf16", "*bf16", "dx"), ("*fp32", "*bf16", "dW")):
        signature = {
            "in_ptr": source,
            "scale_ptr": "*fp32",
            "out_ptr": out,
            "rows": "i32",
            "in_width": "i32:16",
            "width": "i32:16",
        }
        rest: dict[str, object] = {"BLOCK_T": 16, "BLOCK_D": 256}
        if label == "dx":
            signature["factor_ptr"] = "*fp32"
        else:
            rest["factor_ptr"] = None
        found.append(Build(OP, label, backward.scale_rows, signature, rest, 4, 3, False))
    return found
