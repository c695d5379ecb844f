"""A whole training step: a 12-layer Mamba-2 and a GQA transformer of the same size, bf16, AdamW.

* Ours are the proxies of eval_models at width 512, over `kernels`.
* Peers are the same models with every part exchanged for a public kernel: mamba_ssm's fused mixer (convolution, SSD,
  gated norm and output projection in one function) and add+norm, fla's add+norm, Liger's linear + cross-entropy.
* The transformer also stands beside a plain one as in nanoGPT, compiled by torch.compile, with logits in memory.
* All use torch's fused AdamW.  The column `graph` replays a whole step; without it the host launches each kernel.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.gpu import Row, Work, optional, relative_error
from eval_models import layers, mamba2
from eval_models.layers import next_symbol_loss
from eval_models.proxies import Mamba2Config, StarCoderConfig, build_model
from kernels.dispatch import force

BATCH, LENGTH, WIDTH, LAYERS = 16, 2048, 512, 12
# The transformer has 2.8 million weights a layer, the Mamba-2 mixer 1.7: 7 against 12 layers are the same size.
MAMBA2 = Mamba2Config(width=WIDTH, layers=LAYERS, states=128)
TRANSFORMER = StarCoderConfig(width=WIDTH, layers=7, heads=8, kv_heads=2, positions=LENGTH)

ModelConfig = Mamba2Config | StarCoderConfig
Patches = Callable[[], contextlib.AbstractContextManager[Any]]


class PlainBlock(nn.Module):
    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        d, p = config.width, config.width // config.heads
        self.heads, self.kv_heads, self.p = config.heads, config.kv_heads, p
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv = nn.Linear(d, d + 2 * config.kv_heads * p)
        self.out = nn.Linear(d, d)
        self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        b, length, d = x.shape
        shared = self.kv_heads * self.p
        parts = self.qkv(self.norm1(x)).split((d, shared, shared), -1)
        q, k, v = (t.view(b, length, -1, self.p).transpose(1, 2) for t in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, length, d))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class PlainTransformer(nn.Module):
    """nanoGPT's model: logits in memory, a loss over them, everything left to the compiler."""

    def __init__(self, config: StarCoderConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Embedding(config.positions, config.width)
        self.blocks = nn.ModuleList(PlainBlock(config) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(config.width)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.embedding(tokens) + self.position(places)
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.last_norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def step_of(model: nn.Module, loss: Callable[[], Tensor], patches: Patches = contextlib.nullcontext) -> Work:
    """One training step of `model`: loss, gradients, AdamW."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True, capturable=True)

    def step() -> None:
        with patches(), torch.autocast("cuda", torch.bfloat16):
            value = loss()
            value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return step


# ------------------------------------------------------------------------------------------------ public parts


def liger_loss(x: Tensor, weight: Tensor, target: Tensor, **_: Any) -> tuple[Tensor, Tensor]:
    """Liger's with chunk_mem_const 16, its faster setting at these widths; gradients in bf16, its default."""
    module = optional("liger_kernel.ops.fused_linear_cross_entropy")
    assert module is not None
    apply = module.LigerFusedLinearCrossEntropyFunction.apply
    more = (None, None, -100, 0.0, 0.0, "mean", None, False, None, False, False, False, None, None, 16)
    return apply(x, weight.to(x.dtype), target, *more)[0], target


def fla_norm(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, residual: Tensor | None = None, eps: float = 1e-5
) -> Any:
    module = optional("fla.modules.norm.layernorm")
    assert module is not None
    plain = bias is None
    if residual is None:
        return module.layer_norm(x, weight, bias, eps=eps, is_rms_norm=plain)
    return module.layer_norm(x, weight, bias, residual, eps, True, True, plain)


def mamba_norm(x: Tensor, weight: Tensor, *, residual: Tensor | None = None, eps: float = 1e-5) -> Any:
    module = optional("mamba_ssm.ops.triton.layer_norm")
    assert module is not None
    if residual is None:
        return module.layer_norm_fn(x, weight, None, eps=eps, is_rms_norm=True)
    more = {"prenorm": True, "residual_in_fp32": True, "is_rms_norm": True, "eps": eps}
    return module.layer_norm_fn(x, weight, None, residual=residual, **more)


def mamba_mixer(self: mamba2.Mamba2Mixer, u: Tensor) -> Tensor:
    """mamba_ssm's training path of the whole mixer; needs causal_conv1d's CUDA extension."""
    module = optional("mamba_ssm.ops.triton.ssd_combined")
    assert module is not None
    config = self.config
    return module.mamba_split_conv1d_scan_combined(
        self.in_proj(u),
        self.conv_weight,
        self.conv_bias,
        self.dt_bias,
        -torch.exp(self.A_log),
        self.D,
        chunk_size=256,
        activation="silu",
        rmsnorm_weight=self.norm,
        rmsnorm_eps=1e-5,
        outproj_weight=self.out_proj.weight,
        headdim=config.head_width,
        ngroups=config.groups,
        norm_before_gate=False,
    )


def mamba_parts() -> dict[str, Callable[..., Any]]:
    """mamba_ssm's kernels one by one, with fla's convolution, where its fused mixer cannot be built."""
    combined = optional("mamba_ssm.ops.triton.ssd_combined")
    gated = optional("mamba_ssm.ops.triton.layernorm_gated")
    convolution = optional("fla.modules.causal_conv1d") or optional("fla.modules.convolution")
    assert combined and gated and convolution

    def conv(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, None]:
        kinds = (weight.to(x.dtype), bias.to(x.dtype))
        return convolution.causal_conv1d(x.contiguous(), *kinds, activation="silu", backend="triton")[0], None

    def mix(
        x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, *, D: Tensor, dt_bias: Tensor
    ) -> tuple[Tensor, None]:
        more = {"D": D, "dt_bias": dt_bias, "dt_softplus": True}
        return combined.mamba_chunk_scan_combined(x, dt, A, B, C, 256, **more), None

    def norm(y: Tensor, z: Tensor, weight: Tensor, *, group: int) -> Tensor:
        more = {"z": z, "eps": 1e-5, "group_size": group, "norm_before_gate": False}
        return gated.rmsnorm_fn(y, weight, None, **more)

    return {"causal_conv1d": conv, "ssd": mix, "gated_rms_norm": norm}


@contextlib.contextmanager
def fused_mamba() -> Iterator[None]:
    with (
        mock.patch.object(mamba2.Mamba2Mixer, "forward", mamba_mixer),
        mock.patch.multiple(layers, rms_norm=mamba_norm, linear_cross_entropy=liger_loss),
    ):
        yield


@contextlib.contextmanager
def mamba_by_parts() -> Iterator[None]:
    with (
        mock.patch.multiple(mamba2, **mamba_parts()),
        mock.patch.multiple(layers, rms_norm=mamba_norm, linear_cross_entropy=liger_loss),
    ):
        yield


@contextlib.contextmanager
def fla_liger() -> Iterator[None]:
    with mock.patch.multiple(layers, layer_norm=fla_norm, linear_cross_entropy=liger_loss):
        yield


# ------------------------------------------------------------------------------------------------ rows


def check_of(config: ModelConfig) -> Callable[[], float]:
    """Loss and gradients of a small model in bf16 over the kernels, against float32 over the definitions."""

    def check() -> float:
        found = []
        for path in ("triton", "reference"):
            model = build_model(config, 0).cuda()
            generator = torch.Generator(device="cuda").manual_seed(0)
            tokens = torch.randint(0, config.vocabulary, (2, 129), device="cuda", generator=generator)
            with force(path), torch.autocast("cuda", torch.bfloat16, enabled=path == "triton"):  # type: ignore[arg-type]
                loss, _ = next_symbol_loss(model, tokens[:, :-1], tokens[:, 1:].contiguous())
                loss.backward()  # type: ignore[no-untyped-call]
            gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            found.append([loss.detach().float(), gradients])
        return relative_error(*found)

    return check


def lazily(build: Callable[[], Work]) -> Work:
    """The work that `build` returns, which is called when it is first asked for."""
    kept: list[Work] = []

    def work() -> object:
        if not kept:
            kept.append(build())
        return kept[0]()

    return work


def row_of(name: str, config: ModelConfig, small: ModelConfig) -> Row:
    tokens, targets = (torch.randint(0, config.vocabulary, (BATCH, LENGTH), device="cuda") for _ in range(2))

    def over_kernels(patches: Patches = contextlib.nullcontext) -> Work:
        model = build_model(config, 0).cuda()
        return step_of(model, lambda: next_symbol_loss(model, tokens, targets)[0], patches)

    def compiled() -> Work:
        assert isinstance(config, StarCoderConfig)
        model = PlainTransformer(config).cuda()
        forward = torch.compile(model)
        return step_of(model, lambda: forward(tokens, targets))

    peers: dict[str, Work] = {}
    if isinstance(config, Mamba2Config):
        if optional("causal_conv1d") is not None:
            peers["mamba_ssm fused, Liger"] = lazily(lambda: over_kernels(fused_mamba))
        else:
            peers["mamba_ssm, fla, Liger"] = lazily(lambda: over_kernels(mamba_by_parts))
    else:
        peers["fla, Liger"] = lazily(lambda: over_kernels(fla_liger))
        peers["nanoGPT, torch.compile"] = lazily(compiled)
    weights = sum(p.numel() for p in build_model(config, 0).parameters())
    return Row(
        op=f"training step {name}",
        shape=f"b{BATCH} l{LENGTH} d{WIDTH} {config.layers} layers v{config.vocabulary}",
        pass_="step",
        ours=lazily(over_kernels),
        peers=peers,
        check=check_of(small),
        limit=2e-2,
        bytes=weights * 4.0 * 7,  # weights, gradients and two moments, read or written once
        flops=float(config.flops_per_token(LENGTH)) * BATCH * LENGTH,
        tokens=BATCH * LENGTH,
    )


def rows(quick: bool) -> Iterator[Row]:
    for vocabulary in (50304,) if quick else (50304, 264):
        yield row_of(
            "mamba2",
            dataclasses.replace(MAMBA2, vocabulary=vocabulary),
            Mamba2Config(width=128, layers=2, states=64, vocabulary=1000),
        )
        yield row_of(
            "gqa transformer",
            dataclasses.replace(TRANSFORMER, vocabulary=vocabulary),
            StarCoderConfig(width=128, layers=2, heads=4, kv_heads=2, positions=128, vocabulary=1000),
        )
