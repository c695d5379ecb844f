"""Hosts of URLs and their public suffixes, as tldextract 5.4.0 reads them with its default options.

Only the rules of the section ICANN DOMAINS count (private domains such as blogspot.com are ordinary ones), from the
list of 2025-04-07, which tldextract carries; where it has fetched a newer list, it may decide otherwise.
"""

from __future__ import annotations

import gzip
import string
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from quality_signals.compiled import njit
from quality_signals.urls_lists import Entries, entries, find_bytes, step_hash

# Labels of the nodes: what the rules say at a suffix.
_END, _WILDCARD, _EXCEPTION, _INNER = 0, 1, 2, 3
_DOTS = "\u3002\uff0e\uff61"
_SCHEME = frozenset(string.ascii_letters + string.digits + "+-.")
_HASH = np.uint64(0xCBF29CE484222325)


@lru_cache(maxsize=1)
def rules() -> frozenset[str]:
    """The rules, e.g. `co.uk`, `*.ck`, `!www.ck`."""
    data = resources.files("quality_signals").joinpath("data", "public_suffixes.txt.gz").read_bytes()
    lines = gzip.decompress(data).decode("utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("//"))


def _puny(label: str) -> str:
    """A label as it stands in an ASCII host."""
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


@lru_cache(maxsize=1)
def suffix_entries() -> Entries:
    """Every suffix on the way to a rule, in ASCII, with labels _END, _WILDCARD, _EXCEPTION or _INNER."""
    kinds: tuple[set[str], ...] = (set(), set(), set(), set())
    for rule in rules():
        labels = [_puny(label) for label in rule.split(".")]
        for at in range(1, len(labels)):
            kinds[_INNER].add(".".join(labels[at:]))
        if labels[0] == "*":
            kinds[_WILDCARD].add(".".join(labels[1:]))
        elif labels[0].startswith("!"):
            kinds[_EXCEPTION].add(".".join(labels)[1:])
        else:
            kinds[_END].add(".".join(labels))
    return entries(["\n".join(sorted(kind)).encode() for kind in kinds], backwards=True, labelled=True)


@njit(error_model="numpy")
def _blank(byte):  # type: ignore[no-untyped-def]
    """ASCII that str.strip takes away."""
    return byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31


@njit(error_model="numpy")
def _schemeless(url, start, end):  # type: ignore[no-untyped-def]
    """Where a URL goes on behind `scheme://` or `//`."""
    i = start
    while i + 1 < end and not (url[i] == 47 and url[i + 1] == 47):
        i += 1
    if i + 1 >= end:
        return start
    if i == start:
        return start + 2
    if i < start + 2 or url[i - 1] != 58:
        return start
    for k in range(start, i - 1):
        c = url[k]
        if not (48 <= c <= 57 or 97 <= (c | 32) <= 122 or c == 43 or c == 45 or c == 46):
            return start
    return i + 2


@njit(error_model="numpy")
def host_of(url, start, end):  # type: ignore[no-untyped-def]
    """Start and end of the host in an ASCII URL, and the end of its authority (where the path begins)."""
    i = _schemeless(url, start, end)
    stop = i
    while stop < end and url[stop] != 47 and url[stop] != 63 and url[stop] != 35:
        stop += 1
    path = stop
    for k in range(i, stop):
        if url[k] == 64:  # the last @ ends the user's name
            i = k + 1
    if i < stop and url[i] == 91:
        for k in range(i, stop):
            if url[k] == 93:
                return i, k + 1, path
    for k in range(i, stop):
        if url[k] == 58:
            stop = k
            break
    while i < stop and _blank(url[i]):
        i += 1
    while i < stop and _blank(url[stop - 1]):
        stop -= 1
    while i < stop and url[stop - 1] == 46:
        stop -= 1
    return i, stop, path


@njit(error_model="numpy")
def registered(host, start, end, nodes, masks):  # type: ignore[no-untyped-def]
    """Where the registered domain and the suffix start in an ASCII host in lower case, or -1, -1 without suffix.

    The first is `start` and the domain empty (start == suffix start) if the whole host is a suffix.
    nodes, masks: `suffix_entries`.
    """
    slots, blob, starts, lengths = nodes
    h = _HASH
    stop = end  # the label that is looked at ends here
    suffix = -1
    wild = False
    while True:
        label = stop
        while label > start and host[label - 1] != 46:
            label -= 1
            h = step_hash(h, host[label])
        entry = -1 if label == stop else find_bytes(slots, blob, starts, lengths, h, host, label, end)
        kinds = masks[entry, 0] if entry >= 0 else np.uint64(0)
        known = kinds & np.uint64(1 << _END | 1 << _INNER)
        if known:
            wild = (kinds & np.uint64(1 << _WILDCARD)) != 0
            if kinds & np.uint64(1 << _END):
                suffix = label
        else:
            if wild:
                suffix = label if not kinds & np.uint64(1 << _EXCEPTION) else stop + 1
            break
        if label == start:
            break
        stop = label - 1
        h = step_hash(h, 46)
    if suffix < 0:
        return -1, -1
    if suffix == start:
        return start, start
    domain = suffix - 1
    while domain > start and host[domain - 1] != 46:
        domain -= 1
    return domain, suffix


def host(url: str) -> str:
    """The host of any URL, in its own case, without dots at its end; brackets around IPv6 stay."""
    at = url.find("//")
    rest = url
    if at == 0 or (at >= 2 and url[at - 1] == ":" and set(url[: at - 1]) <= _SCHEME):
        rest = url[at + 2 :]
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0].rpartition("@")[2]
    if authority.startswith("[") and "]" in authority:
        return authority[: authority.index("]") + 1]
    return authority.partition(":")[0].strip().rstrip("." + _DOTS)


def _decoded(label: str) -> str:
    lower = label.lower()
    if lower.startswith("xn--"):
        try:
            return lower[4:].encode("ascii").decode("punycode")
        except UnicodeError:
            pass
    return lower


@lru_cache(maxsize=1)
def _tree() -> dict[str, Any]:
    root: dict[str, Any] = {}
    for rule in rules():
        node = root
        for label in reversed(rule.split(".")):
            node = node.setdefault(label, {})
        node[""] = {}  # a rule ends here
    return root


def domains_of(url: str) -> tuple[str, str]:
    """Registered domain and full host name of any URL, '' where there is no public suffix.

    The plain form of the kernels above, which read ASCII hosts only.
    """
    name = host(url)
    for dot in _DOTS:
        name = name.replace(dot, ".")
    labels = name.split(".")
    node = _tree()
    suffix = at = len(labels)
    while at > 0:
        label = _decoded(labels[at - 1])
        if label and label in node:
            at -= 1
            node = node[label]
            if "" in node:
                suffix = at
            continue
        if "*" in node:
            suffix = at if "!" + label in node else at - 1
        break
    if suffix == len(labels):
        return "", ""
    domain = labels[suffix - 1] if suffix else ""
    if not domain:
        return "", ""
    tail = ".".join(labels[suffix - 1 :])
    before = ".".join(labels[: suffix - 1])
    return tail, f"{before}.{tail}" if before else tail
