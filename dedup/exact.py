"""What makes two documents exact duplicates: the same text, normalised text, URL, raw bytes, or any column.

A key turns a column into values of which equal ones mean duplicates:

    text          the text, code point by code point
    text@plain    `plain`: lower case, NFC, runs of white space as one space, none at the ends; punctuation stays
    text@ccnet    cc_net's `normalize_for_dedup` of the whole text: lower case, digits as 0, no Unicode punctuation
    url@tfds      the URL as C4 in tensorflow-datasets compares it
    content       content_sha256: the raw bytes before they were decoded
    column:NAME   any column of the documents, meta.<key>, or <annotator>.<column>

A null value equals nothing.  A text of which normalisation leaves nothing (only punctuation) equals the same text
alone.  An empty URL is null.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.hashing import Hashes
from dedup.minhash import TEXT_HASH_BYTES, text_hashes
from quality_signals.ccnet_normalise import normalise_for_dedup

TEXT, CONTENT = "text", "content"
COLUMN = "column:"
_SCHEME = re.compile(r"https?://(www\.)?")
_TRACKING = re.compile(r"\?(utm_|ref|feed).*")


def plain(text: str) -> str:
    """Lower case, NFC, white space (as `str.split` sees it) squeezed.  Released as `plain@1`: never edited."""
    return " ".join(unicodedata.normalize("NFC", text.lower()).split())


def tfds_url(url: str) -> str:
    """tensorflow-datasets 4.9.10, text/c4_utils.py: every scheme with its `www.`, a query that begins with utm_, ref
    or feed, and slashes at the end are cut; all else counts, case too."""
    return _TRACKING.sub("", _SCHEME.sub("", url)).rstrip("/")


NORMALISERS: Mapping[str, Callable[[str], str]] = {
    "text@plain": plain,
    "text@ccnet": normalise_for_dedup,
    "url@tfds": tfds_url,
}
KEYS = (TEXT, *NORMALISERS, CONTENT)
_COLUMNS = {"url@tfds": "url", CONTENT: "content_sha256"}


def check_key(key: str) -> str:
    """Raises ValueError for a key that does not exist."""
    if key not in KEYS and not (key.startswith(COLUMN) and len(key) > len(COLUMN)):
        raise ValueError(f"key is {key!r}, allowed are {', '.join(KEYS)} and {COLUMN}<name>")
    return key


def key_column(key: str) -> str:
    """The column that the key is made of."""
    return key.removeprefix(COLUMN) if key.startswith(COLUMN) else _COLUMNS.get(key, TEXT)


def key_hashes(key: str, column: pa.Array) -> pa.Array:
    """128 bits of sha256 of every value's key [rows], null where the value is null or means nothing.

    column: string, binary, number, boolean, date or timestamp.  Raises ValueError for nested types.
    """
    if key == TEXT:
        return text_hashes(column)
    normalise = NORMALISERS.get(key)
    if normalise is None:
        return text_hashes(_as_text(column, key))
    found: list[str | None] = []
    for value in column.to_pylist():
        if value is None:
            found.append(None)
            continue
        told = normalise(value)
        # No normalised text holds a line feed, so a text that is left whole equals no normalised one.
        found.append(told or (None if key == "url@tfds" else "\n" + value))
    return text_hashes(pa.array(found, pa.large_string()))


def _as_text(column: pa.Array, key: str) -> pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_nested(kind):
        raise ValueError(f"key {key}: a column of type {kind} cannot tell duplicates, only text, bytes and numbers can")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        # Hashed as bytes; the cast to text would refuse what is no UTF-8.
        return column.cast(pa.large_binary()).view(pa.large_string())
    return column.cast(pa.large_string())


def digest_words(hashes: pa.Array) -> tuple[npt.NDArray[np.int64], Hashes]:
    """Of fixed_size_binary(16) the rows that are not null [n] and their two words [n, 2]."""
    if hashes.type != pa.binary(TEXT_HASH_BYTES):
        raise ValueError(f"hashes are {hashes.type}, expected {pa.binary(TEXT_HASH_BYTES)}")
    words = np.frombuffer(hashes.buffers()[1] or b"", "<u8")[2 * hashes.offset : 2 * (hashes.offset + len(hashes))]
    rows = np.flatnonzero(hashes.is_valid().to_numpy(zero_copy_only=False))
    return rows, words.reshape(-1, 2)[rows]
