"""The index of verbatim texts against a search through all of them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import gram_index
from dedup.gram_index import MIN_BYTES, GramIndex, GramIndexWriter, add_texts, longest_common


def packed(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    data = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in data])]).astype(np.int64)
    return np.frombuffer(b"".join(data), np.uint8), offsets


def build(folder: Path, *batches: list[str], expected_bytes: int = 1000) -> GramIndex:
    writer = GramIndexWriter(str(folder), expected_bytes)
    add_texts(writer, map(packed, batches))
    writer.close()
    return GramIndex.open(str(folder))


def words(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(["alpha", "beta", "gamma", "delta", "ä€𝄞"]) for _ in range(count))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_document_that_holds_the_text_is_a_candidate(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    texts = [words(data.draw(st.integers(0, 3)), data.draw(st.integers(0, 60))) for _ in range(6)]
    texts += [texts[0] + texts[1], "x" * data.draw(st.integers(0, 400))]
    index = build(tmp_path_factory.mktemp("index"), texts[:4], [], texts[4:])
    source = data.draw(st.sampled_from(texts))
    start = data.draw(st.integers(0, len(source)))
    text = source[start : start + data.draw(st.integers(MIN_BYTES, 4 * MIN_BYTES))]
    if len(text.encode()) < MIN_BYTES:
        return
    whole, (parts, _) = index.with_whole(text.encode()), index.with_parts(text.encode())
    holding = {number for number, each in enumerate(texts) if text in each}
    assert holding <= set(whole.tolist()) <= set(parts.tolist())


def test_a_part_of_a_text_is_found_with_its_share(tmp_path: Path) -> None:
    first, second = words(10, 300), words(11, 300)
    index = build(tmp_path, [words(12, 300), first, second])
    text = (first[:900] + second[:300]).encode()
    assert index.with_whole(text).tolist() == []
    numbers, shares = index.with_parts(text)
    assert numbers[:2].tolist() == [1, 2] and shares[0] > shares[1] > 0


def test_many_parts_give_the_files_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [words(seed, 200) for seed in range(40)]
    build(tmp_path / "one", texts)
    monkeypatch.setattr(gram_index, "_SORTED_ENTRIES", 16)
    build(tmp_path / "many", texts, expected_bytes=100_000)
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert names == ["buckets", "documents", "hashes"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes() for name in names)


def test_a_short_text_and_a_cut_file_are_named(tmp_path: Path) -> None:
    index = build(tmp_path, ["short", words(1, 100)])
    with pytest.raises(ValueError, match="a text of 95 bytes; 96 or more"):
        index.with_whole(b"x" * 95)
    (tmp_path / "hashes").write_bytes(b"1234")
    with pytest.raises(ValueError, match="do not fit each other"):
        GramIndex.open(str(tmp_path))


@given(st.text("ab", max_size=40), st.text("ab", max_size=40), st.integers(1, 4))
def test_the_longest_common_stretch(text: str, document: str, least: int) -> None:
    start, end = longest_common(text, document, least)
    assert text[start:end] in document
    lengths = [j - i for i in range(len(text)) for j in range(i, len(text) + 1) if text[i:j] in document]
    longest = max(lengths, default=0)
    if longest >= 2 * least - 1 and len(document) < 16:
        assert end - start == longest
