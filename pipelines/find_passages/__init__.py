"""Finds passages that documents have in common over all document shards; the text stays whole, edits say what goes.

    shards ─▶ passage hashes, in a shard one copy of each ─▶ by hash ─▶ copies that lose ─▶ by shard
    ─▶ edits, numbers and verdicts: one annotation shard a document shard

Only hashes, orders and addresses of passages are exchanged.  Every reducer sorts what it gets by content, so the
bytes written do not depend on the engine, the workers, the bundles or the exchange; with another order than `input`
the edits of a document do not depend on the order of the input or its division into shards either.
"""

from pipelines.find_passages.graph import PASSAGE_SCHEMA, build_find_passages
from pipelines.find_passages.plan import NAMES, SCHEMES, FindPassages

__all__ = ["NAMES", "PASSAGE_SCHEMA", "SCHEMES", "FindPassages", "build_find_passages"]
