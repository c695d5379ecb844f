"""Deduplication, the pure part: shingles, MinHash, bands, similarity, components.  No Beam, no files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from dedup.bands import Bands, band_keys, candidate_pairs, choose_bands, distinct_pairs
from dedup.bigcode import BigCodeMinHash
from dedup.components import (
    KEEP_POLICIES,
    Keep,
    choose_kept,
    connected_components,
    merged_forest,
    spanning_forest,
)
from dedup.datasketch import LEGACY, DatasketchMinHash
from dedup.datatrove import DatatroveMinHash
from dedup.jaccard import jaccard
from dedup.minhash import MinHash, signatures, text_hashes
from dedup.rpv2 import RedPajamaMinHash
from dedup.shingles import shingle_sets

ANNOTATORS: Mapping[str, Callable[..., Any]] = {
    "minhash@1": MinHash,
    "minhash_characters@1": functools.partial(MinHash, shingle="characters"),
    "minhash_code@1": functools.partial(MinHash, shingle="code"),
    "minhash_dna@1": functools.partial(MinHash, shingle="dna"),
    "minhash@rpv2": RedPajamaMinHash,
    "minhash@datatrove": DatatroveMinHash,
    "minhash_sha1@datatrove": functools.partial(DatatroveMinHash, hash="sha1"),
    "minhash@datasketch": DatasketchMinHash,
    "minhash@datasketch-legacy": functools.partial(DatasketchMinHash, name=LEGACY),
    "minhash@bigcode-v1": functools.partial(BigCodeMinHash, version="v1"),
    "minhash@bigcode-v2": functools.partial(BigCodeMinHash, version="v2"),
}

__all__ = [
    "ANNOTATORS",
    "KEEP_POLICIES",
    "Bands",
    "BigCodeMinHash",
    "DatasketchMinHash",
    "DatatroveMinHash",
    "Keep",
    "MinHash",
    "RedPajamaMinHash",
    "band_keys",
    "candidate_pairs",
    "choose_bands",
    "choose_kept",
    "connected_components",
    "distinct_pairs",
    "jaccard",
    "merged_forest",
    "shingle_sets",
    "signatures",
    "spanning_forest",
    "text_hashes",
]
