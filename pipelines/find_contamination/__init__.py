"""Finds items of evaluation sets in all document shards; text stays where it is.

    shards ─▶ 13-grams and in how many documents ─▶ common ones ─┐   (ngram13@gpt3 only)
    shards ───────────────────────────────────────────────────────┴▶ one annotation shard a document shard
                                                                     ─▶ counts ─▶ report.json, report.md

The index is one file that every worker must see; how it is built and what the methods are: `dedup.contamination`.
"""

from pipelines.find_contamination.graph import FindContamination, build_find_contamination

__all__ = ["FindContamination", "build_find_contamination"]
