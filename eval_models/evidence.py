"""Reads what the runs of a study left on disk and checks that they can be compared.

Memory: one float64 per run and held-out document (60 runs x 10,000 documents: 5 MB).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from eval_models.plan import StudyPlan

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_VARYING_KEYS = ("run_id", "variant", "seed", "corpus", "jobs", "path")
"""Keys of config.yaml (or their beginnings) that may differ between the runs of one proxy."""


class HeldOutMismatch(ValueError):
    """Two runs were scored on different held-out documents, so their difference means nothing."""


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The held-out documents, sorted by doc_id; the same for every run."""

    doc_id: tuple[str, ...]
    source: tuple[str, ...]
    kind: tuple[str, ...]
    language: tuple[str, ...]  # '' where unknown
    programming_language: tuple[str, ...]
    cluster: tuple[str, ...]
    bytes: npt.NDArray[np.int64]

    def slices(self) -> list[tuple[str, ...]]:
        """For each document its exploratory slices: language/<code> for text, code/<language> for code."""
        return [
            (f"code/{programming}",) if programming else (f"language/{language}",) if language else ()
            for language, programming in zip(self.language, self.programming_language, strict=True)
        ]

    def macro_bits_per_byte(self, nats: npt.NDArray[np.float64]) -> float:
        """Mean over sources of their bits per byte."""
        names, code = np.unique(np.array(self.source, dtype=str), return_inverse=True)
        sums = np.bincount(code, nats, len(names)) / np.bincount(code, self.bytes, len(names))
        return float(sums.mean() / math.log(2))


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run. nats [D] follow HeldOut's order; curve: (bytes seen, held-out bits per byte)."""

    run_id: str
    variant: str
    proxy: str
    seed: int
    result: Mapping[str, Any]
    config: Mapping[str, Any]
    curve: tuple[tuple[float, float], ...]
    nats: npt.NDArray[np.float64]

    @property
    def fault(self) -> str:
        """Why the run cannot be used; '' if it can.

        A run that is called unhealthy merely because an n-gram beats it stays in: the gate speaks about it.
        """
        macro = self.result.get("macro_bits_per_byte")
        if not np.isfinite(self.nats).all():
            return "its scores are not finite"
        if self.result.get("healthy", True):
            return ""
        gate = self.result.get("ngram2_bits_per_byte")
        weak = isinstance(macro, (int, float)) and isinstance(gate, (int, float)) and macro >= gate
        return "" if weak else "it was marked unhealthy by the trainer"


@dataclasses.dataclass(frozen=True)
class Evidence:
    """All finished runs of the plan, keyed (variant, proxy, seed)."""

    held_out: HeldOut | None
    runs: Mapping[tuple[str, str, int], Run]
    missing: tuple[str, ...]
    differing_settings: tuple[str, ...]
    stale: tuple[str, ...]


def read_evidence(output_dir: Path, plan: StudyPlan) -> Evidence:
    """Reads runs/<run id>/ for every run of the plan; a run without result.json counts as missing.

    Raises HeldOutMismatch, naming run and document, if the runs were scored on different documents;
    ValueError, naming the file, if one cannot be understood.
    """
    held_out: HeldOut | None = None
    first = ""
    runs: dict[tuple[str, str, int], Run] = {}
    missing = []
    for variant in plan.variants:
        for proxy in plan.proxies:
            for seed in range(plan.seeds):
                run_id = plan.run_id(variant, proxy, seed)
                folder = output_dir / "runs" / run_id
                if not (folder / "result.json").is_file():
                    missing.append(run_id)
                    continue
                documents, nats = _read_scores(folder / "scores.parquet", run_id)
                if held_out is None:
                    held_out, first = documents, run_id
                else:
                    _check_same(held_out, first, documents, run_id)
                result = _read_json(folder / "result.json")
                config = _read_config(folder / "config.yaml")
                runs[variant, proxy, seed] = Run(
                    run_id=run_id,
                    variant=variant,
                    proxy=proxy,
                    seed=seed,
                    result=result,
                    config=config,
                    curve=_read_curve(folder, result, config),
                    nats=nats,
                )
    return Evidence(
        held_out=held_out,
        runs=runs,
        missing=tuple(missing),
        differing_settings=_differing_settings(runs),
        stale=_stale(output_dir, runs),
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, need an object")
    return content


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=_YAML)
    return content if isinstance(content, dict) else {}


def _read_scores(path: Path, run_id: str) -> tuple[HeldOut, npt.NDArray[np.float64]]:
    table = pq.read_table(path)
    needed = ("doc_id", "source", "kind", "language", "programming_language", "cluster", "bytes", "nats")
    absent = [name for name in needed if name not in table.column_names]
    if absent:
        raise ValueError(f"{path}: columns {absent} are missing; found {table.column_names}")
    table = table.sort_by("doc_id")

    def strings(name: str) -> tuple[str, ...]:
        column = table.column(name)
        values = column.cast(pa.string()).to_pylist() if column.type != pa.null() else [None] * len(column)
        return tuple(value or "" for value in values)

    ids = strings("doc_id")
    for left, right in zip(ids, ids[1:], strict=False):
        if left == right:
            raise HeldOutMismatch(f"run {run_id}: held-out document {left} was scored twice")
    nbytes = table.column("bytes").to_numpy().astype(np.int64)
    if len(ids) == 0:
        raise HeldOutMismatch(f"run {run_id}: scores.parquet has no documents")
    if (nbytes <= 0).any():
        raise ValueError(f"{path}: document {ids[int((nbytes <= 0).argmax())]} has no bytes")
    # A document without a cluster is its own.
    clusters = tuple(cluster or f"document/{doc}" for cluster, doc in zip(strings("cluster"), ids, strict=True))
    documents = HeldOut(
        doc_id=ids,
        source=strings("source"),
        kind=strings("kind"),
        language=strings("language"),
        programming_language=strings("programming_language"),
        cluster=clusters,
        bytes=nbytes,
    )
    return documents, table.column("nats").to_numpy().astype(np.float64)


def _check_same(expected: HeldOut, first: str, found: HeldOut, run_id: str) -> None:
    if expected.doc_id != found.doc_id:
        missing = sorted(set(expected.doc_id) - set(found.doc_id))
        extra = sorted(set(found.doc_id) - set(expected.doc_id))
        what = f"lacks document {missing[0]}" if missing else f"has the extra document {extra[0]}"
        raise HeldOutMismatch(
            f"run {run_id} {what}, compared with run {first} "
            f"({len(missing)} missing, {len(extra)} extra): score both on the same held-out split"
        )
    for field in ("source", "cluster", "bytes"):
        pairs = zip(expected.doc_id, getattr(expected, field), getattr(found, field), strict=True)
        for doc, old, new in pairs:
            if old != new:
                raise HeldOutMismatch(f"run {run_id}: document {doc} has {field} {new!r}, but {old!r} in run {first}")


def _read_curve(folder: Path, result: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[tuple[float, float], ...]:
    """(bytes seen, bits per byte), all points on the documents that the evaluations while training used."""
    points: dict[float, float] = {}
    path = folder / "metrics.jsonl"
    if path.is_file():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not JSON: {error}") from error
            score = row.get("held_out_bits_per_byte")
            if isinstance(score, (int, float)) and math.isfinite(score):
                points[float(row["bytes_seen"])] = float(score)
    final = result.get("macro_bits_per_byte")
    limit = _lookup(config, "evaluation", "curve_bytes_per_source")
    if isinstance(limit, int):
        final = _score_of_head(folder / "scores.parquet", limit)
    if isinstance(final, (int, float)) and math.isfinite(final) and result.get("bytes_seen"):
        points[float(result["bytes_seen"])] = float(final)
    return tuple(sorted(points.items()))


def _lookup(tree: Mapping[str, Any], *keys: str) -> Any:
    found: Any = tree
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _score_of_head(path: Path, bytes_per_source: int) -> float:
    """The final score on the first documents of each source, in file order, until `bytes_per_source` is
    reached.

    Evaluations while training use these alone; the end of a curve must rest on the same ones.
    """
    table = pq.read_table(path, columns=["source", "bytes", "nats"])
    totals: dict[str, list[float]] = {}
    for source, size, nats in zip(*(column.to_pylist() for column in table.columns), strict=True):
        total = totals.setdefault(source or "", [0.0, 0.0])
        if total[0] < bytes_per_source:
            total[0] += size
            total[1] += nats
    return sum(nats / size for size, nats in totals.values()) / len(totals) / math.log(2)


def _differing_settings(runs: Mapping[tuple[str, str, int], Run]) -> tuple[str, ...]:
    """Dotted keys of config.yaml in which runs of one proxy differ although they should not."""
    seen: dict[tuple[str, str], set[str]] = {}
    for (_, proxy, _), run in sorted(runs.items()):
        for key, value in _flatten(run.config):
            if not any(part.startswith(_VARYING_KEYS) for part in key.split(".")):
                seen.setdefault((proxy, key), set()).add(json.dumps(value, sort_keys=True, default=str))
    return tuple(sorted({key for (_, key), values in seen.items() if len(values) > 1}))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        rows.extend(_flatten(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)])
    return rows


def _stale(output_dir: Path, runs: Mapping[tuple[str, str, int], Run]) -> tuple[str, ...]:
    """Runs trained on another version of the corpus than the one that lies in corpora/ now."""
    current: dict[str, str] = {}
    stale = []
    for run in runs.values():
        manifest = output_dir / "corpora" / run.variant / "manifest.json"
        trained_on = run.result.get("corpus_manifest_sha256")
        if not trained_on or not manifest.is_file():
            continue
        if run.variant not in current:
            current[run.variant] = hashlib.sha256(manifest.read_bytes()).hexdigest()
        if current[run.variant] != trained_on:
            stale.append(run.run_id)
    return tuple(sorted(stale))
