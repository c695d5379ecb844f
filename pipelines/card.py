"""The dataset card (README.md for the Hugging Face Hub) and the Croissant 1.1 description of a variant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import yaml

from pipelines import storage
from pipelines.attribution import write_attribution
from pipelines.curate import CORPUS_SCHEMA, corpus_directory
from pipelines.manifest import Manifest

# http://mlcommons.org/croissant/1.1, the JSON-LD context of the specification, shortened to the terms used here.
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "extract": "cr:extract",
    "column": "cr:column",
    "field": "cr:field",
    "fileSet": "cr:fileSet",
    "includes": "cr:includes",
    "key": "cr:key",
    "recordSet": "cr:recordSet",
    "source": "cr:source",
}
# The Hub's size_categories: https://huggingface.co/docs/hub/datasets-cards
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

# Rows of the table of reasons; what is rarer is counted together.
_REASONS = 40


def _size_category(documents: int) -> str:
    return next((name for limit, name in _SIZES if documents < limit), "1M<n<10M")


def front_matter(title: str, splits: Iterable[str], **more: Any) -> list[str]:
    """Lines of the YAML head that the Hugging Face Hub reads: one config, the shards of each split below data/."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in splits]
    head = {
        "pretty_name": title,
        "license": "other",
        "task_categories": ["text-generation"],
        **more,
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return ["---", yaml.safe_dump(head, sort_keys=False).rstrip(), "---"]


def card(name: str, variant: str, manifest: Manifest) -> str:
    """README.md: YAML head with one config and two splits, then what was kept and why."""
    summary = manifest.summary
    size = [_size_category(summary["train"]["documents"])]
    lines = [
        *front_matter(f"{name} / {variant}", ("train", "held_out"), size_categories=size),
        f"# {name}: {variant}",
        "",
        "Made by Gristmill. The licence of each document is in its column `license`; the corpus as a whole has none. "
        "Whose work it holds is in ATTRIBUTION.md.",
        "",
        "| | documents | bytes of text |",
        "|---|---:|---:|",
        f"| eligible for training | {_cells(summary['eligible'])} |",
        f"| train | {_cells(summary['train'])} |",
        f"| held out (the same for every variant) | {_cells(summary['held_out'])} |",
        "",
        "## What each rule dropped, in order",
        "",
        "| rule | documents | bytes of text |",
        "|---|---:|---:|",
        *(f"| {s['rule']} | {s['dropped']:,} | {s['text_bytes']:,} |" for s in summary["waterfall"]),
        "",
        *_reasons(manifest),
        *_edits(summary),
        "`waterfall.parquet` names, for every document, the first rule that it failed, its value and the threshold.",
        "",
        "## Columns",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        *(f"| {f.name} | {f.type} | {_description(f)} |" for f in CORPUS_SCHEMA),
        "",
    ]
    return "\n".join(lines)


def _reasons(manifest: Manifest) -> list[str]:
    """For rules that are families, how many documents each of their rules dropped; nothing where there is none."""
    steps = {step["rule"] for step in manifest.summary["waterfall"]}
    found = [(name, count) for name, count in manifest.books.dropped.items() if name not in steps and count]
    if not found:
        return []
    found.sort(key=lambda each: (-each[1], each[0]))
    if len(found) > _REASONS:
        found[_REASONS - 1 :] = [("others", sum(count for _, count in found[_REASONS - 1 :]))]
    return [
        "The first rule of a family that a document failed:",
        "",
        "| rule of the family | documents |",
        "|---|---:|",
        *(f"| {name} | {count:,} |" for name, count in found),
        "",
    ]


def _edits(summary: Mapping[str, Any]) -> list[str]:
    """What the edit steps changed in the training documents; nothing for a variant that edits none."""
    if not summary.get("edits"):
        return []
    return [
        "The text of training documents was edited; held-out documents are as extracted. Bytes of an edit step are "
        "those that it took out.",
        "",
        "| edits | documents | characters less |",
        "|---|---:|---:|",
        *(f"| {s['step']} | {s['documents']:,} | {s['removed_characters']:,} |" for s in summary["edits"]),
        "",
    ]


def _cells(count: Mapping[str, int]) -> str:
    return f"{count['documents']:,} | {count['text_bytes']:,}"


def _description(field: pa.Field) -> str:
    return (field.metadata or {}).get(b"description", b"").decode()


def croissant(name: str, variant: str, manifest: Manifest) -> dict[str, Any]:
    """Croissant 1.1 JSON-LD.  It has no datePublished: a corpus is not published by being made."""
    files = [
        {
            "@type": "cr:FileObject",
            "@id": shard["path"].rpartition("/")[2],
            "name": shard["path"].rpartition("/")[2],
            "contentUrl": shard["path"].removeprefix(corpus_directory(variant) + "/"),
            "contentSize": f"{shard['bytes']} B",
            "encodingFormat": "application/vnd.apache.parquet"
            if shard["path"].endswith(".parquet")
            else "application/json",
            "sha256": shard["sha256"],
        }
        for shard in manifest.shards
    ]
    data = [file for file in files if file["contentUrl"].startswith("data/")]
    plain = {"string": "sc:Text", "large_string": "sc:Text"}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": f"{name}-{variant}",
        "description": f"Variant {variant} of the corpus {name}.",
        "license": "The column license holds the licence of each document.",
        "creator": {"@type": "sc:SoftwareApplication", "name": "Gristmill"},
        "distribution": [
            *files,
            {
                "@type": "cr:FileSet",
                "@id": "data",
                "name": "data",
                "containedIn": [{"@id": file["@id"]} for file in data],
                "encodingFormat": "application/vnd.apache.parquet",
                "includes": "data/*.parquet",
            },
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "documents",
                "name": "documents",
                "key": {"@id": "documents/doc_id"},
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"documents/{field.name}",
                        "name": field.name,
                        "description": _description(field),
                        "dataType": plain[str(field.type)],
                        "source": {"fileSet": {"@id": "data"}, "extract": {"column": field.name}},
                    }
                    for field in CORPUS_SCHEMA
                    if str(field.type) in plain
                ],
            }
        ],
    }


def write_card(output: str, name: str, variant: str, manifest: Manifest) -> None:
    """README.md, croissant.json and ATTRIBUTION.md of a variant whose shards are written."""
    folder = storage.join(output, corpus_directory(variant))
    data = corpus_directory(variant) + "/data/"
    write_attribution(folder, (storage.join(output, s["path"]) for s in manifest.shards if s["path"].startswith(data)))
    storage.write_bytes(storage.join(folder, "README.md"), card(name, variant, manifest).encode())
    storage.write_bytes(
        storage.join(folder, "croissant.json"), storage.canonical_json(croissant(name, variant, manifest))
    )
