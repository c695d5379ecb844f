"""Documents whose URL is blocked, as datatrove's URLFilter decides (`url@datatrove`).

Reading: datatrove 0.10.1, pipeline/filters/url_filter.py, whose three word lists ship here (data/NOTICE.md); hosts
and suffixes as in `urls_suffixes`.  In this order:

- domain: the registered domain (`example.co.uk`) is listed;  subdomain: the full host name is;
- url: the URL as it stands is (the reference's list has no schemes, so that `https://...` never is);
- hard_blacklisted: a banned word stands between characters that are no ASCII letters or digits;
- soft_blacklisted: at least two different softly banned words do;
- blacklisted_subword: the URL's ASCII letters and digits, lower-cased, contain a banned part.

Domains and words are compared in the URL's own case, only the parts in lower case: `EXAMPLE.com` passes the first
five.  A host without public suffix (an IP address) has no domain and passes the first two.
"""

from __future__ import annotations

import dataclasses
import json
import re
from functools import lru_cache
from importlib import resources
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Rule, judge_texts
from quality_signals.text_batch import Bools, Ints, SharedTexts
from quality_signals.urls_lists import (
    block_list_files,
    block_lists,
    entries,
    find_bytes,
    given_urls,
    step_hash,
    utf8_of,
)
from quality_signals.urls_suffixes import domains_of, host_of, registered, suffix_entries

DOMAIN, SUBDOMAIN, URL, HARD, SOFT, PART = range(6)
REASONS = ("domain", "subdomain", "url", "hard_blacklisted", "soft_blacklisted", "blacklisted_subword")
SOFT_THRESHOLD = 2  # URLFilter(soft_word_threshold=2)
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        field("n_soft_words", pa.int64(), "different softly banned words; null without a URL"),
        field("registered_domain", pa.string(), "domain under the public suffix; null without"),
    ]
)
# Of these only the soft words have a value and a threshold: dropped from that many on.
RULES = tuple(Rule(reason, reason, reason, ">", None) for reason in REASONS)
_SEED = np.uint64(0xCBF29CE484222325)
_NOT_ALNUM = re.compile(r"[^a-zA-Z0-9]+")


def normalised_word(word: str) -> str:
    """A banned word as the reference compares it: ASCII letters and digits, in lower case."""
    return _NOT_ALNUM.sub("", word).lower()


@lru_cache(maxsize=1)
def _shipped() -> dict[str, list[str]]:
    data = resources.files("quality_signals").joinpath("data", "urls_words.json")
    return json.loads(data.read_text(encoding="utf-8"))


@dataclasses.dataclass(frozen=True, slots=True)
class WordLists:
    """banned and soft words as one set with labels 0 and 1; the parts as a trie over [0-9a-z]."""

    words: Any  # Entries
    children: npt.NDArray[np.int32]  # [nodes, 36], 0 where there is none
    ends: Bools  # [nodes]


@lru_cache(maxsize=4)
def word_lists(banned: tuple[str, ...], parts: tuple[str, ...], soft: tuple[str, ...]) -> WordLists:
    """The shipped lists and some more words.  An empty word (`!`) is left out, as it stands in every URL."""

    def normalised(name: str, more: tuple[str, ...]) -> list[str]:
        return sorted({*_shipped()[name], *map(normalised_word, more)} - {""})

    lists = [normalised("banned_words", banned), normalised("soft_banned_words", soft)]
    nodes: list[list[int]] = [[0] * 36]
    ends = [False]
    for part in normalised("banned_subwords", parts):
        node = 0
        for c in part:
            at = int(c, 36)
            if not nodes[node][at]:
                nodes[node][at] = len(nodes)
                nodes.append([0] * 36)
                ends.append(False)
            node = nodes[node][at]
        ends[node] = True
    words = entries(["\n".join(one).encode() for one in lists], labelled=True)
    return WordLists(words, np.array(nodes, dtype=np.int32), np.array(ends, dtype=bool))


@njit(error_model="numpy")
def _letter(byte):  # type: ignore[no-untyped-def]
    """0..35 for an ASCII digit or letter of any case, else -1."""
    if 48 <= byte <= 57:
        return np.int64(byte) - 48
    if 97 <= (byte | 32) <= 122:
        return np.int64(byte | 32) - 87
    return np.int64(-1)


@njit(error_model="numpy")
def _contains(url, start, end, plain, children, ends):  # type: ignore[no-untyped-def]
    """Whether the letters and digits of a URL contain a part.  plain: room for them."""
    n = 0
    for i in range(start, end):
        letter = _letter(url[i])
        if letter >= 0:
            plain[n] = letter
            n += 1
    for i in range(n):
        node = 0
        k = i
        while k < n:
            node = children[node, plain[k]]
            if node == 0:
                break
            if ends[node]:
                return True
            k += 1
    return False


@njit(error_model="numpy")
def _words_of(url, start, end, words, masks, seen):  # type: ignore[no-untyped-def]
    """Whether a banned word stands in a URL, and how many different soft ones.  seen: room for their numbers."""
    slots, blob, starts, lengths = words
    hard = False
    soft = 0
    i = start
    while i < end:
        if _letter(url[i]) < 0:
            i += 1
            continue
        first = i
        h = _SEED
        while i < end and _letter(url[i]) >= 0:
            h = step_hash(h, url[i])
            i += 1
        entry = find_bytes(slots, blob, starts, lengths, h, url, first, i)
        if entry < 0:
            continue
        hard = hard or (masks[entry, 0] & np.uint64(1)) != 0
        if masks[entry, 0] & np.uint64(2):
            new = True
            for k in range(soft):
                new = new and seen[k] != entry
            if new:
                seen[soft] = entry
                soft += 1
    return hard, soft


@njit(error_model="numpy")
def _hash(text, start, end):  # type: ignore[no-untyped-def]
    h = _SEED
    for i in range(start, end):
        h = step_hash(h, text[i])
    return h


@njit(error_model="numpy")
def _listed(slots, blob, starts, lengths, key):  # type: ignore[no-untyped-def]
    return find_bytes(slots, blob, starts, lengths, _hash(key, 0, len(key)), key, 0, len(key)) >= 0


@njit(error_model="numpy")
def _check_urls(  # type: ignore[no-untyped-def]
    url, ends, suffixes, suffix_masks, domains, urls, words, word_masks, children, part_ends, soft_threshold
):
    """Per URL: the first check that fails or -1, soft words, whether the host needs `domains_of`, the place of the
    registered domain (start and end, -1 without)."""
    count = len(ends) - 1
    failed = np.full(count, -1, dtype=np.int64)
    softs = np.zeros(count, dtype=np.int64)
    strange = np.zeros(count, dtype=np.bool_)
    places = np.full((count, 2), -1, dtype=np.int64)
    longest = 1
    for row in range(count):
        longest = max(longest, ends[row + 1] - ends[row])
    room = np.empty(longest, dtype=np.int64)
    lower = np.empty(longest, dtype=np.uint8)
    domain_slots, domain_blob, domain_starts, domain_lengths = domains
    url_slots, url_blob, url_starts, url_lengths = urls
    for row in range(count):
        start = ends[row]
        end = ends[row + 1]
        for i in range(start, end):
            if url[i] >= 128:
                strange[row] = True
        if not strange[row]:
            first, stop, _ = host_of(url, start, end)
            n = stop - first
            for k in range(n):
                c = url[first + k]
                lower[k] = c | 32 if 65 <= c <= 90 else c
            domain, suffix = registered(lower, 0, n, suffixes, suffix_masks)
            if domain >= 0 and suffix - domain > 1:
                domain += first
                places[row, 0] = domain
                places[row, 1] = stop
                h = _hash(url, domain, stop)
                if find_bytes(domain_slots, domain_blob, domain_starts, domain_lengths, h, url, domain, stop) >= 0:
                    failed[row] = DOMAIN
                else:
                    if first + 1 == domain:  # nothing before a single dot
                        first = domain
                    h = _hash(url, first, stop)
                    if find_bytes(domain_slots, domain_blob, domain_starts, domain_lengths, h, url, first, stop) >= 0:
                        failed[row] = SUBDOMAIN
        hard, soft = _words_of(url, start, end, words, word_masks, room)
        softs[row] = soft
        if failed[row] >= 0:
            continue
        h = _hash(url, start, end)
        if find_bytes(url_slots, url_blob, url_starts, url_lengths, h, url, start, end) >= 0:
            failed[row] = URL
        elif hard:
            failed[row] = HARD
        elif soft >= soft_threshold:
            failed[row] = SOFT
        elif _contains(url, start, end, room, children, part_ends):
            failed[row] = PART
    return failed, softs, strange, places


@dataclasses.dataclass(frozen=True)
class UrlDatatrove:
    """datatrove's URLFilter with its default lists.

    Documents of other `kinds` (a null kind counts as prose) and without a URL (where the reference stops) are not
    judged: keep is true and every other column null.
    lists: folder with the reference's lists `domains` and `urls` (.txt, .gz allowed) or its archive of them; None:
    those of the installed datatrove.  block_lists=False leaves them out, and with them the first three checks but
    for the extra entries.  Memory: 4.6 million domains take about 210 MB in every process.
    extra_domains, extra_urls, banned_words, banned_subwords, soft_banned_words: added to the lists.
    """

    lists: str | None = None
    block_lists: bool = True
    soft_word_threshold: int = SOFT_THRESHOLD
    extra_domains: tuple[str, ...] = ()
    extra_urls: tuple[str, ...] = ()
    banned_words: tuple[str, ...] = ()
    banned_subwords: tuple[str, ...] = ()
    soft_banned_words: tuple[str, ...] = ()
    kinds: tuple[str, ...] = PROSE_KINDS

    name: ClassVar[str] = "url@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        for option in ("extra_domains", "extra_urls", "banned_words", "banned_subwords", "soft_banned_words", "kinds"):
            object.__setattr__(self, option, tuple(getattr(self, option)))
        if self.block_lists:
            block_list_files(self.lists)

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        column, given = given_urls(texts)
        failed, softs, names = self._check(column)
        checks = np.full(len(texts), -1, np.int64)
        checks[given] = failed
        soft = np.zeros(len(texts), np.int64)
        soft[given] = softs
        values = {reason: np.where(checks == number, 1.0, np.nan) for number, reason in enumerate(REASONS)}
        verdict = judge_texts(RULES, values, len(texts), given)
        no_number = checks != SOFT
        verdict[2] = pa.array(soft.astype(np.float64), mask=no_number)
        verdict[3] = pa.array(np.full(len(texts), float(self.soft_word_threshold)), mask=no_number)
        place = pa.array(np.cumsum(given) - 1, mask=~given)
        columns = [*verdict, pa.array(soft, mask=~given), names.take(place)]
        scattered = [texts.scatter(one) for one in columns]
        scattered[0] = scattered[0].fill_null(True)
        return pa.RecordBatch.from_arrays(scattered, schema=SCHEMA)

    def _check(self, urls: pa.Array) -> tuple[Ints, Ints, pa.Array]:
        """First check that fails, soft words and registered domains of URLs."""
        path = str(block_list_files(self.lists)) if self.block_lists else ""
        blocked = block_lists(path, self.extra_domains, self.extra_urls)
        words = word_lists(self.banned_words, self.banned_subwords, self.soft_banned_words)
        suffixes = suffix_entries()
        utf8, ends = utf8_of(urls)
        failed, softs, strange, places = _check_urls(
            utf8,
            ends,
            suffixes.arrays,
            suffixes.masks,
            blocked.domains.arrays,
            blocked.urls.arrays,
            words.words.arrays,
            words.words.masks,
            words.children,
            words.ends,
            self.soft_word_threshold,
        )
        names: list[str | None] = [
            bytes(utf8[start:end]).decode() if start >= 0 else None for start, end in places.tolist()
        ]
        for row in np.flatnonzero(strange).tolist():
            domain, full = domains_of(urls[row].as_py())
            names[row] = domain or None
            for check, name in ((SUBDOMAIN, full), (DOMAIN, domain)):
                if name and _listed(*blocked.domains.arrays, np.frombuffer(name.encode(), np.uint8)):
                    failed[row] = check
        return failed, softs, pa.array(names, pa.string())
