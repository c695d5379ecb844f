"""The rule signals of RedPajama-V2 (`rpv2@1`), value-identical to the reference.

Reference: togethercomputer/RedPajama-Data @ 6d2cee9, app/src/core/quality_signals, with nltk 3.8.1's
WordPunct words. Names are the reference's own, misspelling included.  A value is a list of spans [start, end,
score] in code points of the text: one span over the whole document, or one a line for `rps_lines_*`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from quality_signals import rpv2_kernels as kernels
from quality_signals import wordlists
from quality_signals.batches import PROSE_KINDS, field
from quality_signals.chunks import chunks
from quality_signals.codepoints import room
from quality_signals.families import ratios
from quality_signals.line_views import line_chunks, split_lines
from quality_signals.ngrams import workspace
from quality_signals.packed_counts import PackedCounts
from quality_signals.rpv2_lists import STOP_LANGUAGES, ListedPhrases, Phrases, ldnoobw_lists, listed_phrases
from quality_signals.text_batch import SharedTexts, TextBatch
from quality_signals.views import numbered_norm_words, raw_lines

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]))
_SPAN_FIELDS = list(SPANS.value_type)

# What cc_net knew of a document, copied from its `meta` (app/src/core/worker.py).
CCNET_SIGNALS = {
    "ccnet_bucket": "perplexity bucket of cc_net: head 0, middle 1, tail 2",
    "ccnet_language_score": "score of cc_net's language identification",
    "ccnet_length": "characters of the document, as cc_net counted them",
    "ccnet_nlines": "lines of the document",
    "ccnet_original_length": "length before cc_net's deduplication",
    "ccnet_original_nlines": "lines before cc_net's deduplication",
    "ccnet_perplexity": "perplexity under cc_net's model of Wikipedia",
}
CCNET_BUCKETS = {"head": 0.0, "middle": 1.0, "tail": 2.0}

DOCUMENT_SIGNALS = {
    "rps_doc_curly_bracket": "characters { and } / characters",
    "rps_doc_frac_all_caps_words": "WordPunct words in capitals / words",
    "rps_doc_frac_chars_dupe_10grams": "characters in repeated 10-grams / characters of words",
    "rps_doc_frac_chars_dupe_5grams": "the same for 5-grams",
    "rps_doc_frac_chars_dupe_6grams": "the same for 6-grams",
    "rps_doc_frac_chars_dupe_7grams": "the same for 7-grams",
    "rps_doc_frac_chars_dupe_8grams": "the same for 8-grams",
    "rps_doc_frac_chars_dupe_9grams": "the same for 9-grams",
    "rps_doc_frac_chars_top_2gram": "count times characters of the top 2-gram / characters of words",
    "rps_doc_frac_chars_top_3gram": "the same for 3-grams",
    "rps_doc_frac_chars_top_4gram": "the same for 4-grams",
    "rps_doc_frac_lines_end_with_ellipsis": "lines that end in an ellipsis / lines",
    "rps_doc_frac_no_alph_words": "WordPunct words without an ASCII letter / words",
    "rps_doc_frac_unique_words": "distinct normalised words / words",
    "rps_doc_ldnoobw_words": "n-grams that stand in the LDNOOBW list of the language",
    "rps_doc_lorem_ipsum": "occurrences of 'lorem ipsum' / characters of the normalised text",
    "rps_doc_mean_word_length": "characters of normalised words / words",
    "rps_doc_num_sentences": "sentences",
    "rps_doc_stop_word_fraction": "WordPunct words in the stop list / words; null without a list",
    "rps_doc_symbol_to_word_ratio": "# and ellipses / WordPunct words",
    "rps_doc_unigram_entropy": "entropy of the normalised words, in nats",
    "rps_doc_ut1_blacklist": "id of the set of UT1 categories of the domain; null if not listed",
    "rps_doc_word_count": "normalised words",
}
LINE_SIGNALS = {
    "rps_lines_ending_with_terminal_punctution_mark": "1 where the line ends in . ! ? or \u201d",
    "rps_lines_javascript_counts": "normalised words equal to javascript",
    "rps_lines_num_words": "normalised words",
    "rps_lines_numerical_chars_fraction": "numeric characters / characters of the normalised line",
    "rps_lines_start_with_bulletpoint": "1 where the line starts with a bullet",
    "rps_lines_uppercase_letter_fraction": "capital letters / characters of the line with its newline",
}


def _schema(flat: bool) -> pa.Schema:
    fields = []
    for name, text in (CCNET_SIGNALS | DOCUMENT_SIGNALS).items():
        scalar = pa.int64() if name == "rps_doc_word_count" else pa.float64()
        fields.append(field(name, scalar if flat else SPANS, text))
    return pa.schema(fields + [field(name, SPANS, text) for name, text in LINE_SIGNALS.items()])


SCHEMA = _schema(flat=False)
FLAT_SCHEMA = _schema(flat=True)

# Ratios that are 0 where there is no whole; others are null.
_ZERO_WITHOUT = (
    "rps_doc_curly_bracket",
    *(f"rps_doc_frac_chars_dupe_{n}grams" for n in range(5, 11)),
    *(f"rps_doc_frac_chars_top_{n}gram" for n in range(2, 5)),
    "rps_doc_lorem_ipsum",
)
_DECIMALS = 8  # of every ratio, by Python's round
_LARGEST = 4e7  # that the kernel rounds
_LONGEST = 2**31 - 1  # characters: offsets are int32


def round8(values: Floats) -> Floats:
    """Python's round(x, 8) of values that are not negative; NaN stays."""
    flat = values.ravel()
    rounded: Floats = kernels.round8(flat)
    for i in np.flatnonzero(flat > _LARGEST):
        rounded[i] = round(float(flat[i]), _DECIMALS)
    return rounded.reshape(values.shape)


def _or_zero(values: Floats) -> Floats:
    return np.nan_to_num(values, copy=False, nan=0.0)


def list_numbers(texts: TextBatch, names: Sequence[str], default: str | None) -> npt.NDArray[np.int32]:
    """[texts] place of each text's language (or the default) in `names`, -1 where it is not there."""
    column = texts.batch.schema.get_field_index("language")
    known = pa.array(names, pa.string())
    if column < 0:
        languages = pa.nulls(len(texts), pa.string())
    else:
        languages = texts.batch.column(column).cast(pa.string()).filter(pa.array(texts.rows))
    # An empty name stands for none.
    named = pc.fill_null(pc.not_equal(languages, ""), False)
    found = pc.index_in(pc.if_else(named, languages, pa.scalar(default, pa.string())), known)
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int32)


def document_scores(
    texts: TextBatch, stop_lists: npt.NDArray[np.int32], banned: Phrases, banned_lists: npt.NDArray[np.int32]
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The signals that need nothing but text: of the documents [texts] (NaN is null), and of the lines [lines] of
    `views.raw_lines`.

    stop_lists: for each text the number of its list in `stop_table`, -1 for none; banned_lists: the same in `banned`.
    Expected time linear in the characters.
    """
    size = len(texts)
    found, lines = texts.view(chunks), texts.view(raw_lines)
    known = found.vocabulary
    counts = np.empty((size, kernels.RAW_COUNTS), np.int64)
    of_lines = room(6 * len(lines.ends), np.float64).reshape(6, len(lines.ends))
    offsets = (texts.view(line_chunks), texts.view(split_lines).offsets, lines.offsets)
    for number in np.unique(stop_lists).tolist():
        packed: PackedCounts = known.remembered(PackedCounts, kernels.chunk_facts, number)
        kernels.measure_chunks(
            found.ids, *offsets, lines.ends, stop_lists, number, *packed.of(known.chunks), counts, of_lines
        )
    ids, first = texts.view(numbered_norm_words)
    listed = np.zeros(size, np.int64)
    for number in np.unique(banned_lists[banned_lists >= 0]).tolist():
        phrases: ListedPhrases = known.remembered(listed_phrases, banned, number)
        kernels.measure_listed(ids, first, *phrases, banned_lists, number, listed)
    most = int(np.diff(first).max(initial=0)) + 1
    distinct, entropy = np.empty(size, np.int64), np.empty(size)
    top, dupe = np.empty((size, 3), np.int64), np.empty((size, 6), np.int64)
    kernels.measure_words(
        ids, first, known.words.lengths, workspace(most, known.words.known), np.empty(most, np.int64), np.empty(most),
        np.full(most, -1, np.int64), distinct, entropy, top, dupe,
    )  # fmt: skip
    words, chars, lorems = (counts[:, k] for k in (kernels.NORM_WORDS, kernels.NORM_CHARS, kernels.LOREMS))
    joined = chars + np.maximum(words - 1, 0)
    raw_words = counts[:, kernels.WORDS]
    # Parts and wholes of the ratios; of all texts and all signals at once.
    of = {
        "rps_doc_curly_bracket": (counts[:, kernels.CURLY], texts.lengths),
        "rps_doc_frac_all_caps_words": (counts[:, kernels.CAPITALS], raw_words),
        **{f"rps_doc_frac_chars_dupe_{n}grams": (dupe[:, n - 5], chars) for n in range(5, 11)},
        **{f"rps_doc_frac_chars_top_{n}gram": (top[:, n - 2], chars) for n in range(2, 5)},
        "rps_doc_frac_lines_end_with_ellipsis": (counts[:, kernels.ELLIPSIS_LINES], np.diff(lines.offsets)),
        "rps_doc_frac_no_alph_words": (counts[:, kernels.ALPHABETIC], raw_words),
        "rps_doc_frac_unique_words": (distinct, words),
        "rps_doc_lorem_ipsum": (lorems, joined),
        "rps_doc_mean_word_length": (chars, words),
        "rps_doc_stop_word_fraction": (counts[:, kernels.LISTED], raw_words),
        "rps_doc_symbol_to_word_ratio": (counts[:, kernels.SYMBOLS], raw_words),
        "rps_doc_unigram_entropy": (entropy, np.ones(size)),
    }
    parts, wholes = (np.array(each, np.float64) for each in zip(*of.values(), strict=True))
    found_ratios = dict(zip(of, ratios(parts, wholes), strict=True))
    alphabetic = found_ratios["rps_doc_frac_no_alph_words"]
    np.subtract(1.0, alphabetic, out=alphabetic)
    document = dict(zip(of, round8(np.stack(list(found_ratios.values()))), strict=True))
    for name in _ZERO_WITHOUT:
        _or_zero(document[name])
    # A text with normalised words has raw words, so only the guard of the reference gives 0 here.
    document["rps_doc_stop_word_fraction"][words == 0] = 0.0
    document["rps_doc_stop_word_fraction"][stop_lists < 0] = np.nan
    document["rps_doc_unigram_entropy"][words == 0] = np.nan
    document |= {
        "rps_doc_ldnoobw_words": listed.astype(np.float64),
        "rps_doc_num_sentences": counts[:, kernels.SENTENCES].astype(np.float64),
        "rps_doc_word_count": words.astype(np.float64),
    }
    return document, dict(zip(LINE_SIGNALS, of_lines, strict=True))


def ccnet_scores(texts: TextBatch) -> dict[str, Floats]:
    """[texts] each of CCNET_SIGNALS from the column `meta`, a map of strings; NaN where a key is absent or holds no
    finite number.  Of a key that stands twice the last counts."""
    scores = {name: np.full(len(texts), np.nan) for name in CCNET_SIGNALS}
    index = texts.batch.schema.get_field_index("meta")
    if index < 0 or not pa.types.is_map(texts.batch.schema.field(index).type):
        return scores
    column = texts.batch.column(index).filter(pa.array(texts.rows))
    offsets = column.offsets.to_numpy()
    low, high = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    keys = column.keys.slice(low, high - low).cast(pa.string())
    items = column.items.slice(low, high - low).cast(pa.string())
    for name, values in scores.items():
        places = np.flatnonzero(pc.equal(keys, name.removeprefix("ccnet_")).to_numpy(zero_copy_only=False))
        if not len(places):
            continue
        rows = np.searchsorted(offsets, places + low, side="right") - 1
        found = items.take(pa.array(places))
        values[rows] = _buckets(found) if name == "ccnet_bucket" else _numbers(found)
    return scores


def _buckets(found: pa.StringArray) -> Floats:
    places = pc.index_in(found, pa.array(list(CCNET_BUCKETS), pa.string()))
    return pa.array(list(CCNET_BUCKETS.values())).take(places).to_numpy(zero_copy_only=False)


def _numbers(found: pa.StringArray) -> Floats:
    try:
        values = pc.cast(found, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # one of them is no number, and Arrow does not say which
        values = np.array([_number(text) for text in found.to_pylist()], np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _number(text: str | None) -> float:
    try:
        return pc.cast(pa.scalar(text, pa.string()), pa.float64()).as_py() if text is not None else np.nan
    except pa.ArrowInvalid:
        return np.nan


def _blocked(texts: TextBatch, folder: str) -> Floats:
    """[texts] id of the set of UT1 categories of the host, NaN where it is in no list."""
    ids = wordlists.ut1_domains(folder)
    found = [ids.get(wordlists.source_domain(url)) for url in texts.column("url")]
    return np.array(found, np.float64)


def _spans(offsets: pa.Array, starts: pa.Array, ends: pa.Array, scores: pa.Array) -> pa.ListArray:
    spans = pa.StructArray.from_arrays([starts, ends, scores], fields=_SPAN_FIELDS)
    return pa.ListArray.from_arrays(offsets, spans, type=SPANS)


def _line_columns(texts: TextBatch, scores: dict[str, Floats]) -> list[pa.Array]:
    lines = texts.view(raw_lines)
    before = np.repeat(texts.offsets[:-1], np.diff(lines.offsets))
    starts, ends = (lines.starts - before).astype(np.int32), (lines.ends - before).astype(np.int32)
    bounds = pa.array(lines.offsets.astype(np.int32)), pa.array(starts), pa.array(ends)
    columns = []
    for name in LINE_SIGNALS:
        if name == "rps_lines_start_with_bulletpoint":
            columns.append(_bullet_column(lines.offsets, starts, ends, scores[name]))
        else:
            columns.append(_spans(*bounds, pa.array(scores[name])))
    return columns


def _bullet_column(
    offsets: Ints, starts: npt.NDArray[np.int32], ends: npt.NDArray[np.int32], score: Floats
) -> pa.Array:
    """As the other line columns, but a text without lines, which is empty, has one span without score: the
    reference's quirk."""
    bare = offsets[1:] == offsets[:-1]
    if not bare.any():
        return _spans(*(pa.array(column) for column in (offsets.astype(np.int32), starts, ends, score)))
    at = offsets[:-1][bare]
    shifted = np.append(0, offsets[1:] + np.cumsum(bare))
    score = np.insert(score, at, np.nan)
    return _spans(
        pa.array(shifted.astype(np.int32)),
        pa.array(np.insert(starts, at, 0)),
        pa.array(np.insert(ends, at, 0)),
        pa.array(score, mask=np.isnan(score)),
    )


@dataclasses.dataclass(frozen=True)
class RedPajamaV2:
    """RedPajama-V2's rule signals of prose.

    kinds: the kinds of documents that are computed (those without kind always are); the columns of others are
    null. default_language: for documents whose language is null; None leaves their stop-word fraction null.
    ut1_folder: folder of UT1 domain lists (`wordlists.ut1_domains`); None leaves rps_doc_ut1_blacklist null.
    flat: signals of the document as numbers in place of lists of one span; those of lines stay lists.
    ldnoobw: 'reference', whose entries with capitals, punctuation or accents never match, or 'fixed', with entries
    normalised as the text is.

    The `ccnet_*` columns are what cc_net wrote beside the text, read from the column `meta`; null where it is not.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str | None = "en"
    ut1_folder: str | None = None
    flat: bool = False
    ldnoobw: str = "reference"

    name: ClassVar[str] = "rpv2@1"

    def __post_init__(self) -> None:
        if self.ldnoobw not in ("reference", "fixed"):
            raise ValueError(f"{self.name}: ldnoobw is 'reference' or 'fixed', not {self.ldnoobw!r}")

    @property
    def schema(self) -> pa.Schema:
        return FLAT_SCHEMA if self.flat else SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        """One row for each of the batch; a text of more than 2^31 - 1 characters raises ValueError."""
        texts = shared.of(self.kinds)
        if texts.lengths.max(initial=0) > _LONGEST:
            raise ValueError(f"{self.name}: a text of more than {_LONGEST} characters")
        document, lines = document_scores(
            texts,
            list_numbers(texts, STOP_LANGUAGES, self.default_language),
            ldnoobw_lists(self.ldnoobw == "fixed"),
            list_numbers(texts, wordlists.LDNOOBW_LANGUAGES, self.default_language),
        )
        document |= ccnet_scores(texts)
        none = np.full(len(texts), np.nan)
        document["rps_doc_ut1_blacklist"] = none if self.ut1_folder is None else _blocked(texts, self.ut1_folder)
        schema = self.schema
        starts = pa.array(np.zeros(len(texts), np.int32))
        ends = pa.array(texts.lengths.astype(np.int32))
        one_each = pa.array(np.arange(len(texts) + 1, dtype=np.int32))
        columns = []
        for name in CCNET_SIGNALS | DOCUMENT_SIGNALS:
            scores = pa.array(document[name], mask=np.isnan(document[name]))
            if self.flat:
                columns.append(scores.cast(schema.field(name).type))
            else:
                columns.append(_spans(one_each, starts, ends, scores))
        columns += _line_columns(texts, lines)
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=schema)
