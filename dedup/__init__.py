"""Deduplication, the pure part: shingles, MinHash, bands, similarity, components.  No Beam, no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dedup.bands import Bands, band_keys, candidate_pairs, choose_bands, distinct_pairs
from dedup.components import (
    KEEP_POLICIES,
    Keep,
    choose_kept,
    connected_components,
    merged_forest,
    spanning_forest,
)
from dedup.jaccard import jaccard
from dedup.minhash import MinHash, signatures, text_hashes
from dedup.rpv2 import RedPajamaMinHash
from dedup.shingles import shingle_sets

ANNOTATORS: Mapping[str, Callable[[], Any]] = {"minhash@1": MinHash, "minhash@rpv2": RedPajamaMinHash}

__all__ = [
    "ANNOTATORS",
    "KEEP_POLICIES",
    "Bands",
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
