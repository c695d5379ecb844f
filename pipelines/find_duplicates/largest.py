"""clusters.json: the largest clusters and the components that a guard tore up, with a sample of their texts."""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.corpus_search import file_record, read_rows
from pipelines.find_duplicates.plan import FindDuplicates, row_of, shard_of

NAMED = 20
SAMPLE_CHARACTERS = 200
_SAMPLED_MEMBERS = 2
CLUSTERS_FILE = "clusters.json"
_LARGEST, _TORN = "largest", "not_similar_to_centre"


def largest_clusters(state: pa.Table, kept: np.ndarray, sizes: np.ndarray, similarity: np.ndarray) -> Iterator[bytes]:
    """JSON entries of the 20 largest clusters: kept [documents] the kept one of each, sizes [documents] its cluster."""
    found = np.flatnonzero(sizes > 1)
    names = state.column("doc_id")
    least = np.partition(sizes[found], -NAMED)[-NAMED] if found.size > NAMED else 0
    chosen = [int(c) for c in found[sizes[found] >= least]]
    chosen.sort(key=lambda centre: (-sizes[centre], names[centre].as_py()))
    if not chosen:
        return
    order = np.argsort(kept, kind="stable")
    ordered = kept[order]
    for centre in chosen[:NAMED]:
        members = order[np.searchsorted(ordered, centre) : np.searchsorted(ordered, centre, "right")]
        dropped = members[members != centre]
        values = similarity[dropped]
        sources = collections.Counter(state.column("source").take(pa.array(members)).to_pylist())
        yield _entry(
            _LARGEST,
            state,
            centre,
            dropped,
            values,
            {
                "size": int(members.size),
                "min_similarity": float(values.min()),
                "mean_similarity": math.fsum(values.tolist()) / values.size,
                "sources": dict(sorted(sources.items())),
            },
        )


def torn_components(state: pa.Table, roots: np.ndarray, unlike: np.ndarray, to_centre: np.ndarray) -> Iterator[bytes]:
    """JSON entries of the 20 clusters with the most documents that are `unlike` their centre."""
    if not unlike.any():
        return
    starts = np.flatnonzero(np.concatenate([[True], roots[1:] != roots[:-1]]))
    counts = np.add.reduceat(unlike.astype(np.int64), starts)
    stops = np.append(starts[1:], roots.size)
    names = state.column("doc_id")
    # A cluster's first document is its centre.
    least = max(int(np.partition(counts, -NAMED)[-NAMED]) if counts.size > NAMED else 1, 1)
    chosen = np.flatnonzero(counts >= least).tolist()
    chosen.sort(key=lambda i: (-counts[i], names[int(starts[i])].as_py()))
    for i in chosen[:NAMED]:
        members = np.arange(starts[i], stops[i])
        others = members[unlike[members]]
        values = to_centre[others]
        told = values[~np.isnan(values)]
        numbers = {
            "size": int(members.size),
            "unlike": int(others.size),
            "min_similarity": float(told.min()) if told.size else None,
        }
        yield _entry(_TORN, state, int(starts[i]), others, values, numbers)


def _entry(
    what: str, state: pa.Table, centre: int, others: np.ndarray, values: np.ndarray, numbers: Mapping[str, Any]
) -> bytes:
    """The two members that are least similar to the centre are shown beside it, the smaller id first on a tie."""
    least = np.sort(values)[min(_SAMPLED_MEMBERS, values.size) - 1]
    near = others[(values <= least) | np.isnan(values)] if not np.isnan(least) else others
    names = state.column("doc_id").take(pa.array(near)).to_pylist()
    value_of = dict(zip(others.tolist(), values.tolist(), strict=True))
    keyed = sorted(
        zip(near.tolist(), names, strict=True),
        key=lambda pair: (2.0 if math.isnan(value_of[pair[0]]) else value_of[pair[0]], pair[1]),
    )[:_SAMPLED_MEMBERS]
    addresses = state.column("address")
    entry = {
        "what": what,
        **numbers,
        "kept": {"doc_id": state.column("doc_id")[centre].as_py(), "address": addresses[centre].as_py()},
        "members": [
            {
                "doc_id": name,
                "similarity": None if math.isnan(value_of[i]) else value_of[i],
                "address": addresses[i].as_py(),
            }
            for i, name in keyed
        ],
    }
    return json.dumps(entry, sort_keys=True).encode()


def _rank(entry: Mapping[str, Any]) -> tuple[int, str]:
    return -entry["size" if entry["what"] == _LARGEST else "unlike"], entry["kept"]["doc_id"]


class WriteLargest(beam.DoFn):
    """Entries of all partitions -> clusters.json and its record.  Memory: 20 entries of each kind a partition."""

    def __init__(self, find: FindDuplicates) -> None:
        self._find = find

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        entries = [json.loads(value) for value in group[1] if value]
        told = {
            what: sorted((e for e in entries if e["what"] == what), key=_rank)[:NAMED] for what in (_LARGEST, _TORN)
        }
        shown = [shown for found in told.values() for e in found for shown in (e["kept"], *e["members"])]
        texts = self._texts({each["address"] for each in shown})
        for each in shown:
            each["text"] = texts[each.pop("address")]
        for found in told.values():
            for entry in found:
                del entry["what"]
        path = storage.join(self._find.folder, CLUSTERS_FILE)
        yield file_record(self._find.output, path, storage.canonical_json(told))

    def _texts(self, wanted: set[int]) -> dict[int, str]:
        """address -> the first 200 characters.  Reads a row group for each, at most 120."""
        addresses = np.sort(np.array(sorted(wanted), np.uint64))
        shards = shard_of(addresses)
        texts: dict[int, str] = {}
        for shard in np.unique(shards).tolist():
            mine = addresses[shards == shard]
            values = [
                text[:SAMPLE_CHARACTERS]
                for _, batch in read_rows(self._find.document(shard), ["text"], row_of(mine))
                for text in batch.column(0).to_pylist()
            ]
            texts.update(zip(mine.tolist(), values, strict=True))
        return texts
