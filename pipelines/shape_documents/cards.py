"""README.md of shaped documents."""

from __future__ import annotations

from pipelines.card import front_matter
from pipelines.manifest import Manifest


def shape_card(title: str, done: Manifest) -> str:
    """What was written, and what became of the documents of each shape."""
    summary = done.summary
    labels = [label for label in ("train", "held_out") if label in summary]
    rows = []
    for shape, counts in summary["by_shape"].items():
        fates = {fate: count for fate, count in counts.items() if fate not in ("documents", "kept")}
        told = ", ".join(f"{count:,} {fate}" for fate, count in sorted(fates.items(), key=lambda each: -each[1]))
        rows.append(
            f"| {shape or 'as they were'} | {counts['documents']:,} | {counts.get('kept', 0):,} | {told or 'none'} |"
        )
    lines = [
        *front_matter(title, labels),
        f"# {title}",
        "",
        "Documents that belong together, made into one. `members.parquet` names, for every document that was read, the "
        "one that it is in, or why it is in none.",
        "",
        "| | documents | bytes of text |",
        "|---|---:|---:|",
        *(f"| {label} | {summary[label]['documents']:,} | {summary[label]['text_bytes']:,} |" for label in labels),
        "",
        "| shape | documents read | documents made | not made into one of their own |",
        "|---|---:|---:|---|",
        *rows,
        "",
    ]
    return "\n".join(lines)
