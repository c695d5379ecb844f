"""How the kernels of `ssd` read and write tiles: by the tensor memory accelerator.

A tensor is described on the host as [b, h, l, p]; what lies outside reads as zero and is not written, so tiles need
neither masks nor addresses: a third less instructions, and registers enough for two programs on a multiprocessor.
On devices without that unit triton turns descriptors into ordinary addresses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from triton.tools.tensor_descriptor import TensorDescriptor


def describable(tensor: Tensor) -> bool:
    """Whether it begins at, and every axis but the last strides by, a multiple of 16 bytes."""
    if tensor.data_ptr() % 16 or tensor.stride(-1) != 1:
        return False
    multiple = 16 // tensor.element_size()
    # an axis of one element has no stride that matters
    return all(
        size == 1 or (s > 0 and s % multiple == 0)
        for size, s in zip(tensor.shape[:3], tensor.stride()[:3], strict=True)
    )


def described(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that can be described."""
    return tensor if describable(tensor) else tensor.clone(memory_format=torch.contiguous_format)


def padded(tensor: Tensor) -> Tensor:
    """Zeros appended until the last axis has a multiple of 16 bytes."""
    missing = -tensor.shape[-1] % (16 // tensor.element_size())
    return F.pad(tensor, (0, missing)) if missing else tensor


def describe(tensor: Tensor, rows: int, columns: int) -> Any:
    """The descriptor of [b, l, h, p] as [b, h, l, p], in tiles of rows x columns."""
    b, length, h, p = tensor.shape
    b_stride, l_stride, h_stride, _ = tensor.stride()
    allowed = 16 // tensor.element_size()
    strides = [b_stride if b > 1 else allowed, h_stride if h > 1 else allowed, l_stride if length > 1 else allowed, 1]
    return TensorDescriptor(tensor, [b, h, length, p], strides, [1, 1, rows, columns])


def describe_blocks(tensor: Tensor, rows: int | None = None) -> Any:
    """The descriptor of a contiguous [blocks, n, p], a block (or some rows of one) at a time."""
    _, n, p = tensor.shape
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), [1, rows or n, p])
