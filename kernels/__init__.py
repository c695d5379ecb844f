"""Operations of the proxy models, one folder each: the definition, and what runs in training."""

from __future__ import annotations

from kernels.selective_scan import selective_scan

__all__ = ["selective_scan"]
