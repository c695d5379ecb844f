"""The loss of an output layer in plain PyTorch: the definition.

    z = x W^T        nats_i = log sum_v exp(z_iv) - z_i,target(i)

The gradients that the kernels compute, with p = softmax(z), onehot the targets and g_i the upstream gradient of nats_i:

    dz = g (p - onehot)        dx = dz W        dW = dz^T x
"""

from __future__ import annotations

import torch
from torch import Tensor


def token_nats(x: Tensor, weight: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """x [t, d], weight [v, d], target [t] -> [t], in fp32 (fp64 if x is); zero where target is ignore_index."""
    precision = torch.promote_types(x.dtype, torch.float32)
    logits = x.to(precision) @ weight.to(precision).mT
    ignored = target == ignore_index
    chosen = logits.gather(1, target.masked_fill(ignored, 0)[:, None])[:, 0]
    return (torch.logsumexp(logits, 1) - chosen).masked_fill(ignored, 0.0)
