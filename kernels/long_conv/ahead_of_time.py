"""Every kernel of the long convolution in every chosen configuration."""

from __future__ import annotations

from typing import Any

from kernels.ahead_of_time import Build
from kernels.long_conv import backward, forward, hopper
from kernels.long_conv.tiles import FLOAT, HALF, Tile

OP = "long_conv"


def _toeplitz(kind: str, tile: Tile, back: bool) -> Build:
    copies = 4 if kind == "fp32" else 8
    box = f"tensordesc<{kind}[1,{tile.block_r},{tile.block_k}]>"
    signature = {
        "in_desc": box,
        "taps_desc": f"tensordesc<{kind}[1,{tile.q // copies},{copies},{tile.block_k}]>",
        "out_desc": f"tensordesc<{kind}[1,{tile.block_r},{tile.q}]>",
        "rows": "i32", "batch": "i32", "tiles": "i32", "groups": "i32",
    }  # fmt: skip
    constants = {
        "Q": tile.q,
        "BLOCK_R": tile.block_r,
        "BLOCK_K": tile.block_k,
        "BACKWARD": back,
    }
    label = f"{kind} {tile.block_r}x{tile.q}" + (" backward" if back else "")
    return Build(
        OP,
        label,
        forward.toeplitz,
        signature,
        constants,
        tile.num_warps,
        tile.num_stages,
        kind != "fp32",
    )


def _products(kind: str, tile: Tile) -> Build:
    part = tile.q // tile.parts
    box = f"tensordesc<{kind}[1,{tile.block_rows},{part}]>"
    signature = {
        "g_desc": box, "v_desc": box, "partial_ptr": "*fp32", "rows": "i32", "batch": "i32", "blocks": "i32",
        "groups": "i32",
    }  # fmt: skip
    constants = {"Q": tile.q, "PARTS": tile.parts, "BLOCK_K": tile.block_rows}
    return Build(
        OP, f"{kind} {part}", backward.taps_products, signature, constants, tile.taps_warps, tile.taps_stages,
        kind != "fp32",
    )  # fmt: skip


def _resident(parts: int, back: bool) -> Build:
    rows = f"tensordesc<bf16[1, 64, 64],{hopper.ROWS_LAYOUT!r}>"
    taps = f"tensordesc<bf16[1, 16, 8, 64],{hopper.TAPS_LAYOUT!r}>"
    signature = {
        "in_desc": rows, "taps_desc": taps, "out_desc": rows, "rows": "i32", "batch": "i32", "blocks": "i32",
        "groups": "i32",
    }  # fmt: skip
    constants: dict[str, object] = {
        "PARTS": parts,
        "SLOTS": hopper.SLOTS[parts],
        "BACKWARD": back,
    }
    label = f"bf16 resident {256 * parts}" + (" backward" if back else "")
    return Build(OP, label, hopper.toeplitz_resident, signature, constants, 4, 3, True)


def _pass(kernel: Any, pointers: dict[str, str], strides: list[str], wide: bool, flags: dict[str, bool]) -> Build:
    """A pass between [b, l, d] and blocks, which hold bf16 for products and fp32 (`wide`) for transforms."""
    signature = {name: "*fp32" if kind == "blocks" and wide else "*bf16" for name, kind in pointers.items()}
    signature |= {"length": "i32", "width": "i32:16", "blocks": "i32", "groups": "i32", "size": "i32"}
    signature |= {f"{name}_{axis}": "i32:16" for name in strides for axis in ("batch", "time")}
    constants: dict[str, object] = {"Q": HALF.q, "BLOCK_C": 32 if wide else 64, **flags}
    return Build(OP, "bf16 and fp32 blocks" if wide else "bf16", kernel, signature, constants, 4, 3, False)


def _passes(wide: bool) -> list[Build]:
    turned = {"REVERSED": not wide}
    u, blocks = "u", "blocks"
    return [
        _pass(forward.to_blocks, {"a_ptr": u, "b_ptr": u, "out_ptr": blocks}, ["a", "b"], wide, turned),
        _pass(forward.from_blocks, {"in_ptr": blocks, "gate_ptr": u, "out_ptr": u}, ["gate"], wide, {}),
        _pass(
            backward.enter,
            {"dy_ptr": u, "gate_ptr": u, "mixed_ptr": blocks, "g_ptr": blocks, "dgate_ptr": u},
            ["dy", "gate"],
            wide,
            {},
        ),
        _pass(
            backward.leave,
            {"dv_ptr": blocks, "u_ptr": u, "gate_ptr": u, "du_ptr": u, "dgate_ptr": u},
            ["u", "gate"],
            wide,
            turned,
        ),
    ]


def builds() -> list[Build]:
    found = [_resident(parts, back) for parts in (1, 2) for back in (False, True)]
    found += [_toeplitz(kind, HALF, back) for kind in ("bf16", "fp16") for back in (False, True)]
    found += [_toeplitz("fp32", FLOAT, False), _products("bf16", HALF), _products("fp32", FLOAT)]
    found += [*_passes(False), *_passes(True)]
    taps = {
        "k_ptr": "*fp32", "direct_ptr": "*fp32", "out_ptr": "*bf16", "length": "i32", "k_stride": "i32",
        "width": "i32:16",
    }  # fmt: skip
    sums = {"partial_ptr": "*fp32", "dk_ptr": "*fp32", "length": "i32", "blocks": "i32"}
    constants: dict[str, object] = {"Q": HALF.q, "COPIES": 8, "BLOCK": 1024}
    found.append(Build(OP, "bf16", forward.shifted_taps, taps, constants, 4, 3, False))
    part = HALF.q // HALF.parts
    found.append(Build(OP, f"fp32 {part}", backward.taps_sums, sums, {"Q": part, "BLOCK": 1024}, 4, 3, False))
    return found
