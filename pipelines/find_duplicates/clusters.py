"""Which documents of a component are merged, which one stays, and how similar the others are to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedup.bands import PAIR
from dedup.components import LINK, ON_REQUEST, PENDING, Decision, decide
from dedup.hashing import Hashes, mixed
from pipelines.exchange import Values, by_kind, partition_of, scattered, unpacked
from pipelines.find_duplicates.largest import largest_clusters, torn_components
from pipelines.find_duplicates.measure import MEASURED, MeasurePairs, pair_partition
from pipelines.find_duplicates.members import (
    LINKS,
    STATE_SCHEMA,
    first_state,
    from_ipc,
    scattered_rows,
)
from pipelines.find_duplicates.plan import (
    ANSWER,
    LINKED,
    MEMBER,
    VERDICT,
    FindDuplicates,
    Plan,
    counted,
    row_of,
    shard_of,
)

# Band numbers of what no band found: equal keys, and pairs that were measured on request.
EXACT_BAND, NO_BAND = -1, ON_REQUEST
VERDICT_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("cluster_id", pa.string()),
        ("duplicate_of", pa.string()),
        ("similarity", pa.float64()),
        ("band", pa.int16()),
    ]
)
# Tags of outputs.
VERDICTS, WAITING, ASKED, COUNTS, REPORTS = "verdicts", "waiting", "asked", "counts", "reports"


@dataclasses.dataclass(eq=False)
class Clusters(beam.PTransform):
    """(cluster partition, MEMBER rows and LINKED) -> (verdicts by shard, counts, reports), one of each a round.

    A cluster whose centre is not linked to all its members waits until their similarities are measured.
    """

    plan: Plan

    def expand(self, members: Values) -> tuple[list[Values], list[beam.PCollection[bytes]], list[Values]]:
        plan = self.plan
        verdicts, counts, reports = [], [], []
        inputs: Values | tuple[Values, ...] = members
        for number in range(plan.find.rounds + 1):
            decided = inputs | f"Round{number}" >> _Round(plan, number)
            verdicts.append(decided[VERDICTS])
            counts.append(decided[COUNTS])
            reports.append(decided[REPORTS])
            if number < plan.find.rounds:
                answers = (
                    decided[ASKED]
                    | f"MeasureAsked{number}" >> MeasurePairs(plan)
                    | f"ToClusters{number}"
                    >> beam.FlatMap(_by_cluster, plan.cluster_partitions).with_output_types(tuple[int, bytes])
                )
                inputs = (decided[WAITING], answers)
        return verdicts, counts, reports


def _by_cluster(element: tuple[int, bytes], partitions: int) -> Iterator[tuple[int, bytes]]:
    answers = np.frombuffer(element[1], MEASURED)
    yield from scattered(partition_of(mixed(answers["tag"]), partitions), answers, ANSWER)


@dataclasses.dataclass(eq=False)
class _Round(beam.PTransform):
    plan: Plan
    number: int

    def expand(self, inputs: Values | tuple[Values, ...]) -> beam.pvalue.DoOutputsTuple:
        plan = self.plan
        pairs = tuple[int, bytes]
        return (
            inputs
            | "ByCluster" >> plan.exchange
            | "Decide"
            >> beam.ParDo(_Decide(plan.find, self.number, plan.cluster_partitions, plan.pair_partitions))
            .with_output_types(pairs, waiting=pairs, asked=pairs, counts=bytes, reports=pairs)
            .with_outputs(WAITING, ASKED, COUNTS, REPORTS, main=VERDICTS)
        )


class _Decide(beam.DoFn):
    def __init__(self, find: FindDuplicates, number: int, partitions: int, pair_partitions: int) -> None:
        self._find, self._number = find, number
        self._partitions, self._pair_partitions = partitions, pair_partitions

    def process(self, group: tuple[int, Iterable[bytes]]) -> Iterator[Any]:
        members, linked, answers = by_kind(group[1], (MEMBER, LINKED, ANSWER))
        if not members:
            return
        links = unpacked(linked, LINKS)
        if self._number:
            state = from_ipc(members, STATE_SCHEMA).sort_by([("root", "ascending"), ("rank", "ascending")])
        else:
            state = first_state(self._find, from_ipc(members), links)
        round_ = decide_round(
            self._find, state, links, unpacked(answers, MEASURED) if self._number else None, self._number
        )
        for shard, value in scattered_rows(round_.shards, round_.verdicts, VERDICT):
            yield shard, value
        for partition, value in scattered_rows(
            partition_of(mixed(round_.waiting.column("root").to_numpy()), self._partitions), round_.waiting, MEMBER
        ):
            yield beam.pvalue.TaggedOutput(WAITING, (partition, value))
        roots = round_.waiting_links["root"]
        for element in scattered(partition_of(mixed(roots), self._partitions), round_.waiting_links, LINKED):
            yield beam.pvalue.TaggedOutput(WAITING, element)
        for element in scattered(pair_partition(round_.asked, self._pair_partitions), round_.asked):
            yield beam.pvalue.TaggedOutput(ASKED, element)
        yield beam.pvalue.TaggedOutput(COUNTS, counted(**round_.counts))
        for report in round_.reports:
            yield beam.pvalue.TaggedOutput(REPORTS, (0, report))


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """What one round made of the clusters of a partition.

    verdicts       VERDICT_SCHEMA of all members of clusters of two or more; shards: the shard of each
    waiting        STATE of the documents whose cluster waits for similarities, and waiting_links between them
    asked          PAIR whose similarity it waits for; tag: the root of the cluster
    counts         for the summary
    reports        JSON: the largest clusters, and components that the guard tore up
    """

    verdicts: pa.RecordBatch
    shards: np.ndarray
    waiting: pa.RecordBatch
    waiting_links: np.ndarray
    asked: np.ndarray
    counts: dict[str, int]
    reports: list[bytes]


def decide_round(
    find: FindDuplicates, state: pa.Table, links: np.ndarray, answers: np.ndarray | None, number: int
) -> Round:
    """state: STATE sorted by root and rank; links: LINKS; answers: MEASURED, tag: root, None in the first round.

    Documents with one text are one node here: their first document in order of keep stands for them.
    """
    state = state.combine_chunks()
    roots, texts = state.column("root").to_numpy(), state.column("text").to_numpy()
    whole = state.column("whole").to_numpy()
    names = state.column("doc_id").chunk(0) if state.num_rows else pa.array([], pa.string())
    # Nodes in order of their heads, so sorted by cluster and in order of keep.
    known, heads, node_of = np.unique(texts, return_index=True, return_inverse=True)
    order = np.argsort(heads, kind="stable")
    node_number = np.empty(order.size, np.int64)
    node_number[order] = np.arange(order.size)
    heads, node = heads[order], node_number[node_of]
    fresh = np.ones(heads.size, np.bool_)
    fresh[1:] = roots[heads[1:]] != roots[heads[:-1]]
    decision = decide(
        np.cumsum(fresh) - 1,
        _numbered(links, known, node_number),
        None if answers is None else _numbered(answers, known, node_number),
        threshold=find.least_to_centre,
        guard=find.applied_guard,
        ask_from=find.ask_from if number < find.rounds else None,
    )
    waits = (decision.kept == PENDING)[node]
    kept = np.where(waits, PENDING, heads[np.where(decision.kept == PENDING, 0, decision.kept)][node])
    copies = (kept != PENDING) & (kept != np.arange(kept.size)) & (node == decision.kept[node])
    similarity = np.where(copies, 1.0, decision.similarity[node])
    keyed = find.method == "exact"
    band = np.where(copies | keyed, EXACT_BAND, decision.band[node])
    sizes = np.bincount(kept[~waits], minlength=kept.size)
    shown = np.flatnonzero(~waits & (sizes[np.where(waits, 0, kept)] > 1))
    dropped = kept[shown] != shown
    verdicts = pa.RecordBatch.from_arrays(
        [
            pa.array(row_of(state.column("address").to_numpy()[shown])),
            names.take(pa.array(_smallest_names(names, kept, shown))),
            names.take(pa.array(kept[shown], mask=~dropped)),
            pa.array(similarity[shown], mask=~dropped),
            pa.array(band[shown].astype(np.int16)),
        ],
        schema=VERDICT_SCHEMA,
    )
    refused = decision.refused[node] & whole
    unlike = np.zeros(kept.size, np.bool_)
    if not keyed and find.guard != "allow":
        unlike[shown] = dropped & (similarity[shown] < find.least_to_centre)
    counts = {
        "clusters": int(np.count_nonzero(sizes > 1)),
        "largest_cluster": int(sizes[sizes > 1].max(initial=0)),
        "refused_merges": int(refused.sum()),
        "unlike_kept": int(unlike.sum()),
    }
    reports = [
        *largest_clusters(state, kept, sizes, similarity),
        *torn_components(state, roots, refused | unlike, decision.to_centre[node]),
    ]
    shards = shard_of(state.column("address").to_numpy()[shown])
    return Round(verdicts, shards, *_waiting(state, links, decision, node, known, node_number), counts, reports)


def _numbered(pairs: np.ndarray, known: Hashes, node_number: np.ndarray) -> np.ndarray:
    links = np.empty(pairs.size, LINK)
    for name in ("first", "second"):
        links[name] = node_number[np.searchsorted(known, pairs[name])] if pairs.size else 0
    links["similarity"] = pairs["similarity"]
    links["band"] = pairs["tag"].astype(np.int64)
    return links


def _smallest_names(names: pa.Array, kept: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """For every shown document the document with the smallest id of its cluster."""
    by_name = pc.sort_indices(names.take(pa.array(shown))).to_numpy()
    place = np.empty(shown.size, np.int64)
    place[by_name] = np.arange(shown.size)
    least = np.full(kept.size, shown.size, np.int64)
    np.minimum.at(least, kept[shown], place)
    return shown[by_name[least[kept[shown]]]]


def _waiting(
    state: pa.Table,
    links: np.ndarray,
    decision: Decision,
    node: np.ndarray,
    known: Hashes,
    node_number: np.ndarray,
) -> tuple[pa.RecordBatch, np.ndarray, np.ndarray]:
    """The waiting documents with the root of what they are in now, their links, and what is asked for them.

    The smallest address with the text of the cluster's centre is the new root: no other cluster has that.
    """
    text_of_node = np.empty(known.size, np.uint64)
    text_of_node[node_number] = known
    root_of_node = text_of_node[decision.cluster]
    rows = np.flatnonzero((decision.kept == PENDING)[node])
    waiting = state.take(pa.array(rows))
    whole = waiting.column("whole").to_numpy()
    columns = {
        **{name: waiting.column(name).combine_chunks() for name in STATE_SCHEMA.names},
        "root": pa.array(root_of_node[node[rows]]),
        "whole": pa.array(whole & ~decision.refused[node[rows]]),
    }
    arrays = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns.values()]
    batch = pa.RecordBatch.from_arrays(arrays, schema=STATE_SCHEMA)
    ends = _numbered(links, known, node_number)
    first, second = ends["first"], ends["second"]
    stay = (decision.kept[first] == PENDING) & (decision.kept[second] == PENDING)
    stay &= decision.cluster[first] == decision.cluster[second]
    kept_links = links[stay]
    kept_links["root"] = root_of_node[first[stay]]
    asked = np.empty(len(decision.asked), PAIR)
    pairs = text_of_node[decision.asked]
    asked["first"], asked["second"] = pairs.min(axis=1, initial=np.uint64(2**64 - 1)), pairs.max(axis=1, initial=0)
    asked["tag"] = root_of_node[decision.asked[:, 0]] if len(pairs) else 0
    return batch, kept_links, asked
