"""Finds exact and near duplicates over all document shards; text stays where it is.

    hashes of keys ─▶ copies ─┐
    signatures of the rest    ┴▶ band keys ─▶ candidate pairs ─▶ distinct ─▶ measured ─▶ verified
    copies + verified ─▶ forests ─▶ components ─▶ members in order of keep
    ─▶ rounds: who is similar to the kept document; what is not known is measured, who is not similar is refused
    ─▶ one dedup shard a document shard, evidence.parquet, clusters.json

Exact copies are found by the 128-bit hash of their key and stand behind the copy with the smallest address from
then on: only that one is banded and measured.  A candidate pair is verified by the exact Jaccard similarity of the
two shingle sets, read from the text; so is every dropped document against the one that is kept.
Every reducer sorts what it gets, roots are minima, similarities are quotients of integers: the bytes written
do not depend on the engine, the workers, the bundles, retries or the order of anything.
"""

from pipelines.find_duplicates.graph import DEDUP_SCHEMA, EVIDENCE_SCHEMA, build_find_duplicates
from pipelines.find_duplicates.plan import METHOD_NAMES, METHODS, FindDuplicates

__all__ = ["DEDUP_SCHEMA", "EVIDENCE_SCHEMA", "METHODS", "METHOD_NAMES", "FindDuplicates", "build_find_duplicates"]
