"""Dedup against finished corpora without their text: the index folder, its query and the next version.

<index>/part-00000.parquet ...   a row a document: `dedup.index.SCHEMA`
<index>/index.json               annotator, bands, proof, versions, parents, sha256 of every part; written last

finished run  ─▶ IndexUnits ─▶ index                        (text is read once, for the sets of proof full)
new documents, index ─▶ text hashes and band keys meet ─▶ pairs ─▶ measured ─▶ the best one of each new document
                     ─▶ annotations/<name>/part-*.parquet, evidence.parquet, report.json
new documents that stay, index ─▶ IndexUnits ─▶ next version of the index
"""

from pipelines.dedup_index.build import DedupIndexError, IndexBuild, IndexUnits, Opened, open_index, write_index
from pipelines.dedup_index.query import INDEX_SCHEMA, QueryIndex, build_query_index

__all__ = [
    "INDEX_SCHEMA",
    "IndexBuild",
    "DedupIndexError",
    "IndexUnits",
    "Opened",
    "QueryIndex",
    "build_query_index",
    "open_index",
    "write_index",
]
