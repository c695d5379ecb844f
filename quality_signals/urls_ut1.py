"""Categories of a document's URL in the UT1 lists of the Universite Toulouse Capitole (`ut1@1`).

The lists (CC BY-SA, changed daily) are read from a folder that the user names: for each category a list of hosts
(`domains`) and of URLs without scheme (`urls`).  As the lists are meant for web filters: an entry of `domains` holds
for the host and all hosts below it, one of `urls` for all URLs that begin with it, where the entry ends before one of
`/ ? # & ;` or at the end.  Case does not count, nor do user name, port, a dot at the end of the host, `www.` before
the host of a URL, and slashes at the end of an entry.  Hosts in other scripts are looked up as `xn--...`.

(The column `rps_doc_ut1_blacklist` of rpv2@1 is another reading: the exact host, as it stands.)
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Rule, family_batch
from quality_signals.text_batch import SharedTexts
from quality_signals.urls_lists import (
    Ut1Lists,
    find_bytes,
    given_urls,
    step_hash,
    ut1_files,
    ut1_lists,
    utf8_of,
)
from quality_signals.urls_suffixes import host, host_of

MATCHES = ("host", "parent", "url")
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        field("categories", pa.list_(pa.string()), "categories of the URL, in order of their names; null without URL"),
        field("match", pa.string(), "the first of host, parent and url by which it has one; null without category"),
    ]
)
RULES = (Rule("denied_category", "ut1", "denied", ">", None),)
_SEED = np.uint64(0xCBF29CE484222325)


@njit(error_model="numpy")
def _is_ipv4(text, end):  # type: ignore[no-untyped-def]
    """Whether a host is digits and dots: it has no parents."""
    for k in range(end):
        if text[k] != 46 and not 48 <= text[k] <= 57:
            return False
    return True


@njit(error_model="numpy")
def _look_up(url, ends, hosts, host_masks, urls, url_masks):  # type: ignore[no-untyped-def]
    """Per ASCII URL: labels of its categories [rows, 2] and the index into MATCHES or -1."""
    count = len(ends) - 1
    labels = np.zeros((count, 2), dtype=np.uint64)
    match = np.full(count, -1, dtype=np.int64)
    longest = 1
    for row in range(count):
        longest = max(longest, ends[row + 1] - ends[row])
    text = np.empty(longest, dtype=np.uint8)  # the host, and what follows it, in lower case
    host_slots, host_blob, host_starts, host_lengths = hosts
    url_slots, url_blob, url_starts, url_lengths = urls
    for row in range(count):
        first, stop, path = host_of(url, ends[row], ends[row + 1])
        if first == stop:
            continue
        n = 0
        for i in range(first, ends[row + 1]):
            if stop <= i < path:  # the port
                continue
            c = url[i]
            text[n] = c | 32 if 65 <= c <= 90 else c
            n += 1
        end = stop - first  # of the host
        parents = not _is_ipv4(text, end)
        h = _SEED
        for k in range(end - 1, -1, -1):
            h = step_hash(h, text[k])
            if k == 0 or (parents and text[k - 1] == 46):
                entry = find_bytes(host_slots, host_blob, host_starts, host_lengths, h, text, k, end)
                if entry >= 0:
                    labels[row, 0] |= host_masks[entry, 0]
                    labels[row, 1] |= host_masks[entry, 1]
                    match[row] = 0 if k == 0 else 1
        www = end > 4 and text[0] == 119 and text[1] == 119 and text[2] == 119 and text[3] == 46
        for start in range(0, 5 if www else 1, 4):
            h = _SEED
            for k in range(start, n):
                h = step_hash(h, text[k])
                following = text[k + 1] if k + 1 < n else np.uint8(47)
                if k + 1 < end or not (
                    following == 47 or following == 63 or following == 35 or following == 38 or following == 59
                ):
                    continue
                entry = find_bytes(url_slots, url_blob, url_starts, url_lengths, h, text, start, k + 1)
                if entry >= 0:
                    labels[row, 0] |= url_masks[entry, 0]
                    labels[row, 1] |= url_masks[entry, 1]
                    if match[row] < 0:
                        match[row] = 2
    return labels, match


def _ascii(url: str) -> str:
    """A URL whose host is as DNS has it; the rest of it percent-encoded UTF-8 as browsers send it."""
    name = host(url)
    try:
        plain = name.encode("idna").decode("ascii")
    except UnicodeError:
        plain = name
    return "".join(
        c if c.isascii() else "".join(f"%{byte:02x}" for byte in c.encode()) for c in url.replace(name, plain, 1)
    )


@dataclasses.dataclass(frozen=True)
class Ut1:
    """Categories of the URL; a verdict where some are denied.

    lists: folder with the UT1 lists: `<category>/domains` and `<category>/urls`, or `<category>.domains`,
    `<category>.urls`, with .txt, .gz or both.  Memory: the lists and some 40 bytes a line in every process.
    deny: categories whose documents are dropped; one without a list is an error.
    Documents of other `kinds` (a null kind counts as prose) and without a URL are not judged: keep is true and every
    other column null.
    """

    lists: str
    deny: tuple[str, ...] = ()
    kinds: tuple[str, ...] = PROSE_KINDS

    name: ClassVar[str] = "ut1@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        object.__setattr__(self, "deny", tuple(self.deny))
        object.__setattr__(self, "kinds", tuple(self.kinds))
        known = ut1_files(self.lists)
        for category in self.deny:
            if category not in known:
                raise ValueError(f"ut1@1: no list of {category!r} in {self.lists!r}; there are {', '.join(known)}")

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        column, given = given_urls(texts)
        lists = ut1_lists(self.lists)
        utf8, ends = utf8_of(column)
        if len(utf8) and int(utf8[ends[0] : ends[-1]].max(initial=0)) >= 128:
            plain = pc.string_is_ascii(column).to_numpy(zero_copy_only=False)
            urls = column.to_pylist()
            for row in np.flatnonzero(~plain).tolist():
                urls[row] = _ascii(urls[row])
            utf8, ends = utf8_of(pa.array(urls, pa.large_string()))
        labels, match = _look_up(utf8, ends, lists.hosts.arrays, lists.hosts.masks, lists.urls.arrays, lists.urls.masks)
        place = pa.array(np.cumsum(given) - 1, mask=~given)
        sets, which = np.unique(labels, axis=0, return_inverse=True)
        names = [_names(lists, int(low) | int(high) << 64) for low, high in sets.tolist()]
        denied = np.array([bool(set(self.deny).intersection(one)) for one in names], bool)[which.reshape(-1)]
        values = np.full(len(texts), np.nan)
        values[given] = denied
        categories = pa.array(names, pa.list_(pa.string())).take(pa.array(which.reshape(-1)))
        matches = pa.array(MATCHES, pa.string()).take(pa.array(np.maximum(match, 0), mask=match < 0))
        columns = [categories.take(place), matches.take(place)]
        return family_batch(texts, RULES, {"denied": values}, columns, SCHEMA, given)


def _names(lists: Ut1Lists, labels: int) -> list[str]:
    return [name for at, name in enumerate(lists.categories) if labels >> at & 1]
