from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_models.packing import PackedSamples, unpacked
from eval_models.vocabulary import END_OF_DOCUMENT, FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX
from pipelines import packing
from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.engines import graph_problems, pipeline_options
from pipelines.errors import UsageError
from pipelines.manifest import Books
from pipelines.packing import Fim, PackDocuments, appearances, build_pack_documents, pack_summary
from pipelines.packing.plan import shards_for
from pipelines.packing.tokenizer import line_pieces, open_tokenizer
from pipelines.recipe_models import LocalEngine
from pipelines.shards import row_count, write_shard
from pipelines.stages import StageError, run_pipeline
from tests.conftest import document_batch


def corpus(folder: Path, texts: dict[str, str], files: int = 2, **columns: Any) -> tuple[str, ...]:
    """texts: id -> text; sources a and b in turn."""
    ids = sorted(texts)
    rows = [
        {"doc_id": each, "text": texts[each], "source": "ab"[i % 2], "kind": "code", **columns}
        for i, each in enumerate(ids)
    ]
    paths = []
    for number in range(files):
        path = str(folder / f"part-{number}.parquet")
        write_shard(path, DOCUMENT_SCHEMA, [document_batch(*rows[number::files])] if rows[number::files] else [])
        paths.append(path)
    return tuple(paths)


def packed(output: Path, files: tuple[str, ...], length: int = 16, **asked: Any) -> list[dict[str, Any]]:
    rows = tuple(row_count(file) for file in files)
    plan = PackDocuments(str(output), str(output / "packed"), files, rows, length, **asked)
    plan.check()
    return run_pipeline(str(output), "packed", lambda p: build_pack_documents(p, plan), pipeline_options(LocalEngine()))


def books(records: list[dict[str, Any]]) -> Books:
    return sum((Books.from_json(record["books"]) for record in records), Books())


def words(seed: int, most: int = 40) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(["né", "two", "\n", "🙂", "x"]) for _ in range(rng.randint(1, most)))


TEXTS = {f"d{i:03d}": words(i) for i in range(60)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return corpus(tmp_path_factory.mktemp("corpus"), TEXTS)


@pytest.mark.parametrize("strategy", ["concatenate", "best_fit"])
def test_every_document_comes_back_once_an_epoch(tmp_path: Path, shards: tuple[str, ...], strategy: str) -> None:
    records = packed(tmp_path, shards, strategy=strategy, weights=(("b", 2.5), ("a", 1.0)), seed=3)
    found = unpacked(PackedSamples(tmp_path / "packed"))
    times = {doc: appearances(doc, (1.0, 2.5)[i % 2], None, 3) for i, doc in enumerate(sorted(TEXTS))}
    assert {2, 3} == {times[doc] for i, doc in enumerate(sorted(TEXTS)) if i % 2}
    assert sorted(found) == sorted((doc, epoch) for doc, count in times.items() for epoch in range(count))
    for (doc, _), tokens in found.items():
        assert tokens[-1] == END_OF_DOCUMENT
        assert bytes(tokens[:-1].astype(np.uint8)) == TEXTS[doc].encode()
    assert books(records) == Books(60, 60)
    summary = pack_summary(records)
    assert summary["tokens"] == sum(len(tokens) for tokens in found.values())
    assert summary["tokens"] + summary["padding"] == 16 * summary["samples"]
    assert summary["samples"] == len(PackedSamples(tmp_path / "packed"))
    assert summary["by_source"]["a"] == {
        "documents": 30,
        "appearances": 30,
        "tokens": sum(len(TEXTS[d].encode()) + 1 for d in sorted(TEXTS)[::2]),
        "permuted": 0,
        "epochs": 1.0,
    }
    assert summary["weighted"] == {"a": 30, "b": 30}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "packed" / "data").iterdir())}


def test_the_bytes_do_not_depend_on_how_the_input_lies_or_travels(
    tmp_path: Path, shards: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing.plan, "DOCUMENTS_PER_SHARD", 16)
    one = packed(tmp_path / "one", shards, weights=(("*", 1.5),))
    first = files_of(tmp_path / "one")
    assert list(first) == [f"train-{i:05d}-of-00004.parquet" for i in range(4)]
    cut = corpus(tmp_path / "cut", TEXTS, files=5)
    packed(tmp_path / "cut", cut[::-1], weights=(("*", 1.5),), exchange="memory")
    assert files_of(tmp_path / "cut") == first
    # Little memory: partitions are read in passes.
    monkeypatch.setattr("pipelines.packing.graph.in_order", lambda values, rank: packing_in_order(values, rank, 100))
    packed(tmp_path / "passes", shards, weights=(("*", 1.5),))
    assert files_of(tmp_path / "passes") == first
    packed(tmp_path / "seed", shards, weights=(("*", 1.5),), seed=1)
    assert files_of(tmp_path / "seed") != first
    assert not (tmp_path / "one" / "packed" / "spill").exists()
    assert {r["path"] for r in one} == {f"packed/data/{name}" for name in first}


def packing_in_order(values: Any, rank: Any, held: int) -> Any:
    from pipelines.parcels import in_order

    return in_order(values, rank, held)


def test_blocks_lose_no_document(tmp_path: Path, shards: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.packing.graph.BLOCK_BYTES", 300)
    monkeypatch.setattr("pipelines.packing.graph._TOKENS_AT_ONCE", 40)
    packed(tmp_path, shards)
    assert len(unpacked(PackedSamples(tmp_path / "packed"))) == 60


def test_documents_without_tokens_or_weight_or_a_new_id_are_dropped_by_name(tmp_path: Path) -> None:
    texts = {"d0": "", "d1": "left out", "d2": "there", "d3": "out, too"}
    files = corpus(tmp_path / "x", texts, files=1)
    again = corpus(tmp_path / "y", {"d0": "again", "d2": "there"}, files=1)
    records = packed(tmp_path, (*files, *again), weights=(("b", 0.0),))
    # Of d0 and d2, which are there twice, the one that has tokens is packed.
    assert books(records) == Books(6, 2, {"weight": 2, "duplicate_id": 2})
    assert sorted(unpacked(PackedSamples(tmp_path / "packed"))) == [("d0", 0), ("d2", 0)]
    records = packed(tmp_path, files, weights=(("b", 0.0),))
    assert books(records) == Books(4, 1, {"empty": 1, "weight": 2})


def test_epochs_are_a_cap(tmp_path: Path, shards: tuple[str, ...]) -> None:
    packed(tmp_path, shards, weights=(("a", 7.0),), epochs=2)
    found = unpacked(PackedSamples(tmp_path / "packed"))
    assert max(epoch for _, epoch in found) == 1 and len(found) == 90


@given(st.text(min_size=1, max_size=8), st.floats(0, 5), st.floats(0, 5), st.integers(0, 9))
def test_a_greater_weight_takes_no_document_out(doc_id: str, weight: float, other: float, seed: int) -> None:
    few, many = sorted([weight, other])
    assert appearances(doc_id, few, None, seed) <= appearances(doc_id, many, None, seed)
    assert int(weight) <= appearances(doc_id, weight, None, seed) <= int(weight) + 1
    assert appearances(doc_id, weight, 2, seed) <= 2


def test_a_weight_is_met_on_the_mean() -> None:
    counts = [appearances(f"d{i}", 1.3, None, 0) for i in range(4000)]
    assert abs(np.mean(counts) - 1.3) < 0.03
    assert counts != [appearances(f"d{i}", 1.3, None, 1) for i in range(4000)]


def test_a_corpus_without_documents_gives_an_empty_shard(tmp_path: Path) -> None:
    records = packed(tmp_path, corpus(tmp_path / "x", {}))
    assert books(records) == Books() and len(PackedSamples(tmp_path / "packed")) == 0


@given(st.integers(0, 10**9))
def test_shards_are_a_power_of_two_of_the_documents_alone(documents: int) -> None:
    shards = shards_for(documents)
    assert shards & (shards - 1) == 0 and 1 <= shards <= 1 << 14
    assert shards == 1 << 14 or shards * packing.plan.DOCUMENTS_PER_SHARD >= documents
    assert shards == 1 or shards * packing.plan.DOCUMENTS_PER_SHARD < 2 * documents


@pytest.mark.parametrize(
    "asked, said",
    [
        ({"length": 1}, "length is 1"),
        ({"strategy": "first_fit"}, "strategy is 'first_fit', allowed are concatenate, best_fit"),
        ({"epochs": 0}, "epochs is 0"),
        ({"weights": (("a", -1.0),)}, "weight of a is -1.0"),
        ({"weights": (("a", float("inf")),)}, "weight of a is inf"),
        ({"exchange": "post"}, "exchange is 'post', allowed are memory, files"),
    ],
)
def test_wrong_values_are_named(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PackDocuments("o", "o/packed", (), (), **{"length": 8, **asked})


def test_wrong_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fim rate is 1.5"):
        Fim(1.5)
    with pytest.raises(ValueError, match="fim level is 'line', allowed are document, file_sep"):
        Fim(0.5, level="line")
    with pytest.raises(UsageError, match="tokenizer nowhere.json: no such file; allowed: bytes"):
        packed(tmp_path, corpus(tmp_path, {"d": "x"}), tokenizer="nowhere.json")
    (tmp_path / "plain.parquet").write_bytes(b"no")
    with pytest.raises(UsageError, match="no Parquet file"):
        PackDocuments("o", "o/p", (str(tmp_path / "plain.parquet"),), (1,), 8).check()
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "plain.parquet")
    with pytest.raises(UsageError, match="has no column doc_id, source, kind; it has text"):
        PackDocuments("o", "o/p", (str(tmp_path / "plain.parquet"),), (1,), 8).check()


def test_what_a_tokenizer_refuses_is_rejected(
    tmp_path: Path, shards: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(packing.ByteTokenizer):
        def encode(self, texts: Any, specials: bool = False) -> Any:
            if "🙂" in texts[0]:
                raise OverflowError("no smile")
            return super().encode(texts, specials)

    monkeypatch.setattr("pipelines.packing.encode.open_tokenizer", lambda name: Picky())
    records = packed(tmp_path, shards)
    smiling = sum("🙂" in text for text in TEXTS.values())
    assert 0 < smiling < 60
    assert books(records) == Books(60, 60 - smiling, {}, {"OverflowError": smiling})
    (refused,) = [r for r in records if r["path"].startswith("rejected/") and "00000" in r["path"]]
    import pyarrow.parquet as pq

    rows = pq.read_table(tmp_path / refused["path"]).to_pylist()
    assert rows[0]["stage"] == "pack" and rows[0]["message"] == "no smile" and rows[0]["id"] in TEXTS


def test_rows_without_an_id_are_rejected(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = {"doc_id": ["a", None], "source": ["s", "s"], "kind": ["web", "web"], "text": ["x", "y"]}
    pq.write_table(pa.table(rows), tmp_path / "foreign.parquet")
    records = packed(tmp_path / "out", (str(tmp_path / "foreign.parquet"),))
    assert books(records) == Books(2, 1, {}, {"ValueError": 1})
    (refused,) = [r["path"] for r in records if r["path"].startswith("rejected/")]
    assert pq.read_table(tmp_path / "out" / refused).to_pylist()[0]["id"] == "foreign.parquet#1"


def test_a_great_document_is_packed_whole(tmp_path: Path) -> None:
    files = corpus(tmp_path / "x", {"d0": "é" * (5 << 20), "d1": "end"})
    packed(tmp_path, files, length=4096)
    found = unpacked(PackedSamples(tmp_path / "packed"))
    assert {key[0]: len(tokens) for key, tokens in found.items()} == {"d0": (10 << 20) + 1, "d1": 4}


def test_the_graph_runs_on_every_engine(shards: tuple[str, ...]) -> None:
    for mode in ("memory", "files"):
        pipeline = beam.Pipeline(options=pipeline_options(LocalEngine()))
        plan = PackDocuments("/tmp/o", "/tmp/o/packed", shards, (30, 30), 8, exchange=mode)  # type: ignore[arg-type]
        build_pack_documents(pipeline, plan)
        assert graph_problems(pipeline) == []


# -- tokenisers -------------------------------------------------------------------------------------------


@given(st.text(alphabet="ab\n", max_size=50), st.integers(1, 9))
def test_long_texts_are_cut_behind_newlines(text: str, limit: int) -> None:
    pieces = list(line_pieces(text, limit))
    assert "".join(pieces) == text
    assert all(len(piece) <= limit for piece in pieces)
    for piece, behind in zip(pieces, pieces[1:], strict=False):
        assert piece.endswith("\n") or "\n" not in piece and behind


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    marks = ["<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<file_sep>"]
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=marks,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["def two(x):\n    return x\n"] * 9, trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


def test_a_tokenizer_file_packs_what_it_gives_back(
    tmp_path: Path, shards: tuple[str, ...], tokenizer_file: Path
) -> None:
    from tokenizers import Tokenizer

    packed(tmp_path, shards, tokenizer=str(tokenizer_file))
    samples = PackedSamples(tmp_path / "packed")
    plain = Tokenizer.from_file(str(tokenizer_file))
    for (doc, _), tokens in unpacked(samples).items():
        assert tokens[-1] == plain.token_to_id("<|endoftext|>") == samples.info["end_of_document"]
        assert plain.decode(tokens[:-1].tolist(), skip_special_tokens=False) == TEXTS[doc]
    assert samples.info["tokenizer"]["name"] == "tokenizer.json" and samples[0].tokens.dtype == np.uint16


def test_a_document_cannot_spell_a_special_token(tokenizer_file: Path) -> None:
    opened = open_tokenizer(str(tokenizer_file))
    text = "a<|endoftext|><fim_middle>b"
    assert not {opened.end, opened.mark("middle")} & {*opened.encode([text])[0].tolist()}
    assert {opened.end, opened.mark("middle")} < {*opened.encode([text], specials=True)[0].tolist()}
    assert not {opened.end} & {*opened.encode([text])[0].tolist()}


def test_unusable_tokenizer_files_are_named(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(UsageError, match=r"bad.json: no tokenizer.json of"):
        open_tokenizer(str(bad))
    empty = tmp_path / "empty.json"
    empty.write_text(
        json.dumps({"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}})
    )
    with pytest.raises(UsageError, match=r"empty.json has no end-of-document token; known spellings: <\|endoftext\|>"):
        open_tokenizer(str(empty))


def test_a_tokenizer_without_marks_cannot_fill_in_the_middle(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<|endoftext|>": 0, "x": 1}, unk_token="x"))
    made.save(str(tmp_path / "plain.json"))
    with pytest.raises(UsageError, match=r"plain.json has no prefix token; known spellings: <fim_prefix>"):
        PackDocuments("o", "o/p", (), (), 8, tokenizer=str(tmp_path / "plain.json"), fim=Fim(0.5)).check()


# -- fill-in-the-middle -----------------------------------------------------------------------------------


def parts_of(tokens: np.ndarray) -> dict[str, str]:
    """Text behind each mark of a permuted document of bytes."""
    names = {FIM_PREFIX: "prefix", FIM_SUFFIX: "suffix", FIM_MIDDLE: "middle"}
    found, at = {}, ""
    for token in tokens.tolist():
        if token in names:
            at = names[token]
            found[at] = []
        elif token != END_OF_DOCUMENT:
            found[at].append(token)
    return {name: bytes(part).decode() for name, part in found.items()}


def test_documents_are_permuted_before_they_are_packed(tmp_path: Path, shards: tuple[str, ...]) -> None:
    asked: dict[str, Any] = {"fim": Fim(0.5, spm_rate=0.0), "weights": (("*", 2.0),)}
    records = packed(tmp_path, shards, **asked)
    permuted = 0
    cuts = set()
    for (doc, epoch), tokens in unpacked(PackedSamples(tmp_path / "packed")).items():
        assert tokens[-1] == END_OF_DOCUMENT
        if tokens[0] != FIM_PREFIX:
            assert bytes(tokens[:-1].astype(np.uint8)) == TEXTS[doc].encode()
            continue
        parts = parts_of(tokens)
        assert parts["prefix"] + parts["middle"] + parts["suffix"] == TEXTS[doc]
        permuted += 1
        cuts.add((doc, len(parts["prefix"]), epoch))
    assert 40 < permuted < 80  # of 120
    assert len({doc for doc, _, _ in cuts}) < len(cuts)  # drawn anew for each appearance
    assert sum(counts["permuted"] for counts in pack_summary(records)["by_source"].values()) == permuted


def test_fill_in_the_middle_may_be_of_some_sources(tmp_path: Path, shards: tuple[str, ...]) -> None:
    records = packed(tmp_path, shards, fim=Fim(1.0, sources=("b",)))
    assert {name: of["permuted"] for name, of in pack_summary(records)["by_source"].items()} == {"a": 0, "b": 30}


def test_files_of_a_repository_are_permuted_each_by_itself(tmp_path: Path, tokenizer_file: Path) -> None:
    text = "<repo_name>r" + "".join(f"<file_sep>file{i}.py\nx = {i}\n" for i in range(40))
    files = corpus(tmp_path / "x", {"d": text}, files=1)
    fim = Fim(1.0, level="file_sep", file_rate=0.5)
    packed(tmp_path, files, fim=fim, tokenizer=str(tokenizer_file), specials=True)
    (tokens,) = unpacked(PackedSamples(tmp_path / "packed")).values()
    opened = open_tokenizer(str(tokenizer_file))
    separator = opened.encode(["<file_sep>"], specials=True)[0].tolist()
    assert len(separator) == 1 and tokens.tolist().count(separator[0]) == 40
    assert 8 < tokens.tolist().count(opened.mark("middle")) < 32
    # bytes have no token for it: the separator stays as it is spelt.
    packed(tmp_path, files, fim=fim)
    (tokens,) = unpacked(PackedSamples(tmp_path / "packed")).values()
    assert bytes(tokens[tokens < 256].astype(np.uint8)).count(b"<file_sep>") == 40


def test_a_shard_that_is_gone_stops_the_stage(tmp_path: Path, shards: tuple[str, ...]) -> None:
    plan = PackDocuments(str(tmp_path), str(tmp_path / "p"), (str(tmp_path / "gone.parquet"),), (1,), 8)
    with pytest.raises(StageError, match="gone.parquet"):
        run_pipeline(str(tmp_path), "p", lambda p: build_pack_documents(p, plan), pipeline_options(LocalEngine()))
