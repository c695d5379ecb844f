"""Passages that documents of a corpus have in common: what is one, which copy stays, and the edits that follow.

A scheme says what the passages of a text are and gives each a hash (64 or 128 bits); equal hashes are copies:

    paragraphs@ccnet     the lines of text.split("\\n"), by cc_net's normalisation
                         (facebookresearch/cc_net @ bda555b, cc_net/dedup.py)
    lines@tfds           the lines of text.split("\\n"), white space around them and case aside
                         (tensorflow-datasets 4.9.10, text/c4_utils.py, remove_duplicate_text)
    sentences@datatrove  spans of three sentences (see `dedup.sentence_spans`)

`repeated` decides over all copies that it is given.  Of every passage the first copy stays, in an order of documents
that is a function of their content (`document_order`), and inside a document in order of place.  That decision may be
made in steps: the copies that lose among the passages of one shard lose among all, so a shard sends on one copy of a
passage at most (two where none is to stay).

Hashes collide as in the references: of 10^11 different lines by 64 bits about 270 pairs would be taken for copies.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedup.datasketch import sha1_hashes
from dedup.hashing import Hashes
from dedup.lower_case import lower_case
from dedup.md5 import md5_halves
from quality_signals.batches import field
from quality_signals.c4_tfds_sentences import abbreviation_keys, count_sentences, load_punkt
from quality_signals.ccnet_normalise import normalised
from quality_signals.codepoints import SPACE, class_table
from quality_signals.compiled import njit
from quality_signals.dsir_digests import put_utf8
from quality_signals.edits import EDITS, edits_column, edits_field
from quality_signals.families import VERDICT_FIELDS, Rule
from quality_signals.line_views import split_lines
from quality_signals.text_batch import TextBatch

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Keep = Literal["first", "none"]
KEEPS: tuple[Keep, ...] = ("first", "none")
Order = Literal["doc_id", "input", "url"]
ORDERS: tuple[Order, ...] = ("doc_id", "input", "url")
NOTHING_LEFT = "nothing_left"  # the first rule of every scheme

NUMBERS = {
    "passages": "passages that were compared",
    "repeated": "passages that go, since another copy stays",
    "characters_removed": "characters of the text that the edits take away",
}
SCHEMA = pa.schema(
    [
        *VERDICT_FIELDS,
        *(field(name, pa.int64(), text) for name, text in NUMBERS.items()),
        edits_field("passages that stand elsewhere; empty where nothing of the text is left"),
    ]
)


# -- which copy stays --------------------------------------------------------------------------------------


def record_type(wide: bool, order: Order, sources: bool) -> np.dtype:
    """A passage on its way: 20 to 53 bytes.

    hash, low    the passage; low only where hashes have 128 bits (wide)
    source       rank of the document's source, where sources are ranked
    high, next   order of the document, not of `input`; tie: where two documents may have the same (`url`)
    address      of the document in the input, the last word on the order
    place        number of the passage in its document
    """
    fields = [("hash", "<u8")]
    if wide:
        fields.append(("low", "<u8"))
    if order != "input":
        fields += [("high", "<u8"), ("next", "<u8")]
    if order == "url":
        fields.append(("tie", "<u8"))
    fields += [("address", "<u8"), ("place", "<u4")]
    if sources:
        fields.append(("source", "u1"))
    return np.dtype(fields)


_ORDER = ("source", "high", "next", "tie", "address", "place")
_HEX_ID = re.compile("[0-9a-f]{32}")


def document_order(order: Order, ids: Sequence[str], urls: Sequence[str | None]) -> dict[str, Hashes]:
    """The fields of `record_type` that order documents, [documents] each.

    doc_id   by the id where it is 32 hexadecimal digits, as `doc_id` makes them; another id stands at a place that
             its 128-bit BLAKE2b gives it
    url      by the MD5 of the URL; a document without one by that of its id, documents of the same URL by their ids
    input    by place in the input, that is `address`
    """
    if order == "input":
        return {}
    own = [bytes.fromhex(i) if _HEX_ID.fullmatch(i) else _blake2b(i) for i in ids]
    if order == "doc_id":
        words = np.frombuffer(b"".join(own), ">u8").reshape(-1, 2).astype(np.uint64)
        return {"high": words[:, 0], "next": words[:, 1]}
    of_urls = b"".join(
        hashlib.md5((url or identity).encode(), usedforsecurity=False).digest()
        for url, identity in zip(urls, ids, strict=True)
    )
    words = np.frombuffer(of_urls, ">u8").reshape(-1, 2).astype(np.uint64)
    ties = np.frombuffer(b"".join(each[:8] for each in own), ">u8").astype(np.uint64)
    return {"high": words[:, 0], "next": words[:, 1], "tie": ties}


def _blake2b(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _copies(records: np.ndarray) -> tuple[Ints, Bools]:
    """The places of passages that are not alone, in order of passage and copy; which of them begin a passage."""
    order = np.argsort(records["hash"])
    hashes = records["hash"][order]
    same = hashes[1:] == hashes[:-1]
    alone = np.ones(len(records), np.bool_)
    alone[1:] &= ~same
    alone[:-1] &= ~same
    order = order[~alone]
    names = records.dtype.names or ()
    passage, places = ([key for key in keys if key in names] for keys in (("hash", "low"), _ORDER))
    columns = {key: records[key][order] for key in (*passage, *places)}
    sort = np.lexsort([columns[key] for key in reversed(columns)])
    begins = np.ones(len(order), np.bool_)
    if len(order):
        ordered = [columns[key][sort] for key in passage]
        begins[1:] = np.logical_or.reduce([keys[1:] != keys[:-1] for keys in ordered])
    return order[sort], begins


def repeated(records: np.ndarray, keep: Keep = "first") -> tuple[Bools, Bools]:
    """Of passages (`record_type`) those that go [n], and those that stand for the others elsewhere [n].

    keep first: the first copy stays.  none: of what stands in more than one document no copy stays; of what one
    document repeats the first.  Which stand for the others: one copy of a passage, of keep `none` the first of two
    documents.  Deciding about those of all parts, after each part was decided alone, is deciding about all at once.
    """
    decided = decide_copies(records, keep)
    return decided.gone, decided.sent


@dataclasses.dataclass(frozen=True, slots=True)
class Decided:
    """`repeated`, and for each passage that goes the copy that it goes for.

    witness [n]: of keep `first` the copy that stays; of `none` the first copy in another document, but of what repeats
    a passage of one of the first two documents that passage.  A passage that stays is its own.
    first [n]: whether it is the first of its copies.
    """

    gone: Bools
    sent: Bools
    witness: Ints
    first: Bools


def decide_copies(records: np.ndarray, keep: Keep = "first") -> Decided:
    gone = np.zeros(len(records), np.bool_)
    sent = np.ones(len(records), np.bool_)
    first = np.ones(len(records), np.bool_)
    witness = np.arange(len(records))
    order, begins = _copies(records)
    if not len(order):
        return Decided(gone, sent, witness, first)
    first[order] = begins
    groups = np.cumsum(begins) - 1
    firsts = order[np.flatnonzero(begins)]
    if keep == "first":
        gone[order] = ~begins
        witness[order] = firsts[groups]
        return Decided(gone, ~gone, witness, first)
    addresses = records["address"][order]
    documents = begins.copy()
    # Copies of a document stand together, since the order of documents ends with the address.
    documents[1:] |= addresses[1:] != addresses[:-1]
    numbers = np.cumsum(documents) - 1
    in_group = numbers - numbers[np.flatnonzero(begins)][groups]
    sizes = np.zeros(int(groups[-1]) + 1, np.int64)
    np.maximum.at(sizes, groups, in_group)
    gone[order] = ~documents | (sizes[groups] > 0)
    sent[order] = documents & (in_group < 2)
    seconds = firsts.copy()
    begin_second = documents & (in_group == 1)
    seconds[groups[begin_second]] = order[begin_second]
    elsewhere = np.where(in_group == 0, seconds[groups], firsts[groups])
    # What repeats one of the first two documents goes for their own copy, which knows more once all are compared.
    within = order[np.flatnonzero(documents)][numbers]
    elsewhere = np.where(~documents & (in_group < 2), within, elsewhere)
    witness[order] = np.where(gone[order], elsewhere, order)
    return Decided(gone, sent, witness, first)


# -- schemes -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Passages:
    """The passages of a batch of texts in order.

    hashes       [passages] uint64; low: the other half of 128-bit hashes, else None
    places       [passages] int64, number of the passage in its text
    offsets      [texts + 1] int64, text i has the passages offsets[i]:offsets[i + 1]
    judged       [texts] bool; False: the scheme cannot divide the text (language)
    sentences    [texts] int64 of the whole text where the scheme asks for them, else -1
    always_gone  [passages] bool, or None: those that the reference drops whatever else there is
    """

    hashes: Hashes
    low: Hashes | None
    places: Ints
    offsets: Ints
    judged: Bools
    sentences: Ints
    always_gone: Bools | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Changed:
    """What becomes of texts that lose passages: their edits, and the numbers that rules look at, [texts] each."""

    edits: pa.ListArray
    characters_removed: Ints
    left: Mapping[str, Floats]


class Scheme(Protocol):
    """What passages are.  A frozen dataclass of its options."""

    name: ClassVar[str]
    wide: ClassVar[bool]
    bytes_each: ClassVar[int]  # about, of text to a passage
    order: ClassVar[Order]  # the default

    @property
    def keep(self) -> Keep: ...

    @property
    def rules(self) -> tuple[Rule, ...]: ...

    def passages(self, texts: TextBatch) -> Passages: ...

    def change(self, texts: TextBatch, places: Ints, offsets: Ints) -> Changed:
        """places: the passages that go, ascending; of text i places[offsets[i]:offsets[i + 1]]."""
        ...

    def spans(self, texts: TextBatch, places: Ints, offsets: Ints) -> tuple[Ints, Ints]:
        """Where those passages stand, [places] start and end in code points of their texts."""
        ...

    def unchanged(self, passages: Ints, characters: Ints, sentences: Ints) -> Mapping[str, Floats]:
        """`Changed.left` of texts that lose nothing; sentences: -1 where not counted."""
        ...


def line_marks(places: Ints, offsets: Ints, counts: Ints) -> Bools:
    """[passages] bool, from the numbers of the passages of each text; counts: [texts] passages."""
    firsts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    marks = np.zeros(int(firsts[-1]), np.bool_)
    marks[places + np.repeat(firsts[:-1], np.diff(offsets))] = True
    return marks


@njit(error_model="numpy")
def _line_edits(starts, ends, lines, text_offsets, gone, edit_starts, edit_ends, edits, kept):  # type: ignore[no-untyped-def]
    """Edits that leave the lines that stay joined by newlines; a run of lines that go is one edit.

    edit_starts, edit_ends: in code points of the text, with room for an edit a line; edits [texts + 1]; kept [texts].
    """
    count = 0
    for text in range(len(lines) - 1):
        own = text_offsets[text]
        line = lines[text]
        last = lines[text + 1]
        while line < last:
            if not gone[line]:
                kept[text] += 1
                line += 1
                continue
            first = line
            while line < last and gone[line]:
                line += 1
            # The newline before the run goes with it, or, where no line stays before, the one behind.
            start, end = starts[first], ends[line - 1]
            if first > lines[text]:
                start -= 1
            elif line < last:
                end = starts[line]
            if start < end:
                edit_starts[count] = start - own
                edit_ends[count] = end - own
                count += 1
        edits[text + 1] = count
    return count


def changed_lines(texts: TextBatch, places: Ints, offsets: Ints, rule: str) -> tuple[pa.ListArray, Ints, Ints]:
    """Edits that leave "\\n".join of the lines that stay; characters that go; lines that stay."""
    lines = texts.view(split_lines)
    gone = line_marks(places, offsets, lines.counts)
    starts, ends = np.empty(len(lines), np.int64), np.empty(len(lines), np.int64)
    bounds, kept = np.zeros(len(texts) + 1, np.int64), np.zeros(len(texts), np.int64)
    count = _line_edits(lines.starts, lines.ends, lines.offsets, texts.offsets, gone, starts, ends, bounds, kept)
    starts, ends = starts[:count], ends[:count]
    nothing = np.zeros(count, np.int64)
    edits = edits_column(starts, ends, nothing, nothing, bounds, rule_names=[rule])
    return edits, totals(ends - starts, bounds), kept


def line_spans(texts: TextBatch, places: Ints, offsets: Ints) -> tuple[Ints, Ints]:
    """`Scheme.spans` where the passages are the lines of text.split("\\n")."""
    lines = texts.view(split_lines)
    owners = np.repeat(np.arange(len(texts)), np.diff(offsets))
    at, own = lines.offsets[owners] + places, texts.offsets[owners]
    return lines.starts[at] - own, lines.ends[at] - own


def totals(values: Ints, offsets: Ints) -> Ints:
    """[texts] sums of values[offsets[i]:offsets[i + 1]]."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    return sums[offsets[1:]] - sums[offsets[:-1]]


def lists(values: pa.Array, rows: Ints, length: int) -> pa.ListArray:
    """Lists for some rows (ascending) of a column of `length` rows; the others are empty."""
    places = np.full(length, len(values), np.int64)
    places[rows] = np.arange(len(values))
    return pa.concat_arrays([values, pa.array([[]], EDITS)]).take(pa.array(places))


@dataclasses.dataclass(frozen=True)
class CcNetParagraphs:
    """cc_net's paragraphs.

    keep         first: the first copy stays (DuplicatesRemover with collect=True over all documents in their order);
                 none: of what stands in several documents none does (hashes of all documents collected before)
    min_length   fewest characters of the text that is left; cc_net has none here
    """

    keep: Keep = "first"
    min_length: int = 0

    name: ClassVar[str] = "paragraphs@ccnet"
    wide: ClassVar[bool] = False
    bytes_each: ClassVar[int] = 60
    order: ClassVar[Order] = "doc_id"

    def __post_init__(self) -> None:
        if self.keep not in KEEPS:
            raise ValueError(f"{self.name}: keep is {self.keep!r}, allowed are {', '.join(KEEPS)}")
        check_counts(self, "min_length")

    @property
    def rules(self) -> tuple[Rule, ...]:
        rules: tuple[Rule, ...] = (Rule(NOTHING_LEFT, "no paragraph is left", "passages_left", "<", 1.0),)
        if self.min_length:
            rules += (Rule("min_length", "too little is left", "characters_left", "<", float(self.min_length)),)
        return rules

    def passages(self, texts: TextBatch) -> Passages:
        lines = texts.view(split_lines)
        utf8, ends = normalised(texts.points, lines.starts, lines.ends, "ccnet_dedup")
        # An empty text has no paragraph.
        empty = texts.lengths == 0
        some = ~np.repeat(empty, lines.counts)
        hashes = sha1_hashes(utf8, ends[:-1][some], ends[1:][some])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(empty, 0, lines.counts))])
        # 0 is the reference's mark of a dropped line, so a line with this hash always is.
        zero = hashes == 0
        return _passages(texts, hashes, None, offsets, zero if zero.any() else None)

    def change(self, texts: TextBatch, places: Ints, offsets: Ints) -> Changed:
        edits, removed, kept = changed_lines(texts, places, offsets, "repeated_paragraph")
        return Changed(edits, removed, self.unchanged(kept, texts.lengths - removed, kept))

    def spans(self, texts: TextBatch, places: Ints, offsets: Ints) -> tuple[Ints, Ints]:
        return line_spans(texts, places, offsets)

    def unchanged(self, passages: Ints, characters: Ints, sentences: Ints) -> Mapping[str, Floats]:
        return {"passages_left": passages.astype(np.float64), "characters_left": characters.astype(np.float64)}


def _passages(texts: TextBatch, hashes: Hashes, low: Hashes | None, offsets: Ints, gone: Bools | None) -> Passages:
    places = np.arange(len(hashes)) - np.repeat(offsets[:-1], np.diff(offsets))
    judged = np.ones(len(texts), np.bool_)
    return Passages(hashes, low, places, offsets, judged, np.full(len(texts), -1, np.int64), gone)


def check_counts(scheme: Any, *names: str) -> None:
    for name in names:
        value = getattr(scheme, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{scheme.name}: {name} is {value!r}, must be a whole number of 0 or more")


@njit(error_model="numpy")
def _stripped_lines(points, offsets, classes, utf8, starts, ends):  # type: ignore[no-untyped-def]
    """UTF-8 of all lines of text.split("\\n") without white space around: line i is utf8[starts[i]:ends[i]]."""
    line = 0
    out = np.int64(0)
    for text in range(len(offsets) - 1):
        low = offsets[text]
        last = offsets[text + 1]
        for i in range(low, last + 1):
            if i < last and points[i] != 10:
                continue
            high = i
            while low < high and classes[points[low]] & SPACE:
                low += 1
            while low < high and classes[points[high - 1]] & SPACE:
                high -= 1
            starts[line] = out
            for k in range(low, high):
                c = points[k]
                if c < 0x80:
                    utf8[out] = c
                    out += 1
                else:
                    out = put_utf8(utf8, out, c)
            ends[line] = out
            line += 1
            low = i + 1
    return out


@njit(error_model="numpy")
def _sentences(points, offsets, classes, keys, counts):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        counts[text] = count_sentences(points, offsets[text], offsets[text + 1], classes, keys)


@dataclasses.dataclass(frozen=True)
class TfdsLines:
    """C4's lines: of the pages with a line, the one whose URL has the smallest MD5 keeps it, once.

    min_num_sentences   fewest of a page, and 0: any.  sentences: how they are counted, as `c4@tfds` does
    (rule, lines; punkt: the reference's own, where nltk and its data are installed)

    It is made for pages after `c4@tfds`; an empty line is a line like another one.
    """

    min_num_sentences: int = 3
    sentences: str = "rule"

    keep: ClassVar[Keep] = "first"
    name: ClassVar[str] = "lines@tfds"
    wide: ClassVar[bool] = True
    bytes_each: ClassVar[int] = 80
    order: ClassVar[Order] = "url"

    def __post_init__(self) -> None:
        if self.sentences not in ("rule", "lines", "punkt"):
            raise ValueError(f"{self.name}: sentences is {self.sentences!r}, allowed are rule, lines, punkt")
        check_counts(self, "min_num_sentences")
        if self.sentences == "punkt":
            load_punkt()

    @property
    def rules(self) -> tuple[Rule, ...]:
        rules: tuple[Rule, ...] = (Rule(NOTHING_LEFT, "empty", "characters_left", "<", 1.0),)
        if self.min_num_sentences:
            rules += (
                Rule("min_num_sentences", "too_few_sentences", "sentences_left", "<", float(self.min_num_sentences)),
            )
        return rules

    def passages(self, texts: TextBatch) -> Passages:
        points, offsets = texts.view(lower_case)
        count = len(texts) + int(np.count_nonzero(points == 10))
        utf8 = np.empty(len(points) + 3 * int(np.count_nonzero(points >= 0x80)) + 8, np.uint8)
        starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
        size = _stripped_lines(points, offsets, class_table(), utf8, starts, ends)
        digests = md5_words(utf8[:size], starts, ends)
        found = _passages(texts, digests[:, 0].copy(), digests[:, 1].copy(), texts.view(split_lines).offsets, None)
        return dataclasses.replace(found, sentences=self._sentences(texts))

    def _sentences(self, texts: TextBatch) -> Ints:
        if not self.min_num_sentences:
            return np.full(len(texts), -1, np.int64)
        if self.sentences == "punkt":
            tokenize = load_punkt()
            return np.array([len(tokenize(text)) for text in texts.strings], np.int64)
        if self.sentences == "lines":
            return texts.view(split_lines).counts
        counts = np.zeros(len(texts), np.int64)
        _sentences(texts.points, texts.offsets, class_table(), abbreviation_keys(), counts)
        return counts

    def change(self, texts: TextBatch, places: Ints, offsets: Ints) -> Changed:
        edits, removed, _ = changed_lines(texts, places, offsets, "repeated_line")
        left = edited_texts(texts, edits)
        return Changed(edits, removed, self.unchanged(removed, left.lengths, self._sentences(left)))

    def spans(self, texts: TextBatch, places: Ints, offsets: Ints) -> tuple[Ints, Ints]:
        return line_spans(texts, places, offsets)

    def unchanged(self, passages: Ints, characters: Ints, sentences: Ints) -> Mapping[str, Floats]:
        counted = np.where(sentences < 0, np.nan, sentences.astype(np.float64))
        return {"characters_left": characters.astype(np.float64), "sentences_left": counted}


def md5_words(utf8: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> Hashes:
    """[n, 2] the two halves of the MD5 of every utf8[starts[i]:ends[i]], big-endian: in order of the hex digest."""
    found = np.empty((len(starts), 2), np.uint64)
    md5_halves(utf8, starts, ends, found)
    return found


def edited_texts(texts: TextBatch, edits: pa.ListArray) -> TextBatch:
    """The texts after the edits, with their languages."""
    from quality_signals.edits import apply_to_column

    languages = pa.array(texts.column("language"), pa.string())
    batch = pa.RecordBatch.from_arrays([apply_to_column(texts.texts, edits), languages], ["text", "language"])
    return TextBatch(batch, np.ones(len(texts), np.bool_))
