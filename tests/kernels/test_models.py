"""The proxies over the kernels: loss and gradients against those over the definitions, and which paths they took."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

import kernels
from eval_models.layers import next_symbol_loss
from eval_models.proxies import Mamba2Config, MambaConfig, ModelConfig, StarCoderConfig, build_model
from eval_models.vocabulary import IGNORED
from kernels.dispatch import force, forget

MODELS: dict[str, tuple[ModelConfig, set[str]]] = {
    "mamba": (
        MambaConfig(width=16, layers=1, states=16),
        {"rms_norm", "causal_conv1d", "selective_scan", "linear_cross_entropy"},
    ),
    "mamba2": (
        Mamba2Config(width=16, layers=1, states=16, head_width=16),
        {"rms_norm", "causal_conv1d", "ssd", "gated_rms_norm", "linear_cross_entropy"},
    ),
    "starcoder": (
        StarCoderConfig(width=16, layers=2, heads=2, positions=24),
        {"layer_norm", "linear_cross_entropy"},
    ),
}


@pytest.mark.parametrize("family", sorted(MODELS))
def test_the_kernels_give_loss_and_gradients_of_the_definitions(family: str, device: str, close) -> None:  # type: ignore[no-untyped-def]
    config, operations = MODELS[family]
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 256, (2, 11), generator=generator).to(device)
    targets = tokens[:, 1:].clone()
    targets[0, :3] = IGNORED

    def run(path: Literal["triton", "reference"]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        model = build_model(config, 0).to(device)
        forget()
        with force(path):
            loss, nats = next_symbol_loss(model, tokens[:, :-1], targets)
            loss.backward()  # type: ignore[no-untyped-call]
        assert {op for op, taken in kernels.report().items() if taken.last == path} >= operations
        return nats, [p.grad for p in model.parameters() if p.grad is not None]

    (nats, gradients), (wanted_nats, wanted) = run("triton"), run("reference")
    close(nats, wanted_nats, "fp32")
    assert len(gradients) == len(wanted)
    for found, right in zip(gradients, wanted, strict=True):
        close(found, right, 5e-5)  # float32 against float32 through all layers: 2.4e-5 on an H100
