"""Finds bytes that are repeated anywhere in the corpus, in all document shards; text stays where it is.

    shards ─▶ classes of anchors ─▶ by k-gram: settled, or asked for windows ─┬──────────────▶ marks
                                                                              ▼                  ▲
                          shards, asked ─▶ window hashes ─▶ by k-gram: codes of windows ─────────┘
    shards, marks ─▶ ranges ─▶ cut at characters or lines ─▶ one annotation shard a document shard

The algorithm is `dedup.substring_anchors` and `dedup.substring_windows`.  A worker reads its shard three times, in
parts of `part_bytes`; between workers go 40 bytes a class (1.2 bytes a byte of text at min_bytes = 100), 5 a class
that is not alone, and 8 a window where passages begin, end or differ.  What is found does not depend on the parts,
the partitions, the workers or the order of anything.
"""

from pipelines.find_substrings.graph import build_find_substrings
from pipelines.find_substrings.plan import ANNOTATION, SUBSTRINGS_SCHEMA, FindSubstrings

__all__ = ["ANNOTATION", "SUBSTRINGS_SCHEMA", "FindSubstrings", "build_find_substrings"]
