"""The sigmoid and the slope of silu inside Triton kernels."""

from __future__ import annotations

import math

import triton
import triton.language as tl

_MINUS_LOG2_E = tl.constexpr(-math.log2(math.e))
_INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x)) to 3 units in the last place: two instructions of the special unit, two of the others."""
    denominator = 1.0 + tl.exp2(x * _MINUS_LOG2_E)
    if _INTERPRETED:
        return 1.0 / denominator
    # A plain division adds a range check and two scalings an element.  Above 2**126 this one gives 0, which is right.
    return tl.inline_asm_elementwise(
        "rcp.approx.ftz.f32 $0, $1;", "=r,r", [denominator], dtype=tl.float32, is_pure=True, pack=1
    )


@triton.jit
def silu_slope(x, gate):  # type: ignore[no-untyped-def]
    """d(x sigmoid(x)) / dx, where gate = sigmoid(x)."""
    return gate + x * gate * (1.0 - gate)
