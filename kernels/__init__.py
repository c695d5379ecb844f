"""Operations of the proxy models, one folder each: the definition, and the kernels that run on a GPU.

Importing this needs torch, and neither triton nor a GPU.  Every call picks its path by the tensors that it gets
(dispatch.py); `report()` says which paths ran, how often and why.
"""

from __future__ import annotations

from kernels.attention import attention
from kernels.causal_conv1d import causal_conv1d, causal_conv1d_step
from kernels.dispatch import Path, forget, report
from kernels.linear_cross_entropy import linear_cross_entropy
from kernels.long_conv import long_conv
from kernels.norm import gated_rms_norm, layer_norm, rms_norm
from kernels.selective_scan import selective_scan, selective_scan_step
from kernels.ssd import ssd, ssd_replay, ssd_step

__all__ = [
    "Path",
    "attention",
    "causal_conv1d",
    "causal_conv1d_step",
    "forget",
    "gated_rms_norm",
    "layer_norm",
    "linear_cross_entropy",
    "long_conv",
    "report",
    "rms_norm",
    "selective_scan",
    "selective_scan_step",
    "ssd",
    "ssd_replay",
    "ssd_step",
]
