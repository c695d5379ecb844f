"""The two families: causality, sizes, initial weights, the optimiser, and that both can learn."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from eval_models import proxies
from eval_models.optimiser import Optimiser, orthogonalise
from eval_models.proxies import (
    PROXIES,
    Mamba2Config,
    MambaConfig,
    MissingExtra,
    ModelConfig,
    OptimiserConfig,
    StarCoderConfig,
    build_model,
    require_torch,
)
from eval_models.vocabulary import VOCABULARY_SIZE

SMALL = [
    MambaConfig(width=16, layers=2, states=3),
    Mamba2Config(width=16, layers=2, states=4, head_width=8, groups=2),
    StarCoderConfig(width=16, layers=2, heads=2, positions=24),
]


@pytest.mark.parametrize("config", SMALL, ids=lambda c: c.family)
def test_a_prediction_depends_on_the_past_only(config: ModelConfig) -> None:
    model = build_model(config, 0)
    tokens = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[:, 10] = (changed[:, 10] + 1) % 256
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert before.shape == (2, 24, VOCABULARY_SIZE)
    torch.testing.assert_close(before[:, :10], after[:, :10])
    assert (before[:, 10:] - after[:, 10:]).abs().amax(-1).min() > 1e-6  # every later position hears of it


@pytest.mark.parametrize("size", ["tiny", "small", "10m"])
def test_the_families_have_nearly_the_same_size(size: str) -> None:
    counts = [
        sum(p.numel() for p in build_model(PROXIES[f"{family}-{size}"].model, 0).parameters())
        for family in ("mamba", "mamba2", "starcoder")
    ]
    assert max(counts) < 1.15 * min(counts)
    assert size != "10m" or 0.9e7 < min(counts) and max(counts) < 1.1e7
    for proxy in PROXIES.values():
        assert proxy.model.flops_per_token(proxy.window) > 0


@pytest.mark.parametrize("config", SMALL, ids=lambda c: c.family)
def test_initial_weights_depend_on_the_seed_alone(config: ModelConfig) -> None:
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = build_model(config, 5).state_dict()
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(2)
    second, other = build_model(config, 5).state_dict(), build_model(config, 6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])


def test_published_initial_values() -> None:
    mamba = build_model(MambaConfig(width=64, layers=3), 0)
    mixer = mamba.mixers[0]
    assert torch.equal(mixer.A_log[0], torch.log(torch.arange(1.0, 17.0)))
    dt = F.softplus(mixer.dt_bias)
    assert dt.min() > 0.9e-3 and dt.max() < 0.11
    star = build_model(StarCoderConfig(width=64, layers=2, heads=4, positions=32), 0)
    assert star.blocks[0].attention.in_proj.out_features == 64 + 2 * 16  # one key, one value
    assert star.blocks[0].fc1.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert star.blocks[0].fc2.weight.std().item() == pytest.approx(64**-0.5 / 2, rel=0.05)
    with pytest.raises(ValueError, match="at most 32"):
        star(torch.zeros(1, 33, dtype=torch.int64))
    with pytest.raises(ValueError, match="multiple of heads"):
        StarCoderConfig(width=10, layers=1, heads=4, positions=8)
    with pytest.raises(ValueError, match="multiple of kv_heads"):
        StarCoderConfig(width=12, layers=1, heads=4, positions=8, kv_heads=3)
    mixer = build_model(Mamba2Config(width=64, layers=3), 0).mixers[0]
    assert mixer.in_proj.out_features == 2 * 128 + 2 * 128 + 2 + 6  # gate, x, B, C, dt of two heads, up to 8
    assert mixer.A_log.exp().min() >= 1 and mixer.A_log.exp().max() <= 16
    dt = F.softplus(mixer.dt_bias)
    assert dt.min() > 0.9e-3 and dt.max() < 0.11
    with pytest.raises(ValueError, match="multiple of head_width"):
        Mamba2Config(width=64, layers=1, head_width=48)


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 6, 6)])
def test_orthogonalise(shape: tuple[int, int, int]) -> None:
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.3 and values.max() < 1.3


def test_schedule() -> None:
    config = OptimiserConfig(muon_learning_rate=1, adam_learning_rate=1, warm_up=0.1, decay=0.5)
    factors = [config.factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9:50] == [1.0] * 41
    assert factors == [*sorted(factors[:50]), *sorted(factors[50:], reverse=True)]
    assert 0 < factors[-1] < 0.03
    assert config.factor(0, 1) > 0


@pytest.mark.parametrize("config", SMALL, ids=lambda c: c.family)
def test_learns_a_tiny_text_by_heart(config: ModelConfig) -> None:
    torch.set_num_threads(1)
    model = build_model(config, 0)
    optimiser = Optimiser(model, OptimiserConfig(muon_learning_rate=0.03, adam_learning_rate=0.02))
    text = torch.tensor([list(b"to be or not to be, that "), list(b"whether 'tis nobler in th")])
    for step in range(150):
        loss = F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())
        loss.backward()
        optimiser.step(optimiser.config.factor(step, 150))
    assert loss.item() < 0.15  # nats; the text has about 2.6 as single bytes


def test_names_are_known_without_torch_and_training_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, eval_models.proxies, eval_models.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"gristmill\[proxy\]"):
        require_torch()
    assert proxies.MissingExtra is MissingExtra
