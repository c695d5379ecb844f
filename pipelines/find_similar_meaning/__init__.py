"""Finds documents of similar meaning by their embeddings, inside k-means cells, over all document shards.

    shards ─▶ a sample of the vectors, and how wide they are ─▶ centres.npy ─┐
    shards ──────────────────────────────────────────────────────────────────┴▶ by cell: ids and vectors
    ─▶ who goes, and for whom ─▶ by shard ─▶ one annotation shard a document shard, evidence.parquet

The algorithm is `dedup.semantic`.  Between workers go the vectors (4 bytes a number), never text.  What is found does
not depend on the shards, the workers, the engine, the exchange or the order of the input.
"""

from pipelines.find_similar_meaning.graph import build_find_similar_meaning
from pipelines.find_similar_meaning.plan import ANNOTATION, MEANING_SCHEMA, FindSimilarMeaning

__all__ = ["ANNOTATION", "MEANING_SCHEMA", "FindSimilarMeaning", "build_find_similar_meaning"]
