"""A finished study on disk, made of numbers with a known truth: planted effects, seed and document noise."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from eval_models.plan import StudyPlan

# source -> (documents, kind, base bits per byte, slices by weight)
SOURCES: dict[str, tuple[int, str, float, dict[str, float]]] = {
    "common-crawl": (130, "web", 2.31, {"en": 0.55, "de": 0.25, "fr": 0.2}),
    "github": (90, "code", 1.74, {"Python": 0.6, "C": 0.4}),
    "gutenberg": (50, "prose", 2.12, {"en": 0.7, "de": 0.3}),
}
PROXIES = {"mamba-tiny": ("mamba", 412_160, 0.0), "starcoder-tiny": ("starcoder", 438_272, 0.06)}
RANDOM_LIKE = {"random_dedup": "dedup"}
# Bits per byte against the baseline, the same in every source unless a mapping says otherwise.
EFFECTS: dict[str, float | dict[str, float]] = {
    "raw": 0.0,
    "dedup": {"common-crawl": -0.034, "github": -0.022, "gutenberg": -0.012},
    "random_dedup": 0.001,
    "gopher": {"common-crawl": -0.012, "github": 0.002, "gutenberg": -0.001},
    "strict": {"common-crawl": 0.024, "github": 0.031, "gutenberg": 0.066},
}
KEPT = {"raw": 1.0, "dedup": 0.71, "random_dedup": 0.71, "gopher": 0.83, "strict": 0.09}
RULES = {
    "raw": [],
    "dedup": [("minhash@1 duplicate", 1.0)],
    "random_dedup": [("random", 1.0)],
    "gopher": [
        ("gopher@datatrove word_count", 0.62),
        ("gopher@datatrove stop_words", 0.27),
        ("pii@1 density", 0.11),
    ],
    "strict": [
        ("minhash@1 duplicate", 0.32),
        ("gopher@datatrove word_count", 0.11),
        ("rpv2@1 ccnet_perplexity", 0.41),
        ("license@1 not permissive", 0.16),
    ],
}
POOL_DOCUMENTS, POOL_BYTES, BUDGET = 48_210, 61_400_000, 24_000_000


def build_study(
    root: Path,
    *,
    effects: Mapping[str, float | Mapping[str, float]] | None = None,
    proxies: tuple[str, ...] = ("mamba-tiny", "starcoder-tiny"),
    seeds: int = 3,
    sd_seed: float = 0.003,
    sd_cluster: float = 0.018,
    sd_residual: float = 0.02,
    ngram2: float = 2.42,
    proxy_effects: Mapping[tuple[str, str], float] | None = None,
    margin: float = 0.01,
    rng_seed: int = 7,
    corpora: bool = True,
    hostile: str = "",
) -> StudyPlan:
    """Writes runs/ and, if asked, corpora/ and the manifests; returns the plan. `hostile` goes into every
    name.
    """
    effects = EFFECTS if effects is None else effects
    names = tuple(effects)
    plan = StudyPlan(
        baseline=names[0],
        variants=names,
        random_like={null: like for null, like in RANDOM_LIKE.items() if null in names and like in names},
        proxies=proxies,
        seeds=seeds,
        budget_bytes=BUDGET,
        margin_bits_per_byte=margin,
    )
    rng = np.random.default_rng(rng_seed)
    held_out = _held_out(rng, hostile)
    if corpora:
        _write_corpora(root, names, held_out, hostile)
    cluster_code = {name: i for i, name in enumerate(sorted(set(held_out["cluster"])))}
    clusters = np.array([cluster_code[name] for name in held_out["cluster"]])
    difficulty = rng.normal(0, 0.35, len(held_out["doc_id"]))
    for proxy in proxies:
        shared = {seed: rng.normal(0, 0.05, len(difficulty)) for seed in range(seeds)}
        for variant in names:
            cluster_effect = rng.normal(0, sd_cluster, len(cluster_code)) * (variant != names[0])
            for seed in range(seeds):
                level = _level(held_out, effects[variant]) + (proxy_effects or {}).get((variant, proxy), 0.0)
                noise = rng.normal(0, sd_residual, len(difficulty)) + rng.normal(0, sd_seed)
                bits = (
                    held_out["base"]
                    + PROXIES[proxy][2]
                    + difficulty
                    + shared[seed]
                    + level
                    + cluster_effect[clusters]
                    + noise * (variant != names[0])
                )
                _write_run(root, plan, variant, proxy, seed, held_out, np.maximum(bits, 0.05), ngram2)
    return plan


def _level(held_out: Mapping[str, Any], effect: float | Mapping[str, float]) -> np.ndarray:
    per_source = effect if isinstance(effect, Mapping) else {source: effect for source in SOURCES}
    return np.array([per_source[source] for source in held_out["plain_source"]])


def _held_out(rng: np.random.Generator, hostile: str) -> dict[str, Any]:
    rows: dict[str, list[Any]] = {
        key: []
        for key in (
            "doc_id", "source", "plain_source", "kind", "language", "programming_language", "cluster",
            "bytes", "base", "url", "repo", "path", "text",
        )
    }  # fmt: skip
    for source, (count, kind, base, slices) in SOURCES.items():
        labels = rng.choice(list(slices), count, p=list(slices.values()))
        for i in range(count):
            digest = hashlib.sha256(f"{source}/{i}".encode()).hexdigest()[:32]
            code = kind == "code"
            group = int(i // rng.choice([1, 1, 2, 3]))
            rows["doc_id"].append(digest)
            rows["source"].append(source + hostile)
            rows["plain_source"].append(source)
            rows["kind"].append(kind)
            rows["language"].append(None if code else str(labels[i]))
            rows["programming_language"].append(str(labels[i]) if code else None)
            rows["cluster"].append(f"{source}/{group}")
            rows["bytes"].append(int(np.clip(rng.lognormal(8.1, 0.8), 300, 40_000)))
            rows["base"].append(base)
            rows["url"].append(None if code else f"https://site-{group}.example/articles/{i}{hostile}")
            rows["repo"].append(f"acme/tool-{group}{hostile}" if code else None)
            rows["path"].append(f"src/module_{i}.py{hostile}" if code else None)
            prose = f"The market of the old town, page {i}, opened on Thursday. " * 6
            source_code = f"def read_{i}(path):\n    return open(path).read()\n"
            rows["text"].append(hostile + (source_code if code else prose))
    return {**rows, "base": np.array(rows["base"]), "bytes": np.array(rows["bytes"])}


def _write_run(
    root: Path, plan: StudyPlan, variant: str, proxy: str, seed: int, held_out: Mapping[str, Any],
    bits: np.ndarray, ngram2: float,
) -> None:  # fmt: skip
    run_id = plan.run_id(variant, proxy, seed)
    folder = root / "runs" / run_id
    folder.mkdir(parents=True)
    nats = bits * held_out["bytes"] * math.log(2)
    columns = ("doc_id", "source", "kind", "language", "programming_language", "cluster")
    table = pa.table({name: held_out[name] for name in columns} | {"bytes": held_out["bytes"], "nats": nats})
    pq.write_table(table, folder / "scores.parquet")
    by_source = {}
    for source in sorted(set(held_out["source"])):
        mask = np.array([name == source for name in held_out["source"]])
        by_source[source] = float(nats[mask].sum() / held_out["bytes"][mask].sum() / math.log(2))
    macro = float(np.mean(list(by_source.values())))
    family, parameters, _ = PROXIES[proxy]
    kept = KEPT.get(variant, 1.0)
    unique = min(BUDGET, int(kept * POOL_BYTES))
    rng = np.random.default_rng([seed, len(variant), len(proxy)])
    with (folder / "metrics.jsonl").open("w") as file:
        for step in range(0, 1501, 125):
            part = max(step, 20) / 1500
            late = 0.03 * (1 - part) if variant == "dedup" else 0.0
            row: dict[str, Any] = {
                "step": step, "bytes_seen": int(BUDGET * part), "train_bits_per_byte": macro / part**0.12,
                "learning_rate": 3e-3 * (1 - part),
            }  # fmt: skip
            row["held_out_bits_per_byte"] = macro / part**0.16 + late + float(rng.normal(0, 0.006)) * (1 - part)
            file.write(json.dumps(row) + "\n")
    manifest = root / "corpora" / variant / "manifest.json"
    sha = hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.exists() else "0" * 64
    config = {
        "run_id": run_id, "variant": variant, "corpus_manifest_sha256": sha, "seed": seed, "device": "cpu",
        "proxy": {"name": proxy, "width": 96}, "budget_bytes": BUDGET, "torch": "2.13.0", "dtype": "float32",
    }  # fmt: skip
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = {
        "run_id": run_id, "variant": variant, "proxy": proxy, "family": family, "seed": seed,
        "parameters": parameters, "steps": 1500, "bytes_seen": BUDGET, "unique_bytes": unique,
        "epochs": BUDGET / unique, "train_bits_per_byte": macro - 0.1 - 0.3 * (variant == "strict"),
        "held_out": by_source, "macro_bits_per_byte": macro, "ngram2_bits_per_byte": ngram2, "ngram2": {},
        "healthy": macro < ngram2, "wall_seconds": 214.0 + 3 * seed, "cpu_seconds": 401.0, "device": "cpu",
        "flops": 6.0 * parameters * BUDGET, "corpus_manifest_sha256": sha, "config_sha256": "1" * 64,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))


def _write_corpora(root: Path, names: tuple[str, ...], held_out: Mapping[str, Any], hostile: str) -> None:
    stages: dict[str, Any] = {}

    def stage(name: str, read: int, dropped: dict[str, int], rejected: dict[str, int], **more: Any) -> dict[str, Any]:
        kept = read - sum(dropped.values()) - sum(rejected.values())
        stages[name] = {
            "stage": name, "inputs": {}, "options": {}, "code": hashlib.sha256(name.encode()).hexdigest(),
            "versions": {"apache-beam": "2.77.0", "pyarrow": "25.0.1"},
            "books": {"read": read, "kept": kept, "dropped": dropped, "rejected": rejected},
            "shards": [{"path": f"{name}/part-00000.parquet", "rows": kept, "bytes": 900 * kept,
                        "sha256": hashlib.sha256((name + "shard").encode()).hexdigest()}],
            "summary": more.get("summary", {}),
        }  # fmt: skip
        return stages[name]

    stage(
        "ingest",
        51_377,
        {"empty text" + hostile: 2_871, "not text/html": 254},
        {"UnicodeDecodeError" + hostile: 42},
    )
    for annotator in ("language@1", "gopher@datatrove", "rpv2@1", "minhash@1", "pii@1", "license@1"):
        stage(
            f"annotate/{annotator}",
            POOL_DOCUMENTS,
            {},
            {"ParserError": 3} if annotator == "license@1" else {},
        )
    stage("dedup", POOL_DOCUMENTS, {}, {})
    documents = len(held_out["doc_id"])
    stage("split", POOL_DOCUMENTS, {}, {})
    for variant in names:
        eligible, nbytes = POOL_DOCUMENTS - documents, POOL_BYTES - int(held_out["bytes"].sum())
        lost = round((1 - KEPT.get(variant, 1.0)) * eligible)
        waterfall, dropped = [], {}
        for rule, share in RULES.get(variant, []):
            count = round(lost * share)
            dropped[rule + hostile] = count
            waterfall.append(
                {"rule": rule + hostile, "dropped": count, "text_bytes": int(nbytes * count / eligible * 0.9)}
            )
        kept_bytes = nbytes - sum(row["text_bytes"] for row in waterfall)
        kept = eligible - sum(dropped.values())
        summary = {
            "train": {"documents": kept, "text_bytes": kept_bytes},
            "held_out": {"documents": documents, "text_bytes": int(held_out["bytes"].sum())},
            "eligible": {"documents": eligible, "text_bytes": nbytes},
            "waterfall": waterfall,
            "by_source": {source: {"documents": kept // 3, "text_bytes": kept_bytes // 3} for source in SOURCES},
        }
        manifest = stage(f"curate/{variant}", POOL_DOCUMENTS, dropped, {}, summary=summary)
        folder = root / "corpora" / variant / "data"
        folder.mkdir(parents=True)
        (root / "corpora" / variant / "manifest.json").write_text(json.dumps(manifest, sort_keys=True))
        columns = [name for name in held_out if name not in ("plain_source", "bytes", "base")]
        pq.write_table(pa.table({name: held_out[name] for name in columns}), folder / "held_out-00000-of-00001.parquet")
    (root / "manifest.json").write_text(
        json.dumps({"name": "two-pages-and-a-repo" + hostile, "stages": stages}, sort_keys=True)
    )
    timings = {name: {"wall_seconds": 3.0 + 0.7 * len(name), "peak_rss_bytes": 412_000_000} for name in stages}
    timings["train"] = {"wall_seconds": 6_480.0, "peak_rss_bytes": 1_240_000_000}
    (root / "timings.json").write_text(json.dumps(timings))
    (root / "recipe.yaml").write_text(
        "name: two-pages-and-a-repo\nsources:\n  common-crawl: {kind: warc, paths: [crawl/*.warc.gz]}\n"
        "  github: {kind: code, paths: [repos/]}\n  gutenberg: {kind: jsonl, paths: [books.jsonl.gz]}\n"
        "study:\n  baseline: raw\n  proxies: [mamba-tiny, starcoder-tiny]\n  seeds: 3\n"
    )
