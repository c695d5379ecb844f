"""Gluon, Triton's language with explicit layouts, where kernels are compiled; Triton's interpreter where they are not.

The time-sequential kernels live from where their numbers lie, so they say it.  The interpreter knows no layouts and
no Gluon: there the same functions run as Triton's, and layouts are None.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

INTERPRETED = bool(triton.knobs.runtime.interpret)


class _Shared:
    """A piece of shared memory: what was stored last."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def store(self, value: Any) -> None:
        self.value = value

    def load(self, layout: None) -> Any:
        return self.value

    def slice(self, start: int, length: int, dim: int) -> _Shared:
        wide = self.value.to(tl.float32)
        made = tl.zeros([wide.shape[0], length], tl.float32)
        for i in range(length):
            column = tl.sum(tl.where(self._column() == start + i, wide, 0.0), 1)
            made = tl.where(tl.arange(0, length)[None, :] == i, column[:, None], made)
        return _Shared(made)

    def _column(self) -> Any:
        return tl.arange(0, self.value.shape[1])[None, :]


class _WithoutLayouts:
    """The names of Gluon that the kernels use, on Triton's language."""

    def __getattr__(self, name: str) -> Any:
        return getattr(tl, name)  # looked up at each call: the interpreter swaps these functions

    def BlockedLayout(self, *_: Any) -> None:
        return None

    def SliceLayout(self, *_: Any) -> None:
        return None

    def arange(self, start: int, end: int, layout: None) -> Any:
        return tl.arange(start, end)

    def zeros(self, shape: list[int], dtype: Any, layout: None) -> Any:
        return tl.zeros(shape, dtype)

    def SwizzledSharedLayout(self, *_: Any) -> None:
        return None

    def allocate_shared_memory(self, dtype: Any, shape: list[int], layout: None) -> _Shared:
        return _Shared()

    def convert_layout(self, value: Any, layout: None) -> Any:
        return value


if INTERPRETED:
    gl: Any = _WithoutLayouts()
    jit: Any = triton.jit
else:
    from triton.experimental import gluon
    from triton.experimental.gluon import language

    gl, jit = language, gluon.jit
