"""Kernels and chosen tiles of the selective scan, as training and decoding at n 16, 64 and 128 call them: with every
optional argument but a state."""

from __future__ import annotations

from kernels.ahead_of_time import Build
from kernels.selective_scan.tiles import STEP_VALUES, STEP_WARPS, Tile, chosen, padded

OP = "selective_scan"
_NARROW = {
    "x_ptr",
    "dt_ptr",
    "B_ptr",
    "C_ptr",
    "z_ptr",
    "y_ptr",
    "ungated_ptr",
    "dout_ptr",
    "dx_ptr",
    "ddt_ptr",
    "dz_ptr",
}
_ROUND = {"width", "group_width", "x_row", "dt_row", "z_row", "dout_row"}  # multiples of 16


_MANY, _FEW = 16384, 4096  # channels of all sequences: the two classes of tiles


def builds() -> list[Build]:
    found = []
    for dtype in ("bf16", "fp32"):
        for n, channels in ((16, _MANY), (16, _FEW), (64, _MANY), (128, _MANY)):
            found += [_forward(dtype, n, channels, False), _backward(dtype, n, channels, False)]
        found += [_forward(dtype, 16, _MANY, True), _backward(dtype, 16, _MANY, True), _sums(dtype, 16)]
    found += [_forward("bf16", 16, _MANY, True, training=False), _backward("bf16", 16, _FEW, True)]
    found += [_forward("bf16", 256, _MANY, False), _backward("bf16", 256, _MANY, False)]
    return [*found, _backward("fp16", 16, _FEW, True), _step("bf16", 16), _step("fp32", 64)]


def _forward(dtype: str, n: int, channels: int, whole: bool, training: bool = True) -> Build:
    from kernels.selective_scan.forward import selective_scan_forward

    tile, kept = chosen(padded(n), dtype != "fp32", channels)
    constants = {**_of_tile(tile, n, whole), "KEPT": kept.steps, "state_in_ptr": None}
    if not training:
        constants |= {"ungated_ptr": None, "entering_ptr": None}
    label = f"{'forward' if training else 'inference'} {dtype} n{n} {_said(channels, whole)}"
    return _build(label, selective_scan_forward, dtype, constants, tile.warps)


def _backward(dtype: str, n: int, channels: int, whole: bool) -> Build:
    from kernels.selective_scan.backward import selective_scan_backward

    tile = chosen(padded(n), dtype != "fp32", channels)[1]
    constants = {**_of_tile(tile, n, whole), "PAIR": tile.pair, "dstate_ptr": None, "dstate_in_ptr": None}
    label = f"backward {dtype} n{n} {_said(channels, whole)}"
    return _build(label, selective_scan_backward, dtype, constants, tile.warps)


def _sums(dtype: str, n: int) -> Build:
    from kernels.selective_scan.backward import sum_over_programs

    tile = chosen(padded(n), dtype != "fp32", _MANY)[1]
    constants = dict(N=n, LANES=tile.lanes, S=tile.states, PAIR=tile.pair, ROWS=max(1, 512 // padded(n)))
    signature = {"partials_ptr": "*fp32", "dB_ptr": f"*{dtype}", "dC_ptr": f"*{dtype}", "rows": "i32", "blocks": "i32"}
    return Build(OP, f"sum over programs {dtype} n{n}", sum_over_programs, signature, constants, 4, 3, False)


def _of_tile(tile: Tile, n: int, whole: bool) -> dict[str, object]:
    sizes = {"N": n, "T": tile.steps, "E": tile.channels, "LANES": tile.lanes, "S": tile.states}
    return {**sizes, "WARPS": tile.warps, "PACKED": tile.packed, "WHOLE": whole, "SOFTPLUS": True}


def _said(channels: int, whole: bool) -> str:
    return f"{'many' if channels == _MANY else 'few'} {'whole tiles' if whole else 'ragged'}"


def _build(label: str, kernel: object, dtype: str, constants: dict[str, object], warps: int) -> Build:
    signature = {}
    for name in kernel.arg_names:  # type: ignore[attr-defined]
        if name in constants:
            continue
        if name.endswith("_ptr"):
            signature[name] = f"*{dtype}" if name in _NARROW else "*fp32"
        else:
            signature[name] = "i32:16" if name in _ROUND else "i32"
    return Build(OP, label, kernel, signature, constants, warps, 3, False)


def _step(dtype: str, n: int) -> Build:
    from kernels.selective_scan.step import selective_scan_step_kernel

    wide = padded(n)
    constants: dict[str, object] = dict(
        N=n, N_PADDED=wide, E=STEP_VALUES // wide, GROUPED=False, SOFTPLUS=True, WARPS=STEP_WARPS
    )
    return _build(f"step {dtype} n{n}", selective_scan_step_kernel, dtype, constants, STEP_WARPS)
