"""Word and domain lists of the rpv2 signals.

Stop words and LDNOOBW lists ship in data/ (NOTICE.md there); UT1 lists are large and change daily, so they
are read from a folder that the user names.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
from functools import lru_cache
from importlib import resources
from pathlib import Path
from urllib.parse import urlparse

# Languages whose list RedPajama-V2 loads (app/src/core/quality_signals/utils/content.py).
LDNOOBW_LANGUAGES = ("en", "fr", "it", "es", "de")

# The 13 directories of the UT1 archive that RedPajama-V2 reads (same file).
UT1_CATEGORIES = (
    "adult",
    "agressif",
    "agressive",
    "arjel",
    "chat",
    "dating",
    "ddos",
    "filehosting",
    "gambling",
    "mixed_adult",
    "phishing",
    "porn",
    "violence",
)


@lru_cache(maxsize=2)
def _table(name: str) -> dict[str, list[str]]:
    return json.loads(resources.files("quality_signals").joinpath("data", name).read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def stop_words(language: str | None) -> frozenset[str] | None:
    """The stop list of a language (ISO 639-1), or None where the reference has none."""
    entries = _table("stop_words.json").get(language or "")
    return None if entries is None else frozenset(entries)


@lru_cache(maxsize=64)
def ldnoobw(language: str | None, every_language: bool = False) -> frozenset[str]:
    """The LDNOOBW list of a language, empty where RedPajama-V2 loads none (or, with every_language, none
    exists)."""
    if language is None or not (every_language or language in LDNOOBW_LANGUAGES):
        return frozenset()
    return frozenset(_table("ldnoobw.json").get(language, ()))


@lru_cache(maxsize=1)
def _category_ids() -> dict[tuple[str, ...], int]:
    """Number of every non-empty set of categories: by size, then lexicographically (8,191 sets)."""
    combinations = itertools.chain.from_iterable(
        itertools.combinations(UT1_CATEGORIES, size) for size in range(1, len(UT1_CATEGORIES) + 1)
    )
    return {names: number for number, names in enumerate(combinations)}


@lru_cache(maxsize=4)
def ut1_domains(folder: str) -> dict[str, int]:
    """Domain -> id of its exact set of categories, from the UT1 lists in a folder.

    A list is `<category>/domains`, `<category>.domains`, `<category>.domains.txt`, or one of them with `.gz`.
    Categories without a file are empty; a folder without any list is an error.  Holds every listed domain in
    memory (about 100 bytes each).
    """
    root = Path(folder)
    sets: dict[str, list[str]] = {}
    found = False
    for category in UT1_CATEGORIES:
        for name in (f"{category}/domains", f"{category}.domains", f"{category}.domains.txt"):
            for path in (root / name, root / f"{name}.gz"):
                if path.is_file():
                    found = True
                    raw = path.read_bytes()
                    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace")
                    for domain in {line.strip() for line in text.split("\n")} - {""}:
                        sets.setdefault(domain, []).append(category)
    if not found:
        raise FileNotFoundError(
            f"rpv2@1: no UT1 list in {folder!r}; expected <category>/domains for one of {', '.join(UT1_CATEGORIES)}"
        )
    ids = _category_ids()
    return {domain: ids[tuple(sorted(set(names)))] for domain, names in sets.items()}


def source_domain(url: str | None) -> str:
    """Network location of a URL as it stands (`www.` and the port stay), '' where there is none."""
    if not url:
        return ""
    try:
        return urlparse(url).netloc
    except ValueError:  # an IPv6 host without its closing bracket: no domain list can hold it
        return ""


def list_digest(entries: frozenset[str]) -> str:
    """SHA-256 of the sorted entries joined by newlines: names a list in reports."""
    return hashlib.sha256("\n".join(sorted(entries)).encode("utf-8", "surrogatepass")).hexdigest()
