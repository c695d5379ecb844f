"""Everything that the three reports show, gathered once into plain values: this is report.json."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import yaml

from eval_models.judgement import Arm, Judgement, Verdict

SCHEMA = "gristmill.report/1"
EXCERPT_CHARS = 280
_REPORTS = ("report.html", "report.md", "report.json")


def gather(output_dir: Path, judgement: Judgement | None) -> dict[str, Any]:
    """Reads manifests, corpora and timings below output_dir; parts that are not there are left empty."""
    whole = _json(output_dir / "manifest.json")
    stages = whole.get("stages", {})
    timings = _json(output_dir / "timings.json")
    corpora = {
        stage.removeprefix("curate/"): manifest.get("summary", {})
        for stage, manifest in stages.items()
        if stage.startswith("curate/")
    }
    for path in sorted(output_dir.glob("corpora/*/manifest.json")):
        corpora.setdefault(path.parent.name, _json(path).get("summary", {}))
    books = [_stage(name, manifest, timings.get(name, {})) for name, manifest in _in_order(stages)]
    others = [{"stage": name, **timing} for name, timing in sorted(timings.items()) if name not in stages]
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "name": whole.get("name") or output_dir.resolve().name,
        "headline": judgement.headline if judgement else _headline(books, corpora),
        "sentences": list(judgement.sentences) if judgement else [_headline(books, corpora)],
        "study": None,
        "variants": [],
        "caveats": [],
        "corpora": corpora,
        "shaped": _summaries(stages, "shape"),
        "packed": _summaries(stages, "pack"),
        "stages": books,
        "other_timings": others,
        "documents": {},
        "reproducibility": _reproducibility(output_dir, stages, judgement),
    }
    if judgement is not None:
        data["study"] = judgement.to_json()
        data["variants"] = variant_rows(judgement, corpora)
        data["caveats"] = data["study"]["caveats"]
        data["documents"] = _documents(output_dir, judgement)
    return data


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: found {type(content).__name__}, need an object")
    return content


def canonical_json(value: Any) -> bytes:
    """The same bytes as the manifests use, so that the hashes shown equal those of the files."""
    return (json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1) + "\n").encode()


_ORDER = ("ingest", "annotate", "dedup", "split", "curate", "shape", "pack")


def _in_order(stages: Mapping[str, Any]) -> list[tuple[str, Any]]:
    def key(item: tuple[str, Any]) -> tuple[int, str]:
        kind = item[0].split("/")[0]
        return (_ORDER.index(kind) if kind in _ORDER else len(_ORDER), item[0])

    return sorted(stages.items(), key=key)


def _summaries(stages: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """Variant -> summary and options of its finished stage of a kind: shape or pack."""
    return {
        name.removeprefix(f"{kind}/"): {**manifest.get("options", {}), **manifest.get("summary", {})}
        for name, manifest in _in_order(stages)
        if name.startswith(f"{kind}/")
    }


def _stage(name: str, manifest: Mapping[str, Any], timing: Mapping[str, Any]) -> dict[str, Any]:
    books = manifest.get("books", {})
    dropped, rejected = dict(books.get("dropped", {})), dict(books.get("rejected", {}))
    read, kept = int(books.get("read", 0)), int(books.get("kept", 0))
    shards = manifest.get("shards", [])
    return {
        "stage": name,
        "read": read,
        "kept": kept,
        "dropped": dropped,
        "rejected": rejected,
        "balanced": read == kept + sum(dropped.values()) + sum(rejected.values()),
        "shards": len(shards),
        "shard_bytes": sum(int(shard.get("bytes", 0)) for shard in shards),
        "wall_seconds": timing.get("wall_seconds"),
        "peak_rss_bytes": timing.get("peak_rss_bytes"),
    }


def variant_rows(judgement: Judgement, corpora: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdict table: one flat record a variant, each null variant below the one that it mimics."""
    plan = judgement.plan
    arms = {arm.variant: arm for arm in judgement.arms}
    order: list[str] = []
    for name in plan.variants:
        if name in plan.random_like and plan.random_like[name] != plan.baseline:
            continue
        order += [name, *(null for null, like in plan.random_like.items() if like == name)]
    rows = []
    for name in order:
        economics = judgement.economics.get(name)
        summary = corpora.get(name, {})
        train, eligible = summary.get("train", {}), summary.get("eligible", {})
        documents, nbytes = train.get("documents"), train.get("text_bytes")
        row: dict[str, Any] = {
            "variant": name,
            "role": "baseline" if name == plan.baseline else "null" if name in plan.random_like else "arm",
            "random_like": plan.random_like.get(name),
            "bits_per_byte": _mean_score(judgement, name),
            "documents": documents,
            "text_bytes": nbytes,
            "documents_share": _share(documents, eligible.get("documents")),
            "text_bytes_share": _share(nbytes, eligible.get("text_bytes")),
            "unique_bytes": economics.unique_bytes if economics else None,
            "bytes_seen": economics.bytes_seen if economics else None,
            "epochs": economics.epochs if economics else None,
            "effective_ratio": economics.effective_ratio if economics else None,
            "wall_seconds": economics.wall_seconds if economics else None,
            "cpu_seconds": economics.cpu_seconds if economics else None,
            "flops": economics.flops if economics else None,
        }
        row.update(_effect(arms.get(name)))
        rows.append(row)
    return rows


def _mean_score(judgement: Judgement, variant: str) -> float | None:
    scores = [health.macro_bits_per_byte for health in judgement.health if health.variant == variant]
    return sum(scores) / len(scores) if scores else None


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _effect(arm: Arm | None) -> dict[str, Any]:
    if arm is None:
        return {"verdict": None}
    return {
        **verdict_record(arm.pooled),
        "by_proxy": [verdict_record(verdict) for verdict in arm.by_proxy],
        "against_null": verdict_record(arm.against_null) if arm.against_null else None,
        "multiplier": arm.multiplier.value if arm.multiplier else None,
        "multiplier_bound": arm.multiplier.bound if arm.multiplier else "",
        "signs_agree": arm.signs.agree if arm.signs else None,
        "signs_of": arm.signs.slices if arm.signs else None,
    }


def verdict_record(verdict: Verdict) -> dict[str, Any]:
    """A verdict as one flat record."""
    comparison = verdict.comparison
    interval = comparison.interval if comparison else None
    variance = (comparison.se_seeds or 0) ** 2 + comparison.se_documents**2 if comparison else 0.0
    known = comparison is not None and comparison.se_seeds is not None and variance > 0
    return {
        "proxy": verdict.proxy,
        "against": verdict.against,
        "verdict": verdict.verdict,
        "delta": comparison.delta if comparison else None,
        "low": interval[0] if interval else None,
        "high": interval[1] if interval else None,
        "p_corrected": verdict.p_corrected,
        "p_equivalence_corrected": verdict.p_equivalence_corrected,
        "minimum_detectable_effect": comparison.minimum_detectable_effect if comparison else None,
        "seed_share": (comparison.se_seeds or 0) ** 2 / variance if comparison and known else None,
        "seeds": len(verdict.seeds),
        "reasons": list(verdict.reasons),
    }


def _headline(books: Sequence[Mapping[str, Any]], corpora: Mapping[str, Any]) -> str:
    if not books:
        return "Nothing has been made here yet: no stage has finished."
    ingest = next((stage for stage in books if stage["stage"] == "ingest"), None)
    unbalanced = [stage["stage"] for stage in books if not stage["balanced"]]
    if unbalanced:
        names = ", ".join(f"`{name}`" for name in unbalanced)
        return f"The books do not balance: {names} lost count of documents."
    read = f"{ingest['kept']:,} of {ingest['read']:,} items read are documents" if ingest else "Documents were read"
    if not corpora:
        return f"{read}; no variant of the corpus has been made yet. The books of every stage balance."
    made = "1 variant of the corpus was" if len(corpora) == 1 else f"{len(corpora)} variants of the corpus were"
    return f"{read}, of which {made} made. The books of every stage balance. No proxies were trained."


def _documents(output_dir: Path, judgement: Judgement) -> dict[str, dict[str, Any]]:
    """Where the most helped and harmed documents come from, and how they begin."""
    wanted = sorted({effect.doc_id for arm in judgement.arms for effect in (*arm.helped, *arm.harmed)})
    files = sorted((output_dir / "corpora" / judgement.plan.baseline / "data").glob("held_out-*.parquet"))
    if not wanted or not files:
        return {}
    dataset = ds.dataset([str(path) for path in files], format="parquet")
    columns = [name for name in ("doc_id", "url", "repo", "path", "text") if name in dataset.schema.names]
    if "doc_id" not in columns:
        return {}
    table = dataset.to_table(columns=columns, filter=ds.field("doc_id").isin(wanted))
    found: dict[str, dict[str, Any]] = {}
    for row in table.to_pylist():
        place = row.get("url") or "/".join(part for part in (row.get("repo"), row.get("path")) if part)
        words = " ".join((row.get("text") or "")[: 4 * EXCERPT_CHARS].split())
        found[row["doc_id"]] = {"place": place, "begins": words[:EXCERPT_CHARS]}
    return found


def _reproducibility(output_dir: Path, stages: Mapping[str, Any], judgement: Judgement | None) -> dict[str, Any]:
    recipe = output_dir / "recipe.yaml"
    versions: dict[str, str] = {}
    for _, manifest in sorted(stages.items()):
        versions.update(manifest.get("versions", {}))
    for name in ("numpy", "scipy"):
        versions.setdefault(name, importlib.metadata.version(name))
    config = _one_config(output_dir, judgement)
    if "torch" in config:
        versions.setdefault("torch", str(config["torch"]))
    return {
        "recipe": recipe.read_text(encoding="utf-8") if recipe.is_file() else None,
        "recipe_sha256": hashlib.sha256(recipe.read_bytes()).hexdigest() if recipe.is_file() else None,
        "manifests": {
            name: hashlib.sha256(canonical_json(manifest)).hexdigest() for name, manifest in _in_order(stages)
        },
        "versions": dict(sorted(versions.items())),
        "run_config": config,
        "run_config_of": judgement.runs[0] if judgement and judgement.runs else None,
        "commands": ["gristmill run recipe.yaml", "gristmill report recipe.yaml"],
        "tree": _tree(output_dir),
    }


def _one_config(output_dir: Path, judgement: Judgement | None) -> dict[str, Any]:
    if judgement is None or not judgement.runs:
        return {}
    path = output_dir / "runs" / judgement.runs[0] / "config.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    return json.loads(json.dumps(content, default=str)) if isinstance(content, dict) else {}


def _tree(output_dir: Path) -> list[dict[str, Any]]:
    """Files of the output, summed over folders two levels deep; the reports themselves and timings are left
    out.
    """
    sums: dict[str, list[int]] = {}
    for folder, folders, files in os.walk(output_dir):
        folders.sort()
        for file in files:
            path = Path(folder, file).relative_to(output_dir)
            if path.name in (*_REPORTS, "timings.json") and len(path.parts) == 1:
                continue
            place = path.as_posix() if len(path.parts) == 1 else "/".join(path.parts[:-1][:2]) + "/"
            total = sums.setdefault(place, [0, 0])
            total[0] += 1
            total[1] += Path(folder, file).stat().st_size
    return [{"path": place, "files": count, "bytes": size} for place, (count, size) in sorted(sums.items())]
