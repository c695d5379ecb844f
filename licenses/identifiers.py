"""Identifiers of raw bytes: SWHID of a content (ISO/IEC 18670) and SHA-256; always before decoding or
redaction."""

from __future__ import annotations

import hashlib
import re

_CONTENT = re.compile(r"swh:1:cnt:[0-9a-f]{40}")


def swhid_content(raw: bytes) -> str:
    """`swh:1:cnt:` and the SHA-1 of `blob <length>\\0<bytes>`, which is also git's id of the blob."""
    digest = hashlib.sha1(b"blob %d\0" % len(raw), usedforsecurity=False)
    digest.update(raw)
    return f"swh:1:cnt:{digest.hexdigest()}"


def sha256_hex(raw: bytes) -> str:
    """SHA-256, 64 lower-case hex digits."""
    return hashlib.sha256(raw).hexdigest()


def is_swhid_content(value: str) -> bool:
    """Whether `value` is a core SWHID of a content, without qualifiers."""
    return _CONTENT.fullmatch(value) is not None
