"""Keys of exact duplicates."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup.exact import check_key, digest_words, key_column, key_hashes, plain, tfds_url

GOLDEN = "golden/web"


def equal(key: str, first: object, second: object) -> bool | None:
    """Whether the key calls the two duplicates; None if it has no value for one of them."""
    one, other = key_hashes(key, pa.array([first, second])).to_pylist()
    return None if one is None or other is None else one == other


@pytest.mark.parametrize(
    "key,first,second,expected",
    [
        ("text", "a", "a", True),
        ("text", "a", "A", False),
        ("text", "", "", True),
        ("text", None, None, None),
        ("text@plain", "Ab  c\n", "\tab C", True),
        ("text@plain", "a, b", "a b", False),
        ("text@plain", "\u00e9", "e\u0301", True),
        ("text@plain", "", "", True),
        ("text@plain", " ", "\n", False),  # nothing is left of both, and they are not the same text
        ("text@plain", " ", " ", True),
        ("text@plain", "", "\0", False),
        ("text@ccnet", "It\u2019s 1994", "its 2024", True),
        ("text@ccnet", "a\nb", "ab", True),
        ("text@ccnet", "\u3002", "\u3001", False),
        ("text@ccnet", "\u3002", "\u3002", True),
        ("url@tfds", "https://www.x.org/a/?utm_source=1", "http://x.org/a", True),
        ("url@tfds", "https://www.x.org/a?utm_source=1", "http://x.org/a/", True),
        ("url@tfds", "http://x.org/A", "http://x.org/a", False),
        ("url@tfds", "", "", None),
        ("url@tfds", "https://", "http://", None),
        ("content", "ab", "ab", True),
        ("content", "ab", "AB", False),
        ("column:x", 1, 1, True),
        ("column:x", 1, 2, False),
        ("column:x", b"\xff", b"\xff", True),
        ("column:x", b"\xff", b"\xfe", False),
        ("column:x", None, None, None),
    ],
)
def test_keys(key: str, first: object, second: object, expected: bool | None) -> None:
    assert equal(key, first, second) is expected


@given(st.text())
def test_plain_is_settled(text: str) -> None:
    once = plain(text)
    assert "\n" not in once and once == once.strip() and "  " not in once


def test_urls_as_the_reference_has_them(shared: Path) -> None:
    urls = {}
    with gzip.open(shared / GOLDEN / "docs.jsonl.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            urls[row["id"]] = row.get("url") or ""
    with gzip.open(shared / GOLDEN / "c4_tfds.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) > 100 and any(row["normalized_url"] for row in rows)
    assert [tfds_url(urls[row["id"]]) for row in rows] == [row["normalized_url"] for row in rows]


def test_hashes_are_sha256_and_read_back_from_slices() -> None:
    hashes = key_hashes("text", pa.array(["x", "a", None, "b"])).slice(1)
    rows, words = digest_words(hashes)
    assert rows.tolist() == [0, 2]
    assert words.tobytes() == b"".join(hashlib.sha256(t).digest()[:16] for t in (b"a", b"b"))
    with pytest.raises(ValueError, match="expected fixed_size_binary"):
        digest_words(pa.array([b"a"]))


@pytest.mark.parametrize("key", ["words", "column:", "text@", "exact", ""])
def test_unknown_keys(key: str) -> None:
    with pytest.raises(ValueError, match=r"allowed are text, text@plain, .*column:<name>"):
        check_key(key)


def test_columns_of_keys() -> None:
    assert [key_column(k) for k in ("text@plain", "url@tfds", "content", "column:meta.blob_id")] == [
        "text", "url", "content_sha256", "meta.blob_id"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="cannot tell duplicates"):
        key_hashes("column:x", pa.array([[1]]))
