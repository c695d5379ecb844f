"""One run: a proxy, a variant of the corpus, a seed, a budget of bytes -> runs/<run id>/.

A run is complete if and only if result.json exists; it is written last.  A run that was killed goes on from
its checkpoint and, on a CPU with the same number of threads, ends bit-identical to one that was not: nothing
in training draws random numbers, so the state is the weights, the optimiser and the step.  On a GPU the steps
are replays of one CUDA graph (captured.py), and losses are read only when a line of metrics is due.
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from torch import Tensor, nn

import kernels
from eval_models.captured import DeviceSteps
from eval_models.data_order import TrainingData, training_data
from eval_models.layers import next_symbol_loss
from eval_models.ngram import NGram, piece_stream
from eval_models.optimiser import Optimiser
from eval_models.proxies import Proxy, build_model
from eval_models.score import (
    SCORES_SCHEMA,
    HeldOut,
    bits_per_byte,
    held_out_documents,
    macro,
    score_documents,
)
from eval_models.vocabulary import IGNORED

_GATE_ORDER = 2  # of the byte n-gram that a proxy must beat on equal bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is scored, and how often.  The same for every run of a study."""

    bytes_per_source: int = 196_608  # held-out bytes scored at the end, of each source
    bytes_per_document: int = 1_024  # of a longer document a part of this size is scored
    overlap: float = 0.25  # of a scoring window that is context only
    curve_points: int = 6  # evaluations for the learning curve, the last one after the last step
    curve_bytes_per_source: int = 8_192  # the same documents at every point

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"Evaluation: overlap {self.overlap}; 0 or more and below 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a run's numbers."""

    variant: str
    proxy_name: str
    proxy: Proxy
    seed: int
    budget_bytes: int
    mix: dict[str, float] | None
    evaluation: Evaluation
    corpus_manifest_sha256: str
    device: str  # cpu or cuda
    threads: int  # on a CPU the order of sums, so the last bits of a result, depend on it
    code_sha256: str
    torch_version: str = torch.__version__

    @property
    def run_id(self) -> str:
        return f"{self.variant}.{self.proxy_name}.seed{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        found = dataclasses.asdict(self)
        found["proxy"]["model"]["family"] = self.proxy.model.family
        found["dtype"] = "bfloat16 autocast" if self.device == "cuda" else "float32"
        return json.loads(json.dumps(found))

    def sha256(self) -> str:
        return _sha256(self.as_dict())

    def run_sha256(self) -> str:
        """The same for a run wherever it goes on: without device, dtype, threads, code and version of torch."""
        found = self.as_dict()
        return _sha256({name: found[name] for name in found if name not in _PLACE})


_PLACE = ("device", "dtype", "threads", "torch_version", "code_sha256")


def _sha256(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def code_sha256() -> str:
    """Of the modules that decide a run's numbers; statistics and report are not among them."""
    here = Path(__file__).parent
    names = (
        "captured",
        "data_order",
        "layers",
        "mamba",
        "mamba2",
        "ngram",
        "optimiser",
        "proxies",
        "score",
        "starcoder",
        "train",
        "vocabulary",
    )
    files = [here / f"{name}.py" for name in names]
    package = here.parent / "kernels"
    files += sorted(package.rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(here.parent) if file.is_relative_to(package) else file.name
        digest.update(str(name).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes through `write(temporary name)`, makes it durable, then gives it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_complete(run_dir: Path, config: RunConfig) -> bool:
    """True if result.json is there and was made from this very configuration."""
    try:
        return json.loads((run_dir / "result.json").read_text())["config_sha256"] == config.sha256()
    except (OSError, ValueError, KeyError):
        return False


def keep_memory() -> None:
    """Tells glibc to keep freed memory: returning it costs a page fault per 4 KiB of every large tensor."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # not in musl
            mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD at its maximum
            mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


class _Trainer:
    """The state of a run between two steps."""

    def __init__(self, config: RunConfig, data: TrainingData) -> None:
        self.config, self.data = config, data
        self.device = torch.device(config.device)
        self.model: nn.Module = build_model(config.proxy.model, config.seed).to(self.device)
        self.optimiser = Optimiser(self.model, config.proxy.optimiser, half=self.autocast)
        self.step = 0
        self.bytes_seen = 0
        self.nats_since = 0.0  # of byte and mark targets since the last line of metrics
        self.targets_since = 0
        self.cpu_seconds = self.wall_seconds = 0.0
        self.metrics: list[dict[str, Any]] = []
        rows, batch = len(data.inputs), config.proxy.batch
        self.steps = max(1, round(rows / batch))
        # the remainder is spread over the steps, so that all of the budget is seen and no step is much
        # smaller
        self.bounds = np.linspace(0, rows, self.steps + 1).round().astype(int)
        self.device_steps: DeviceSteps | None = None
        if self.device.type == "cuda":
            factors = np.array([config.proxy.optimiser.factor(step, self.steps) for step in range(self.steps)])
            self.device_steps = DeviceSteps(
                self.model, self.optimiser, self.loss, data.inputs, data.targets, self.bounds, factors, self.device
            )

    @property
    def autocast(self) -> bool:
        return self.device.type == "cuda"

    def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return next_symbol_loss(model, inputs, targets)[0]

    def train_step(self) -> None:
        low, high = self.bounds[self.step], self.bounds[self.step + 1]
        wanted = self.data.targets[low:high]
        if self.device_steps is not None:
            self.device_steps.run()
        else:
            inputs, targets = (
                torch.from_numpy(array[low:high].astype(np.int64)) for array in (self.data.inputs, self.data.targets)
            )
            loss = self.loss(self.model, inputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step(self.config.proxy.optimiser.factor(self.step, self.steps))
            self._count(self.step, float(loss.detach()))
        self.bytes_seen += int(((wanted >= 0) & (wanted < 256)).sum())
        self.step += 1

    def _count(self, step: int, loss: float) -> None:
        counted = int((self.data.targets[self.bounds[step] : self.bounds[step + 1]] != IGNORED).sum())
        self.nats_since += loss * counted
        self.targets_since += counted

    def collect(self) -> None:
        """Waits for the steps that a GPU still runs, and counts their losses."""
        if self.device_steps is not None:
            first, losses = self.device_steps.collect()
            for step, loss in enumerate(losses.tolist(), first):
                self._count(step, loss)
            self.optimiser.step_count = self.step

    def log(self, curve: HeldOut | None) -> None:
        """One line of metrics; scores `curve` if it is given."""
        self.collect()
        factor = self.config.proxy.optimiser.factor(max(0, self.step - 1), self.steps)
        line: dict[str, Any] = {
            "step": self.step,
            "bytes_seen": self.bytes_seen,
            "train_bits_per_byte": self.nats_since / math.log(2) / max(1, self.targets_since),
            "learning_rate": self.config.proxy.optimiser.muon_learning_rate * factor,
        }
        if curve is not None:
            line["slices"] = slice_scores(curve, self.score(curve))
            line["held_out_bits_per_byte"] = macro(line["slices"])
        self.nats_since, self.targets_since = 0.0, 0
        self.metrics.append(line)

    def score(self, held_out: HeldOut) -> np.ndarray:
        window = self.config.proxy.window
        overlap = int(window * self.config.evaluation.overlap)
        return score_documents(self.model, held_out.texts, window=window, overlap=overlap, autocast=self.autocast)

    def save(self, path: Path) -> None:
        self.collect()
        state = {
            "config_sha256": self.config.sha256(),
            "run_sha256": self.config.run_sha256(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        write_atomically(path, lambda temporary: torch.save(state, temporary))

    def restore(self, path: Path, *, moved: bool = False) -> bool:
        """Goes on from a checkpoint of this configuration; one of another configuration is not used.

        moved: one that the same run left on another device, or under another version, is used too.
        """
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        same = state.get("run_sha256") == self.config.run_sha256() if moved else False
        if not same and state["config_sha256"] != self.config.sha256():
            return False
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name in _COUNTERS:
            setattr(self, name, state[name])
        if self.device_steps is not None:
            self.device_steps.start_at(self.step)
        return True


_COUNTERS = (
    "step",
    "bytes_seen",
    "nats_since",
    "targets_since",
    "cpu_seconds",
    "wall_seconds",
    "metrics",
)


def slice_scores(held_out: HeldOut, nats: np.ndarray) -> dict[str, float]:
    """Bits per byte of each source."""
    return bits_per_byte(nats, held_out.table["bytes"].to_numpy(), held_out.table["source"].to_pylist())


def gate_scores(data: TrainingData, held_out: HeldOut, order: int = _GATE_ORDER) -> dict[str, float]:
    """Bits per byte of each source under the byte n-gram of `order` trained on the bytes that the run saw."""
    windows = data.windows
    model = NGram(order).fit(piece_stream(data.pieces, windows.length, windows.offset, order))
    sources = held_out.table["source"].to_pylist()
    return {
        name: model.bits_per_byte([t for t, s in zip(held_out.texts, sources, strict=True) if s == name])
        for name in sorted(set(sources))
    }


def train_run(
    corpus: Path,
    run_dir: Path,
    config: RunConfig,
    *,
    checkpoint_seconds: float = 30.0,
    keep_checkpoint: bool = False,
    moved: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Trains and scores one run, or goes on with it; returns what result.json holds.

    corpus: corpora/<variant>.  moved: a checkpoint that the run left on another device is gone on from, and its
    result is then that of neither device alone; else such a run starts again.  on_step(step, steps) is called
    after every step.  The caller sets the number of torch threads to config.threads.  Memory: the budget's
    windows (see data_order) and the model.
    """
    proxy, evaluation = config.proxy, config.evaluation
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "result.json").unlink(missing_ok=True)
    text = yaml.safe_dump(config.as_dict(), sort_keys=True)
    write_atomically(run_dir / "config.yaml", lambda p: p.write_text(text))
    wall, cpu = time.monotonic(), time.process_time()
    kernels.forget()
    data = training_data(
        corpus,
        window=proxy.window,
        budget_bytes=config.budget_bytes,
        seed=config.seed,
        mix=config.mix,
        fim_rate=proxy.fim_rate,
    )
    held_out = held_out_documents(corpus, evaluation.bytes_per_source, evaluation.bytes_per_document)
    curve = held_out.head(evaluation.curve_bytes_per_source)
    trainer = _Trainer(config, data)
    checkpoint = run_dir / "checkpoint.pt"
    trainer.restore(checkpoint, moved=moved)
    points = {round(trainer.steps * (i + 1) / evaluation.curve_points) for i in range(evaluation.curve_points)}
    every = max(1, trainer.steps // 50)
    saved = time.monotonic()

    def spend() -> None:
        nonlocal wall, cpu
        now, used = time.monotonic(), time.process_time()
        trainer.wall_seconds += now - wall
        trainer.cpu_seconds += used - cpu
        wall, cpu = now, used

    while trainer.step < trainer.steps:
        trainer.train_step()
        last = trainer.step == trainer.steps
        if trainer.step in points:
            trainer.log(curve)
        elif trainer.step % every == 0:
            trainer.log(None)
        if on_step is not None:
            on_step(trainer.step, trainer.steps)
        if time.monotonic() - saved >= checkpoint_seconds and not last:
            spend()
            trainer.save(checkpoint)
            saved = time.monotonic()
    nats = trainer.score(held_out)
    slices = slice_scores(held_out, nats)
    gate = gate_scores(data, held_out)
    macro_bits, gate_bits = macro(slices), macro(gate)
    spend()
    result = {
        "run_id": config.run_id,
        "variant": config.variant,
        "proxy": config.proxy_name,
        "family": proxy.model.family,
        "seed": config.seed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "steps": trainer.steps,
        "bytes_seen": trainer.bytes_seen,
        "unique_bytes": data.unique_bytes,
        "epochs": float(data.windows.length.sum() / data.unique_bytes),
        "train_bits_per_byte": float(np.mean([m["train_bits_per_byte"] for m in trainer.metrics[-5:]])),
        "held_out": slices,
        "macro_bits_per_byte": macro_bits,
        "ngram2_bits_per_byte": gate_bits,
        "ngram2": gate,
        "healthy": bool(math.isfinite(macro_bits) and macro_bits < gate_bits),
        "wall_seconds": round(trainer.wall_seconds, 3),
        "cpu_seconds": round(trainer.cpu_seconds, 3),
        "flops": proxy.model.flops_per_token(proxy.window) * int(data.inputs.size),
        "device": config.device,
        "paths": {op: path.last for op, path in kernels.report().items()},
        "corpus_manifest_sha256": config.corpus_manifest_sha256,
        "config_sha256": config.sha256(),
    }
    scores = held_out.table.append_column("nats", pa.array(nats)).cast(SCORES_SCHEMA)
    lines = "".join(json.dumps(line) + "\n" for line in trainer.metrics)
    write_atomically(run_dir / "metrics.jsonl", lambda p: p.write_text(lines))
    write_atomically(run_dir / "scores.parquet", lambda p: pq.write_table(scores, p, compression="zstd"))
    if keep_checkpoint:
        trainer.save(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)
    write_atomically(run_dir / "result.json", lambda p: p.write_text(json.dumps(result, indent=2) + "\n"))
    return result
