"""Documents with a word of the LDNOOBW lists, as datatrove and TFDS look for them (`bad_words@datatrove`,
`bad_words@tfds`).

Both lower-case the text and search it for an entry between two non-word characters (`\\W` of re) or ends of the
text; in Japanese, Thai and Chinese for an entry anywhere.  Entries stand as in the lists, so one with a capital can
never match.  Readings: datatrove 0.10.1, pipeline/filters/c4_filters.py, C4BadWordsFilter; tensorflow-datasets
4.9.10, text/c4.py and text/c4_utils.py, badwords_filter.

Lists: LDNOOBW @ 5faf2ba, 28 languages.  For English both references download an older one, @ 25e679f (377 of the 403
entries, without "sexual", "viagra" and others): `english="25e679f"` is what they do as published.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from functools import lru_cache
from importlib import resources
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from quality_signals.batches import PROSE_KINDS, field
from quality_signals.chunks import chunks
from quality_signals.codepoints import WORD, class_table, code_points, mix
from quality_signals.compiled import njit
from quality_signals.families import VERDICT_FIELDS, Rule, family_batch
from quality_signals.strings import U
from quality_signals.text_batch import Ints, SharedTexts, TextBatch
from quality_signals.wordlists import ldnoobw

LANGUAGES = (
    "ar cs da de en eo es fa fi fil fr fr-CA-u-sd-caqc hi hu it ja kab ko nl no pl pt ru sv th tlh tr zh"
).split()
# Both references: entries that are parts of common words in languages without spaces.  datatrove removes both lists
# from every language, TFDS from their own; no other list holds one of them.
ALLOWED = {"ja": frozenset({"sm", "グロ", "女の子"}), "zh": frozenset({"性"})}
# Both references: matched anywhere, since these languages put no space between words.
UNSPACED = ("ja", "th", "zh")
ENGLISH_LISTS = ("5faf2ba", "25e679f")  # commits of LDNOOBW; the first is the default

NUMBERS = {"n_bad_words": "places where an entry of the language's list stands; null without a list"}
BAD_WORD = field("bad_word", pa.string(), "the first entry found, the longest of those that start there")
SCHEMA = pa.schema(
    [*VERDICT_FIELDS, *(field(name, pa.int64(), text) for name, text in NUMBERS.items()), BAD_WORD],
)

_FRENCH = "fr with regions"
_DOTTED_I = 0x130  # its lower case is i and U+0307, the only one of two characters


@lru_cache(maxsize=1)
def lower_table() -> npt.NDArray[np.uint32]:
    """[1114112] uint32: the lower case of every code point but U+0130, whose first character stands here."""
    table = np.arange(0x110000, dtype=np.uint32)
    # No cased letter beyond (Unicode 17).  A digit on both sides keeps a capital sigma from ending a word.
    letters = "0".join(map(chr, range(0x20000))).replace(chr(_DOTTED_I), "i").lower()
    table[:0x20000] = np.frombuffer(letters.encode("utf-32-le", "surrogatepass"), np.uint32)[::2]
    return table


@dataclasses.dataclass(frozen=True, slots=True)
class Matcher:
    """The lists of all languages as one trie with a root for each; what `_search` takes.

    slots       [power of two] uint64, node << 21 | character, all ones where free; children [same] int64
    entries     [nodes] int64, number of the entry that ends at the node, or -1
    goes_on     [nodes] bool, whether white space follows
    starts      [languages, 32768] bool, whether an entry may start with three characters (their low five bits)
    """

    languages: dict[str, int]
    words: tuple[str, ...]
    slots: npt.NDArray[np.uint64]
    children: Ints
    entries: Ints
    starts: npt.NDArray[np.bool_]
    spaced: npt.NDArray[np.bool_]
    goes_on: npt.NDArray[np.bool_]

    @property
    def arrays(self) -> tuple[Any, ...]:
        return self.slots, self.children, self.entries, self.starts, self.spaced, self.goes_on


_FREE = 0xFFFFFFFFFFFFFFFF


def bad_words(language: str, english: str = ENGLISH_LISTS[0]) -> frozenset[str]:
    """The list of a language as the references use it; empty without one.

    english: commit of the English list, one of ENGLISH_LISTS.
    """
    words = ldnoobw(language, every_language=True) - ALLOWED.get(language, frozenset())
    if language == "en" and english == "25e679f":
        data = resources.files("quality_signals").joinpath("data", "bad_words.json")
        words -= frozenset(json.loads(data.read_text(encoding="utf-8"))["en@25e679f"]["without"])
    return words


@lru_cache(maxsize=2)
def matcher(english: str) -> Matcher:
    """The lists of LANGUAGES, and those of fr and fr-CA-u-sd-caqc as one (_FRENCH: TFDS cuts the region off)."""
    lists = {language: bad_words(language, english) for language in LANGUAGES}
    lists[_FRENCH] = lists["fr"] | lists["fr-CA-u-sd-caqc"]
    words = sorted(frozenset().union(*lists.values()))
    assert not any(word[:1].isspace() for word in words)
    numbers = {word: number for number, word in enumerate(words)}
    edges: dict[tuple[int, int], int] = {}
    ends: dict[int, int] = {}
    nodes = len(lists)  # the roots come first
    for root, entries in enumerate(lists.values()):
        for word in sorted(entries):
            node = root
            for c in code_points(word).tolist():
                if (node, c) not in edges:
                    edges[node, c] = nodes
                    nodes += 1
                node = edges[node, c]
            ends[node] = numbers[word]
    entry_of = np.full(nodes, -1, dtype=np.int64)
    for node, number in ends.items():
        entry_of[node] = number
    capacity = 16
    while capacity < 4 * len(edges):
        capacity *= 2
    goes_on = np.zeros(nodes, bool)
    goes_on[[node for node, c in edges if chr(c).isspace()]] = True
    slots = np.full(capacity, _FREE, dtype=np.uint64)
    children = np.zeros(capacity, dtype=np.int64)
    for (node, c), child in edges.items():
        key = node << 21 | c
        slot = _mix(key) & (capacity - 1)
        while slots[slot] != _FREE:
            slot = (slot + 1) & (capacity - 1)
        slots[slot] = key
        children[slot] = child
    starts = np.zeros((len(lists), 32, 32, 32), dtype=bool)
    for root, entries in enumerate(lists.values()):
        for word in entries:
            starts[(root, *(ord(c) & 31 for c in word[:3]))] = True  # all that follows a shorter entry
    spaced = np.array([language not in UNSPACED for language in lists])
    roots = {name: root for root, name in enumerate(lists)}
    return Matcher(roots, tuple(words), slots, children, entry_of, starts.reshape(len(lists), -1), spaced, goes_on)


def _mix(key: int) -> int:
    """`codepoints.mix` on Python numbers."""
    key ^= key >> 33
    key = key * 0xFF51AFD7ED558CCD & _FREE
    return key ^ key >> 33


@njit(error_model="numpy", forceinline=True)
def _child(node, c, slots, children):  # type: ignore[no-untyped-def]
    key = np.uint64(node) << np.uint64(21) | np.uint64(c)
    mask = np.uint64(len(slots) - 1)
    slot = mix(key) & mask
    while slots[slot] != np.uint64(_FREE):
        if slots[slot] == key:
            return children[slot]
        slot = (slot + np.uint64(1)) & mask
    return -1


@njit(error_model="numpy", forceinline=True)
def _search(points, low, high, end, root, lower, table, slots, children, entries, starts, spaced, goes_on):  # type: ignore[no-untyped-def]
    """Places in [low, high) where an entry begins that ends by `end`, and the number of the first one (-1 without);
    whether an entry might go on with white space behind the end.

    low: where a text or a word of str.split begins.  root: the language's.  The text has no U+0130.
    Time: the longest entry for each word.
    """
    count = 0
    first = np.int64(-1)
    open_ = False
    bounded = spaced[root]
    i = low
    while i < high:
        node = np.int64(-1)
        a = lower[points[i]]
        if i + 2 >= end:
            node = _child(root, a, slots, children)
        elif starts[root, (a & 31) << 10 | (lower[points[i + 1]] & 31) << 5 | lower[points[i + 2]] & 31]:
            node = _child(root, a, slots, children)
        if node >= 0:
            longest = np.int64(-1)
            j = i + 1
            while node >= 0:
                if entries[node] >= 0 and (not bounded or j == end or table[points[j]] & WORD == 0):
                    longest = entries[node]
                if j == end:
                    open_ |= goes_on[node]
                    break
                node = _child(node, lower[points[j]], slots, children)
                j += 1
            if longest >= 0:
                count += 1
                if first < 0:
                    first = longest
        if bounded:  # on to the next word, or to the character behind a non-word
            while i < high and table[points[i]] & WORD:
                i += 1
        i += 1
    return count, first, open_


# What the search of a chunk alone tells: nothing begins in it, something may, or U+0130 is in it.
_NOTHING, _MAY_BEGIN, _DOTTED = 0, 1, 2


@njit(error_model="numpy")
def _chunk_states(points, offsets, root, lower, table, arrays, states):  # type: ignore[no-untyped-def]
    slots, children, entries, starts, spaced, goes_on = arrays
    for chunk in range(len(offsets) - 1):
        low, high = offsets[chunk], offsets[chunk + 1]
        count, _, open_ = _search(
            points, low, high, high, root, lower, table, slots, children, entries, starts, spaced, goes_on
        )
        states[chunk] = _MAY_BEGIN if count or open_ else _NOTHING
        for i in range(low, high):
            if points[i] == _DOTTED_I:
                states[chunk] = _DOTTED


def chunk_states(chunks: TextBatch, english: str, root: int) -> npt.NDArray[np.uint8]:
    """Facts of `strings.Strings`: whether an entry of a language may begin in a chunk.  No entry begins with white
    space, so none begins between chunks."""
    states = np.empty(len(chunks), np.uint8)
    arrays = matcher(english).arrays
    _chunk_states(chunks.points, chunks.offsets, root, lower_table(), class_table(), arrays, states)
    return states


@njit(error_model="numpy")
def _search_texts(points, ends, ids, lows, highs, offsets, states, roots, root, lower, table, arrays, counts, found):  # type: ignore[no-untyped-def]
    """Fills counts and first entries of the texts of one root; -1 as count where U+0130 stands in the text.

    lows, highs: of the chunks.
    """
    slots, children, entries, starts, spaced, goes_on = arrays
    for text in range(len(offsets) - 1):
        if roots[text] != root:
            continue
        counts[text] = 0
        found[text] = -1
        dotted = False
        for k in range(offsets[text], offsets[text + 1]):
            state = states[U(ids[U(k)])]
            if state != _NOTHING:
                dotted |= state == _DOTTED
                count, first, _ = _search(
                    points, lows[k], highs[k], ends[text + 1], root, lower, table,
                    slots, children, entries, starts, spaced, goes_on,
                )  # fmt: skip
                counts[text] += count
                if found[text] < 0:
                    found[text] = first
        if dotted:
            counts[text] = -1


def _places(texts: TextBatch, english: str, roots: bytes) -> tuple[Ints, Ints]:
    """View: of each text the places where an entry stands, and the number of the first one (-1 without).

    roots: the bytes of [texts] int64, the language's root, -1 where there is no list.
    """
    lists, split = matcher(english), texts.view(chunks)
    numbers = np.frombuffer(roots, np.int64)
    counts, found = np.zeros(len(texts), np.int64), np.full(len(texts), -1, np.int64)
    arrays = lists.arrays
    tables = (lower_table(), class_table(), arrays)
    for root in np.unique(numbers[numbers >= 0]).tolist():
        states = split.vocabulary.chunks.facts(chunk_states, english, root)
        of_chunks = (split.ids, split.starts, split.ends, split.offsets, states)
        _search_texts(texts.points, texts.offsets, *of_chunks, numbers, root, *tables, counts, found)
    for text in np.flatnonzero(counts < 0).tolist():
        points = code_points(texts.texts[text].as_py().replace("\u0130", "i\u0307")).copy()
        counts[text], found[text], _ = _search(points, 0, len(points), len(points), numbers[text], *tables[:2], *arrays)
    return counts, found


def _find(texts: TextBatch, english: str, names: list[str]) -> tuple[Ints, Ints, Ints]:
    """Roots by the lists' names, counts and first entries of every text."""
    numbers = matcher(english).languages
    roots = np.array([numbers.get(name, -1) for name in names], dtype=np.int64)
    return roots, *texts.view(_places, english, roots.tobytes())


def _columns(
    texts: TextBatch, rules: tuple[Rule, ...], soft: dict[int, bool], words: tuple[str, ...], places: Any
) -> pa.RecordBatch:
    """soft: texts that stay although an entry was found."""
    roots, counts, found = places
    judged = roots >= 0
    passing = counts.astype(np.float64)
    for text, kept in soft.items():
        if kept:
            passing[text] = np.nan
    names = pa.array([words[number] if number >= 0 else None for number in found.tolist()], pa.string())
    columns = [pa.array(counts, mask=~judged), names]
    return family_batch(texts, rules, {"n_bad_words": passing}, columns, SCHEMA, judged)


def _check(annotator: BadWordsDatatrove | BadWordsTfds, share: str) -> None:
    if annotator.english not in ENGLISH_LISTS:
        raise ValueError(f"{annotator.name}: english is one of {', '.join(ENGLISH_LISTS)}, not {annotator.english!r}")
    if not 0.0 <= getattr(annotator, share) <= 1.0:
        raise ValueError(f"{annotator.name}: {share} lies between 0 and 1, not {getattr(annotator, share)!r}")


@dataclasses.dataclass(frozen=True)
class BadWordsDatatrove:
    """datatrove's C4BadWordsFilter.

    Documents of other `kinds` (a null kind counts as prose) and of languages without a list (there the reference
    raises an error) are not judged: keep is true and every other column null.
    keep_fraction: share of the documents with a bad word that stay.  The reference draws them from a generator in
    order of arrival; here a hash of the text and `seed` decides, so that a document has the same fate in every run.
    """

    keep_fraction: float = 0.0
    seed: int = 0
    english: str = ENGLISH_LISTS[0]
    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"

    name: ClassVar[str] = "bad_words@datatrove"
    schema: ClassVar[pa.Schema] = SCHEMA
    rules: ClassVar[tuple[Rule, ...]] = (Rule("bad_words", "document_removed_with_badwords", "n_bad_words", ">", 0.0),)

    def __post_init__(self) -> None:
        _check(self, "keep_fraction")

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        places = _find(texts, self.english, [name or "" for name in texts.languages(self.default_language)])
        soft: dict[int, bool] = {}
        if self.keep_fraction > 0.0:
            for text in np.flatnonzero(places[1]).tolist():
                raw = texts.utf8[texts.byte_offsets[text] : texts.byte_offsets[text + 1]]
                soft[text] = xxhash.xxh64_intdigest(raw.tobytes(), self.seed) < self.keep_fraction * 2.0**64
        return _columns(texts, self.rules, soft, matcher(self.english).words, places)


def normalised_url(url: str) -> str:
    """The key of a URL in TFDS' C4 (c4_utils.py, normalize_url): without scheme, www., tracking query and the
    slashes at its end."""
    url = re.sub(r"https?://(www\.)?", "", url)
    return re.sub(r"\?(utm_|ref|feed).*", "", url).rstrip("/")


@dataclasses.dataclass(frozen=True)
class BadWordsTfds:
    """TFDS' badwords_filter.

    A language is what stands before the first `-`.  Documents of other `kinds` (a null kind counts as prose) are not
    judged; nor are those of languages without a list, which the reference lets pass.
    filter_fraction: share of the documents with a bad word that are dropped, by the MD5 of the normalised URL as in
    the reference (1.0 in C4, 0.999 in mC4); a document without URL has the empty one.
    """

    filter_fraction: float = 1.0
    english: str = ENGLISH_LISTS[0]
    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str = "en"

    name: ClassVar[str] = "bad_words@tfds"
    schema: ClassVar[pa.Schema] = SCHEMA
    rules: ClassVar[tuple[Rule, ...]] = (Rule("bad_words", "badwords-filter", "n_bad_words", ">", 0.0),)

    def __post_init__(self) -> None:
        _check(self, "filter_fraction")

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        languages = [(name or "").split("-")[0] for name in texts.languages(self.default_language)]
        places = _find(texts, self.english, [_FRENCH if name == "fr" else name for name in languages])
        soft: dict[int, bool] = {}
        numerator, denominator = self.filter_fraction.as_integer_ratio()
        if numerator < denominator and places[1].any():
            urls = texts.column("url")
            for text in np.flatnonzero(places[1]).tolist():
                key = normalised_url(urls[text] or "").encode()
                digest = int(hashlib.md5(key, usedforsecurity=False).hexdigest(), 16)
                soft[text] = digest % denominator >= numerator
        return _columns(texts, self.rules, soft, matcher(self.english).words, places)
