"""The one schema that flows through Gristmill, and how a document gets its id."""

from __future__ import annotations

import hashlib

import pyarrow as pa

DOCUMENT_SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False, metadata={"description": "hash of source and locator"}),
        pa.field("source", pa.string(), nullable=False, metadata={"description": "the recipe's name of the source"}),
        pa.field("kind", pa.string(), nullable=False, metadata={"description": "web, code, prose, notebook, ..."}),
        pa.field("text", pa.large_string(), nullable=False, metadata={"description": "as extracted, UTF-8"}),
        pa.field("url", pa.string()),
        pa.field("repo", pa.string()),
        pa.field("path", pa.string()),
        pa.field("commit", pa.string()),
        pa.field("timestamp", pa.string()),
        pa.field("mime", pa.string()),
        pa.field("content_sha256", pa.string(), metadata={"description": "of the raw bytes before decoding"}),
        pa.field("swhid", pa.string(), metadata={"description": "of the raw bytes before decoding"}),
        pa.field("language", pa.string(), metadata={"description": "filled by annotators"}),
        pa.field("programming_language", pa.string(), metadata={"description": "filled by annotators"}),
        pa.field("meta", pa.map_(pa.string(), pa.string()), metadata={"description": "what the source knew"}),
    ]
)

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata={"description": "locator, doc_id or unit"}),
        pa.field("source", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False, metadata={"description": "error class"}),
        pa.field("message", pa.string(), nullable=False),
    ]
)


def doc_id(source: str, locator: str) -> str:
    """32 hex characters that depend on the source's name and the document's place in it, and on nothing else.

    The two parts are separated by NUL, which neither may hold, so that no two pairs share an id by
    concatenation.  BLAKE2b with 16 bytes of output: 2^64 documents before a collision is likely.
    """
    return hashlib.blake2b(f"{source}\0{locator}".encode(), digest_size=16).hexdigest()
