"""README.md of packed samples."""

from __future__ import annotations

from pipelines.card import front_matter
from pipelines.manifest import Manifest


def pack_card(title: str, done: Manifest) -> str:
    """Samples, tokens by source, and how the samples were made."""
    summary, options = done.summary, done.options
    total = max(1, summary["tokens"] + summary["padding"])
    dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.books.dropped.items())) or "none"
    fim = options["fim"]
    lines = [
        *front_matter(title, ("train",)),
        f"# {title}",
        "",
        f"{summary['samples']:,} samples of {options['length']:,} tokens ({options['tokenizer']['name']}, "
        f"{options['strategy']}, seed {options['seed']}): {summary['tokens']:,} tokens of documents and "
        f"{summary['padding']:,} of padding ({summary['padding'] / total:.2%}). They are in random order: read them "
        "as they lie.",
        "",
        "| source | documents | appearances | epochs | tokens | share of tokens |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {source} | {counts['documents']:,} | {counts['appearances']:,} | {counts['epochs']:.2f} | "
            f"{counts['tokens']:,} | {counts['tokens'] / max(1, summary['tokens']):.1%} |"
            for source, counts in summary["by_source"].items()
        ),
        "",
        f"Documents in no sample: {dropped}.",
        "",
    ]
    if fim:
        permuted = sum(counts["permuted"] for counts in summary["by_source"].values())
        lines += [
            f"Fill-in-the-middle: rate {fim['rate']:g}, {fim['level']}, SPM {fim['spm_rate']:g} ({fim['variant']}); "
            f"{permuted:,} appearances are permuted.",
            "",
        ]
    return "\n".join(lines)
