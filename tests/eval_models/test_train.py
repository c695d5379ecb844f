"""One run and a whole study: files, resuming after SIGKILL, the health gate, pairing, dead workers."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from eval_models import runs
from eval_models.plan import StudyPlan
from eval_models.proxies import Mamba2Config, MambaConfig, OptimiserConfig, Proxy, StarCoderConfig
from eval_models.runs import (
    Event,
    StudyError,
    choose_jobs,
    plan_runs,
    run_config,
    run_study,
)
from eval_models.score import SCORES_SCHEMA
from eval_models.train import Evaluation, RunConfig, train_run

RATES = OptimiserConfig(muon_learning_rate=0.03, adam_learning_rate=0.02)
PROXIES = {
    "mamba-toy": Proxy(MambaConfig(width=16, layers=1, states=2), window=32, batch=8, optimiser=RATES),
    "mamba2-toy": Proxy(Mamba2Config(width=16, layers=1, states=4, head_width=8), window=32, batch=8, optimiser=RATES),
    "starcoder-toy": Proxy(
        StarCoderConfig(width=16, layers=1, heads=2, positions=32),
        window=32,
        batch=8,
        optimiser=RATES,
        fim_rate=0.5,
    ),
}
EVALUATION = Evaluation(bytes_per_source=1500, bytes_per_document=200, curve_points=3, curve_bytes_per_source=300)
WORDS = "the of and mill grain stone water wheel turns slowly under old bridge".split()


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(runs, "PROXIES", PROXIES)
    yield
    torch.set_num_threads(threads)


Corpus = list[tuple[str, str, str]]  # doc_id, source, text


def texts(count: int, prefix: str, words: list[str] = WORDS, seed: int = 0) -> Corpus:
    random = np.random.default_rng(seed)
    return [(f"{prefix}{i}", "web" if i % 2 else "code", " ".join(random.choice(words, 40))) for i in range(count)]


def write_corpus(output: Path, variant: str, train: Corpus, held_out: Corpus) -> None:
    folder = output / "corpora" / variant
    (folder / "data").mkdir(parents=True)
    for split, rows in (("train", train), ("held_out", held_out)):
        columns = {n: pa.array([r[i] for r in rows], pa.string()) for i, n in enumerate(("doc_id", "source"))}
        columns |= {n: columns["source"] for n in ("kind", "language", "programming_language")}
        columns["cluster"] = columns["doc_id"]
        columns["text"] = pa.array([r[2] for r in rows], pa.large_string())
        pq.write_table(pa.table(columns), folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "manifest.json").write_text(json.dumps({"variant": variant, "documents": len(train)}))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    held_out = texts(12, "held", seed=1)
    write_corpus(tmp_path, "full", texts(40, "d"), held_out)
    write_corpus(tmp_path, "half", texts(40, "d")[::2] + texts(2, "x"), held_out)
    return tmp_path


def study(**changes: object) -> StudyPlan:
    fields = {
        "baseline": "full",
        "variants": ("full", "half"),
        "proxies": ("mamba-toy", "starcoder-toy"),
        "seeds": 1,
        "budget_bytes": 6000,
        "jobs": 2,
        "threads": 1,
        "device": "cpu",
    }
    return StudyPlan(**{**fields, **changes})  # type: ignore[arg-type]


def config_of(output: Path, proxy: str = "mamba-toy", **changes: object) -> RunConfig:
    run = plan_runs(study(variants=("full",), proxies=(proxy,)))[0]
    config = run_config(output, run, study(), "cpu", 1, EVALUATION)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]


def train(output: Path, name: str, config: RunConfig, **options: object) -> dict[str, object]:
    return train_run(output / "corpora" / "full", output / name, config, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_the_files_of_a_run(output: Path, proxy: str) -> None:
    config = config_of(output, proxy)
    result = train(output, "run", config)
    folder = output / "run"
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.yaml",
        "metrics.jsonl",
        "result.json",
        "scores.parquet",
    ]
    assert json.loads((folder / "result.json").read_text()) == result
    assert yaml.safe_load((folder / "config.yaml").read_text()) == config.as_dict()
    assert result["config_sha256"] == config.sha256()
    assert result["run_id"] == f"full.{proxy}.seed0"
    assert result["paths"]["linear_cross_entropy"] == "reference"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    curve = [line for line in lines if "held_out_bits_per_byte" in line]
    assert len(curve) == 3 and curve[-1]["step"] == result["steps"]
    assert curve[-1]["held_out_bits_per_byte"] < curve[0]["held_out_bits_per_byte"] < 8
    assert lines[-1]["bytes_seen"] == result["bytes_seen"]
    scores = pq.read_table(folder / "scores.parquet")
    assert scores.schema.equals(SCORES_SCHEMA)
    bits = {}
    for source in ("code", "web"):
        part = scores.filter(pa.compute.equal(scores["source"], source))
        bits[source] = part["nats"].to_numpy().sum() / np.log(2) / part["bytes"].to_numpy().sum()
    assert result["held_out"] == pytest.approx(bits)
    assert result["macro_bits_per_byte"] == pytest.approx(np.mean(list(bits.values())))


def die_at(step: int) -> Callable[[int, int], None]:
    def on_step(done: int, steps: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return on_step


def train_and_die(output: Path, config: RunConfig, step: int) -> None:
    torch.set_num_threads(1)
    train(output, "killed", config, checkpoint_seconds=0.0, on_step=die_at(step))


@pytest.mark.fault
@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_a_killed_run_ends_as_one_that_was_not(output: Path, proxy: str) -> None:
    config = config_of(output, proxy)
    wanted = train(output, "whole", config, keep_checkpoint=True)
    worker = multiprocessing.get_context("spawn").Process(target=train_and_die, args=(output, config, 9))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert not (output / "killed" / "result.json").exists()
    steps: list[int] = []
    got = train(output, "killed", config, keep_checkpoint=True, on_step=lambda done, _: steps.append(done))
    assert steps[0] == 9  # the step after which it died had no checkpoint yet
    timings = ("wall_seconds", "cpu_seconds")
    assert {k: v for k, v in got.items() if k not in timings} == {k: v for k, v in wanted.items() if k not in timings}
    for name in ("scores.parquet", "metrics.jsonl"):
        assert (output / "killed" / name).read_bytes() == (output / "whole" / name).read_bytes()
    weights = [torch.load(output / name / "checkpoint.pt")["model"] for name in ("whole", "killed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_checkpoint_of_another_configuration_is_not_used(output: Path) -> None:
    train(output, "run", config_of(output), keep_checkpoint=True)
    steps: list[int] = []
    train(output, "run", config_of(output, seed=1), on_step=lambda done, _: steps.append(done))
    assert steps[0] == 1


def test_a_run_moves_only_where_it_is_told_to(output: Path) -> None:
    train(output, "run", config_of(output), keep_checkpoint=True)
    steps: list[int] = []
    moved = config_of(output, torch_version="another", code_sha256="another")
    result = train(output, "run", moved, keep_checkpoint=True, moved=True, on_step=lambda done, _: steps.append(done))
    assert steps == [] and result["steps"]
    train(output, "run", config_of(output), on_step=lambda done, _: steps.append(done))
    assert steps[0] == 1


def test_the_health_gate_opens_and_shuts(output: Path) -> None:
    weak = train(output, "weak", config_of(output, budget_bytes=500))
    assert not weak["healthy"] and weak["macro_bits_per_byte"] > weak["ngram2_bits_per_byte"]  # type: ignore[operator]
    # One letter decides what stands three letters later: out of reach of order 2, in easy reach of a proxy.
    random = np.random.default_rng(0)
    rows = [
        (f"p{i}", "web", "".join(c + "x" * 4 for c in "".join(random.choice(["abc", "bca", "cab"], 20))))
        for i in range(60)
    ]
    write_corpus(output, "far", rows[10:], rows[:10])
    config = dataclasses.replace(config_of(output, budget_bytes=60_000), variant="far")
    strong = train_run(output / "corpora" / "far", output / "strong", config)
    assert strong["healthy"] and strong["macro_bits_per_byte"] < strong["ngram2_bits_per_byte"]


def test_variants_start_from_the_same_weights_and_share_their_held_out_text(output: Path) -> None:
    results = run_study(output, study(proxies=("mamba-toy",)), evaluation=EVALUATION, progress=lambda event: None)
    assert [r["run_id"] for r in results] == ["full.mamba-toy.seed0", "half.mamba-toy.seed0"]
    scores = [pq.read_table(output / "runs" / r["run_id"] / "scores.parquet") for r in results]
    assert scores[0].drop_columns(["nats"]).equals(scores[1].drop_columns(["nats"]))
    assert not scores[0]["nats"].equals(scores[1]["nats"])
    assert results[0]["steps"] == results[1]["steps"]
    assert results[0]["epochs"] == pytest.approx(1, abs=0.01) and results[1]["epochs"] > 1


def test_a_complete_run_is_not_made_again(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = study(proxies=("starcoder-toy",), seeds=2, variants=("full",))
    first = run_study(output, plan, evaluation=EVALUATION)
    assert capsys.readouterr().err.count(" bits per byte ") == 2  # no terminal: one line a run
    events: list[Event] = []
    assert run_study(output, plan, events.append, evaluation=EVALUATION) == first
    assert [e.kind for e in events] == ["skipped", "skipped"]
    (output / "corpora" / "full" / "manifest.json").write_text("{}")  # another corpus
    events.clear()
    run_study(output, dataclasses.replace(plan, seeds=1), events.append, evaluation=EVALUATION)
    assert [e.kind for e in events if e.kind != "step"] == ["finished"]


def test_weights_are_kept_where_the_study_asks_for_them(output: Path) -> None:
    plan = study(seeds=1)
    run_study(output, plan, lambda event: None, evaluation=EVALUATION)
    assert list((output / "runs").glob("*/checkpoint.pt")) == []
    kept = dataclasses.replace(plan, keep_checkpoints=True)
    runs = run_study(output, kept, lambda event: None, evaluation=EVALUATION)
    assert len(list((output / "runs").glob("*/checkpoint.pt"))) == len(runs)
    events: list[Event] = []
    run_study(output, kept, events.append, evaluation=EVALUATION)
    assert {event.kind for event in events} == {"skipped"}
    run_study(output, kept, events.append, evaluation=EVALUATION, force=True)
    assert any(event.kind == "step" for event in events)


@pytest.mark.fault
def test_a_dead_worker_fails_the_study_with_the_name_of_its_run(output: Path) -> None:
    def kill(event: Event) -> None:
        if event.kind == "step":
            for child in multiprocessing.active_children():
                child.kill()

    plan = study(proxies=("mamba-toy",), variants=("full",), budget_bytes=10_000)
    with pytest.raises(StudyError, match=r"full\.mamba-toy\.seed0.*killed by signal 9"):
        run_study(output, plan, kill, evaluation=EVALUATION)
    assert not multiprocessing.active_children()
    assert len(run_study(output, plan, lambda event: None, evaluation=EVALUATION)) == 1


def test_a_failing_run_shows_its_error(output: Path) -> None:
    plan = study(proxies=("mamba-toy",), variants=("full",), mix={"poetry": 1.0})
    with pytest.raises(StudyError, match="(?s)full.mamba-toy.seed0 failed.*no training text for .'poetry'"):
        run_study(output, plan, lambda event: None, evaluation=EVALUATION)


def test_plans() -> None:
    ids = [run.run_id for run in plan_runs(study(seeds=2))]
    assert ids == list(study(seeds=2).run_ids())
    with pytest.raises(ValueError, match="unknown proxy 'gpt'.*mamba-toy"):
        plan_runs(study(proxies=("gpt",)))
    free = study(jobs=None, threads=None)
    assert choose_jobs(free, "cpu", runs=30, cores=4) == (4, 1)
    assert choose_jobs(free, "cpu", runs=3, cores=4) == (3, 1)
    assert choose_jobs(study(jobs=None, threads=2), "cpu", runs=30, cores=4) == (2, 2)
    assert choose_jobs(study(jobs=7, threads=1), "cpu", runs=30, cores=2) == (7, 1)


def test_a_missing_corpus_is_named(output: Path) -> None:
    with pytest.raises(StudyError, match="variant 'none'"):
        run_study(output, study(baseline="none"), lambda event: None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("proxy", sorted(PROXIES))
def test_trains_on_a_gpu_as_on_a_cpu(output: Path, proxy: str) -> None:
    on_cpu = train(output, "cpu", config_of(output, proxy))
    on_gpu = train(output, "gpu", config_of(output, proxy, device="cuda"))
    assert on_gpu["macro_bits_per_byte"] == pytest.approx(on_cpu["macro_bits_per_byte"], abs=0.05)  # bf16
