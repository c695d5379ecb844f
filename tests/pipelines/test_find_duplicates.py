"""The search for duplicates end to end: truth by brute force, proof, books, the same bytes on every way."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedup.jaccard import jaccard
from dedup.shingles import shingle_sets
from pipelines import exchange as exchange_module
from pipelines.find_duplicates import FindDuplicates, build_find_duplicates
from pipelines.find_duplicates.measure import pack_set, unpack_sets
from pipelines.shards import write_shard
from tests.pipelines.duplicates_fixture import (
    THRESHOLD,
    Documents,
    Result,
    find_in,
    search,
    write_corpus,
)


def edited(rng: random.Random, text: str, words: int, vocabulary: list[str]) -> str:
    parts = text.split()
    for at in rng.sample(range(len(parts)), min(words, len(parts))):
        parts[at] = rng.choice(vocabulary)
    return " ".join(parts)


def planted(seed: int, originals: int) -> list[Documents]:
    """Documents with copies, edited copies from near to far, too short ones, and texts equal but for case."""
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(2000)] + ["É", "日本語", "straße"]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(30, 250))) for _ in range(originals)]
    for text in texts[: originals // 2]:
        for share in rng.choices([0, 0.002, 0.01, 0.02, 0.03, 0.06], k=rng.randint(0, 4)):
            copy = edited(rng, text, round(share * len(text.split())), vocabulary)
            texts.append(rng.choice([copy, copy, copy.upper(), copy + "."]))
    chain = texts[0]
    for _ in range(6):  # neighbours are similar, the ends are not
        chain = edited(rng, chain, max(1, len(chain.split()) // 60), vocabulary)
        texts.append(chain)
    texts += ["", "", "short text", "short text", "Short text", "another short text"]
    rng.shuffle(texts)
    documents = [(f"{rng.getrandbits(64):016x}", text) for text in texts]
    return [documents[:100], [], documents[100:101], documents[101:]]


@pytest.fixture(scope="module")
def corpus() -> list[Documents]:
    return planted(11, 160)


@pytest.fixture(scope="module")
def found(corpus: list[Documents], tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Whole components merged, those that no pair connects directly too: the guard is off."""
    return find_in(tmp_path_factory.mktemp("corpus"), corpus, guard="report")


@pytest.fixture(scope="module")
def texts(corpus: list[Documents]) -> dict[str, str]:
    return dict(itertools.chain(*corpus))


@pytest.fixture(scope="module")
def truth(texts: dict[str, str]) -> dict[frozenset[str], float]:
    """All pairs that are equal, or similar at the threshold, by brute force."""
    sets = dict(zip(texts, shingle_sets(pa.array(list(texts.values()))), strict=True))
    pairs = {}
    for a, b in itertools.combinations(texts, 2):
        similarity = 1.0 if texts[a] == texts[b] else jaccard(sets[a], sets[b])
        if similarity >= THRESHOLD:
            pairs[frozenset((a, b))] = similarity
    return pairs


def test_precision_is_one_and_recall_is_at_least_99_percent(
    found: Result, truth: dict[frozenset[str], float], texts: dict[str, str]
) -> None:
    assert len(truth) > 150
    true_clusters = {frozenset(c) for c in nx.connected_components(nx.Graph(map(tuple, truth)))}
    together = {doc: cluster for cluster in found.clusters for doc in cluster}
    assert all(any(cluster <= true for true in true_clusters) for cluster in found.clusters)
    hits = [b in together.get(a, ()) for a, b in map(tuple, truth)]
    assert np.mean(hits) >= 0.99
    assert sum(map(len, found.clusters)) >= 0.99 * sum(map(len, true_clusters))


def test_evidence_is_what_the_texts_say(found: Result, texts: dict[str, str]) -> None:
    evidence = found.evidence
    assert [row["dropped_id"] for row in evidence] == sorted(row["dropped_id"] for row in evidence)
    assert len({row["band"] for row in evidence}) > 3
    for row in evidence:
        a, b = texts[row["dropped_id"]], texts[row["kept_id"]]
        left, right = (set(zip(*(t.lower().strip(".").split()[i:] for i in range(5)), strict=False)) for t in (a, b))
        if row["band"] == "exact":
            assert a == b and row["similarity"] == 1.0
        else:
            assert a != b
            assert row["similarity"] == len(left & right) / len(left | right)
            assert row["band"] is None or row["similarity"] >= THRESHOLD


def test_a_pair_below_the_threshold_is_joined_through_others(found: Result) -> None:
    below = [row for row in found.evidence if row["similarity"] < THRESHOLD]
    assert below and all(row["band"] is None for row in below)


def test_kept_is_the_longest_and_cluster_id_the_smallest(found: Result, texts: dict[str, str]) -> None:
    by_id = {row["doc_id"]: row for row in found.rows}
    for cluster in found.clusters:
        kept = min(cluster, key=lambda d: (-len(texts[d]), d))
        assert {by_id[d]["cluster_id"] for d in cluster} == {min(cluster)}
        assert {by_id[d]["duplicate_of"] for d in cluster - {kept}} == {kept}
        assert by_id[kept]["duplicate_of"] is None and by_id[kept]["similarity"] is None


def test_rows_are_the_documents_in_order(found: Result, corpus: list[Documents]) -> None:
    assert [row["doc_id"] for row in found.rows] == [d for shard in corpus for d, _ in shard]
    assert all((r["duplicate_of"] is None) == (r["similarity"] is None) for r in found.rows)
    evidence = {row["dropped_id"]: (row["kept_id"], row["similarity"]) for row in found.evidence}
    dropped = {r["doc_id"]: (r["duplicate_of"], r["similarity"]) for r in found.rows if r["duplicate_of"]}
    assert evidence == dropped


def test_books_balance(found: Result, corpus: list[Documents], texts: dict[str, str]) -> None:
    total = {"read": 0, "kept": 0, "exact_duplicate": 0, "near_duplicate": 0}
    for path, books in found.books.items():
        if path.endswith(("evidence.parquet", "clusters.json")):
            assert books == {"read": 0, "kept": 0, "dropped": {}, "rejected": {}}
            continue
        assert books["read"] == books["kept"] + sum(books["dropped"].values()) and not books["rejected"]
        total["read"] += books["read"]
        total["kept"] += books["kept"]
        for reason, count in books["dropped"].items():
            total[reason] += count
    equal = sum(texts[r["dropped_id"]] == texts[r["kept_id"]] for r in found.evidence)
    assert total == {
        "read": len(texts),
        "kept": len(texts) - len(found.evidence),
        "exact_duplicate": equal,
        "near_duplicate": len(found.evidence) - equal,
    }
    assert len(found.books) == len(corpus) + 2


def test_records_tell_the_written_files(found: Result) -> None:
    import hashlib

    for record in found.records:
        if "path" in record:
            data = (found.output / record["path"]).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (record["bytes"], record["sha256"])


def test_summary(found: Result) -> None:
    summary = found.summary
    assert summary["clusters"] == len(found.clusters)
    assert summary["largest_cluster"] == max(map(len, found.clusters))
    assert summary["candidate_pairs"] >= summary["verified_pairs"] > 0 < summary["exact_copies"]


def test_spilled_values_are_removed(found: Result) -> None:
    assert set(found.files) == {*(f"part-0000{i}.parquet" for i in range(4)), "evidence.parquet", "clusters.json"}


# -- the same bytes on every way ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,flags",
    [
        ({"exchange": "memory"}, ["--direct_runner_bundle_repeat=1"]),
        ({"exchange": "files"}, ["--direct_runner_bundle_repeat=1"]),
        ({"exchange": "memory", "workers": 9}, []),
        pytest.param(
            {"exchange": "files", "workers": 2},
            ["--direct_num_workers=2", "--direct_running_mode=multi_processing"],
            marks=pytest.mark.engine,
        ),
    ],
    ids=["memory-repeated", "files-repeated", "other-partitions", "two-processes"],
)
def test_same_bytes(found: Result, options: dict[str, Any], flags: list[str]) -> None:
    expected = found.files
    again = search(found.output, FindDuplicates(str(found.output), 4, guard="report", **options), *flags)
    assert again.files == expected
    assert sorted(map(str, again.records)) == sorted(map(str, found.records))


def _reversed(group: tuple[int, Iterable[bytes]]) -> tuple[int, list[bytes]]:
    return group[0], list(group[1])[::-1]


def test_order_of_values_does_not_matter(found: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = found.files
    original: Callable[..., Any] = exchange_module.Exchange.expand

    def expand(self: Any, values: Any) -> Any:
        hint = tuple[int, Iterable[bytes]]
        return original(self, values) | "Reverse" >> beam.Map(_reversed).with_output_types(hint)

    monkeypatch.setattr(exchange_module.Exchange, "expand", expand)
    monkeypatch.setattr("pipelines.exchange.MAX_VALUE_BYTES", 4096)  # many values, so that there is an order
    again = search(found.output, FindDuplicates(str(found.output), 4, guard="report", exchange="memory"))
    assert again.files == expected


def test_distribution_over_shards_does_not_matter(found: Result, corpus: list[Documents], tmp_path: Path) -> None:
    documents = list(itertools.chain(*corpus))
    random.Random(3).shuffle(documents)
    again = find_in(tmp_path, [documents[i::5] for i in range(5)], guard="report")
    key = lambda row: row["doc_id"]  # noqa: E731
    assert sorted(again.rows, key=key) == sorted(found.rows, key=key)
    assert again.evidence == found.evidence


# -- small and extreme corpora -----------------------------------------------------------------------------


def test_no_shard_at_all(tmp_path: Path) -> None:
    result = find_in(tmp_path, [])
    assert result.evidence == [] and set(result.summary.values()) == {0}
    assert set(result.files) == {"evidence.parquet", "clusters.json"}


@pytest.mark.parametrize(
    "shards,method",
    [
        ([[]], "minhash"),
        ([[("a", "one document of more than five words")]], "minhash"),
        ([[("a", "x y z")], [("b", "u v w")]], "minhash"),
        ([[], [("a", "x y z")]], "exact"),
    ],
)
def test_nothing_to_find(tmp_path: Path, shards: list[Documents], method: str) -> None:
    result = find_in(tmp_path, shards, method=method)
    ids = [d for shard in shards for d, _ in shard]
    nothing = {"cluster_id": None, "duplicate_of": None, "similarity": None}
    assert result.rows == [{"doc_id": d, **nothing} for d in ids]
    assert result.evidence == [] and result.summary["clusters"] == 0


def test_five_thousand_copies(tmp_path: Path) -> None:
    text = "the very same boilerplate on every page of the site"
    documents = [(f"{i * 7919 % 5000:04d}", text) for i in range(5000)]
    result = find_in(tmp_path, [documents[:1700], documents[1700:]])
    assert result.summary == {
        "exact_copies": 4999,
        "candidate_pairs": 0,
        "verified_pairs": 0,
        "clusters": 1,
        "largest_cluster": 5000,
        "refused_merges": 0,
        "unlike_kept": 0,
    }
    assert len(result.evidence) == 4999
    assert {(r["kept_id"], r["similarity"], r["band"]) for r in result.evidence} == {("0000", 1.0, "exact")}


def test_a_giant_group_of_near_copies(tmp_path: Path) -> None:
    """Beyond 64 members pairs grow linearly, and the cluster is still found."""
    rng = random.Random(2)
    words = [f"w{i}" for i in range(400)]
    documents = [(f"{i:03d}", " ".join([*words, f"tail{rng.random()}"])) for i in range(300)]
    result = find_in(tmp_path, [documents[::2], documents[1::2]], keep="smallest_id")
    assert result.clusters == {frozenset(d for d, _ in documents)}
    assert result.summary["candidate_pairs"] < 5 * 300  # all pairs are 44,850
    assert {r["kept_id"] for r in result.evidence} == {"000"}
    assert all(r["similarity"] > 0.9 for r in result.evidence)


def test_exact_method_leaves_near_copies(tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(100))
    result = find_in(tmp_path, [[("a", words), ("b", words + " x"), ("c", words)]], method="exact", keep="smallest_id")
    assert [(r["doc_id"], r["duplicate_of"]) for r in result.rows] == [("a", None), ("b", None), ("c", "a")]
    assert result.summary["exact_copies"] == 1 and result.summary["verified_pairs"] == 0


def test_a_document_that_failed_to_be_annotated_is_alone(tmp_path: Path) -> None:
    text = " ".join(f"w{i}" for i in range(50))
    write_corpus(tmp_path, [[("a", text), ("b", text), ("c", text)]])
    path = tmp_path / "annotations" / "minhash@1" / "part-00000.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1].update(signature=None, text_hash=None, shingles=None)
    write_shard(str(path), table.schema, pa.Table.from_pylist(rows, table.schema).to_batches())
    result = search(tmp_path, FindDuplicates(str(tmp_path), 1))
    assert [r["duplicate_of"] for r in result.rows] == [None, None, "a"]


def test_annotations_of_other_documents_are_an_error(tmp_path: Path) -> None:
    write_corpus(tmp_path / "x", [[("a", "text")]])
    write_corpus(tmp_path / "y", [[("b", "text")]])
    (tmp_path / "y" / "annotations").rename(tmp_path / "x" / "other")
    for old in (tmp_path / "x" / "annotations").rglob("*.parquet"):
        old.unlink()
    (tmp_path / "x" / "other" / "minhash@1" / "part-00000.parquet").rename(
        tmp_path / "x" / "annotations" / "minhash@1" / "part-00000.parquet"
    )
    with pytest.raises(Exception, match="rows do not belong to the documents"):
        search(tmp_path / "x", FindDuplicates(str(tmp_path / "x"), 1))


@pytest.mark.parametrize(
    "options,message",
    [
        ({"method": "simhash"}, "allowed are exact, minhash, exact_text"),
        ({"keep": "newest"}, "allowed are longest, smallest_id, stack_v2"),
        ({"threshold": 0.0}, "allowed is 0 < threshold <= 1"),
        ({"exchange": "disk"}, "allowed are memory, files"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_wrong_options_stop_before_any_work(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FindDuplicates("out", 1, **options)


# -- which of them are merged, and who stays -----------------------------------------------------------------


@pytest.fixture(scope="module")
def starred(corpus: list[Documents], tmp_path_factory: pytest.TempPathFactory) -> Result:
    return find_in(tmp_path_factory.mktemp("stars"), corpus, clusters="star")


def jaccard_of(texts: dict[str, str], a: str, b: str) -> float:
    one, other = shingle_sets(pa.array([texts[a], texts[b]]))
    return 1.0 if texts[a] == texts[b] else jaccard(one, other)


def test_every_dropped_document_of_a_star_is_similar_to_the_kept_one(starred: Result, texts: dict[str, str]) -> None:
    kept = {row["doc_id"] for row in starred.rows if row["duplicate_of"] is None}
    assert len(starred.evidence) > 100 and starred.summary["refused_merges"] > 0
    for row in starred.evidence:
        assert row["kept_id"] in kept
        assert row["similarity"] == jaccard_of(texts, row["dropped_id"], row["kept_id"]) >= THRESHOLD
        assert row["band"] is not None


def test_stars_are_greedy_by_length(starred: Result, truth: dict[frozenset[str], float], texts: dict[str, str]) -> None:
    """Against the definition on the exact pairs, of which the bands may miss one in a hundred."""
    kept: dict[str, str] = {}
    for centre in sorted(texts, key=lambda d: (-len(texts[d]), d)):
        if centre not in kept:
            kept[centre] = centre
            for other in texts:
                if other not in kept and frozenset((centre, other)) in truth:
                    kept[other] = centre
    found = {row["doc_id"]: row["duplicate_of"] or row["doc_id"] for row in starred.rows}
    assert np.mean([found[d] == kept[d] for d in texts]) >= 0.99


def test_the_guard_tears_up_a_chain_and_says_so(tmp_path: Path) -> None:
    """50 documents, each moved on by 4 of 100 words: neighbours are 0.85 similar, the ends have nothing in common."""
    words = [f"w{i}" for i in range(400)]
    chain = {f"{i:02d}": " ".join(words[4 * i : 4 * i + 100]) for i in range(50)}
    documents = list(chain.items())
    random.Random(1).shuffle(documents)
    shards = [documents[::2], documents[1::2]]
    results = {
        guard: find_in(tmp_path / guard, shards, guard=guard, threshold=0.75, keep="smallest_id")
        for guard in ("refuse", "report", "allow")
    }
    assert results["report"].clusters == results["allow"].clusters == {frozenset(chain)}
    assert results["report"].summary["unlike_kept"] > 40 and results["allow"].summary["unlike_kept"] == 0
    refused = results["refuse"]
    assert refused.summary["refused_merges"] > 40 and refused.summary["unlike_kept"] == 0
    assert refused.summary["clusters"] > 8 and refused.summary["largest_cluster"] < 10
    assert all(row["similarity"] >= 0.5 for row in refused.evidence)  # 2 * 0.75 - 1
    for guard in ("refuse", "report"):
        named = json.loads(results[guard].files["clusters.json"])["not_similar_to_centre"]
        (torn,) = named
        assert (torn["size"], torn["kept"]["doc_id"], torn["min_similarity"]) == (50, "00", 0.0)
        assert torn["unlike"] == results[guard].summary["refused_merges"] + results[guard].summary["unlike_kept"]
        assert torn["members"][0]["text"] == chain[torn["members"][0]["doc_id"]][:200]
    assert json.loads(results["allow"].files["clusters.json"])["not_similar_to_centre"] == []
    strict = find_in(tmp_path / "strict", shards, threshold=0.75, guard_similarity=0.75, keep="smallest_id")
    assert min(row["similarity"] for row in strict.evidence) >= 0.75


def test_clusters_are_named_with_their_texts(found: Result, texts: dict[str, str]) -> None:
    largest = json.loads(found.files["clusters.json"])["largest"]
    by_id = {row["doc_id"]: row for row in found.rows}
    sizes = sorted((len(cluster) for cluster in found.clusters), reverse=True)
    assert [entry["size"] for entry in largest] == sizes[:20] and len(sizes) > 20
    for entry in largest:
        kept = entry["kept"]["doc_id"]
        values = {d: row["similarity"] for d, row in by_id.items() if row["duplicate_of"] == kept}
        assert entry["size"] == len(values) + 1 == sum(entry["sources"].values())
        assert entry["min_similarity"] == min(values.values())
        assert entry["mean_similarity"] == pytest.approx(np.mean(list(values.values())))
        least = sorted(values, key=lambda d: (values[d], d))[:2]
        assert [m["doc_id"] for m in entry["members"]] == least
        assert all(m["text"] == texts[m["doc_id"]][:200] for m in (entry["kept"], *entry["members"]))


def test_short_texts_are_merged_only_when_equal(tmp_path: Path) -> None:
    documents = [
        ("a", "Yes."),
        ("b", "Yes."),
        ("c", "yes."),
        ("d", "No."),
        ("e", ""),
        ("f", ""),
        ("g", "one two three four"),
    ]
    for options in ({}, {"clusters": "star"}, {"threshold": 0.1}):
        result = find_in(tmp_path / str(options), [documents], **options)
        assert result.clusters == {frozenset("ab"), frozenset("ef")}


# -- parts -------------------------------------------------------------------------------------------------


def test_a_set_beyond_one_value_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.find_duplicates.measure._PIECE_WORDS", 3)
    sets = {
        5: np.arange(1, 11, dtype=np.uint64),
        6: np.zeros(0, np.uint64),
        7: np.arange(2, 5, dtype=np.uint64),
    }
    records = [record for where, hashes in sets.items() for record in pack_set(where, 7, hashes)]
    assert len(records) == 6
    back, lengths = unpack_sets(records[::-1])
    assert lengths == dict.fromkeys(sets, 7)
    assert back.keys() == sets.keys() and all(np.array_equal(back[k], sets[k]) for k in sets)


def test_nothing_is_pickled_on_the_way_to_a_shuffle(tmp_path: Path) -> None:
    write_corpus(tmp_path, [[("a", "x")]])
    for mode in ("memory", "files"):
        pipeline = beam.Pipeline("FnApiRunner")
        build_find_duplicates(pipeline, FindDuplicates(str(tmp_path), 1, exchange=mode))  # type: ignore[arg-type]
        components = pipeline.to_runner_api().components

        def urns(coder: str, components: Any = components) -> list[str]:
            found = components.coders[coder]
            return [
                found.spec.urn,
                *(u for part in found.component_coder_ids for u in urns(part, components)),
            ]

        shuffles = [t for t in components.transforms.values() if t.spec.urn == "beam:transform:group_by_key:v1"]
        assert len(shuffles) > 10
        for shuffle in shuffles:
            if "SpreadShards" in shuffle.unique_name:
                continue  # Beam's own Reshuffle wraps each shard number with its window
            for collection in shuffle.inputs.values():
                assert not any("pickled" in urn for urn in urns(components.pcollections[collection].coder_id))
        names = [t.unique_name for t in components.transforms.values() if "core.py" not in t.unique_name]
        assert not any("lambda" in name for name in names)
