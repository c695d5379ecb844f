"""The rule signals of RedPajama-V2 (`rpv2@1`), value-identical to the reference.

Reference: togethercomputer/RedPajama-Data @ 6d2cee9, app/src/core/quality_signals, with nltk 3.8.1's
WordPunct words. Names are the reference's own, misspelling included.  A value is a list of spans [start, end,
score] in code points of the text: one span over the whole document, or one a line for `rps_lines_*`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals import wordlists
from quality_signals.batches import PROSE_KINDS, field, of_kinds, optional, texts
from quality_signals.ngrams import listed_grams, repetition
from quality_signals.views import NormView, RawView, norm_view, raw_view

NAN = math.nan

SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32()), ("score", pa.float64())]))

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
SCHEMA = pa.schema([field(name, SPANS, text) for name, text in (DOCUMENT_SIGNALS | LINE_SIGNALS).items()])

_DECIMALS = 8  # of every ratio, by Python's round


def _ratio(part: float, whole: float, empty: float = NAN) -> float:
    return round(part / whole, _DECIMALS) if whole else empty


def round8(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Python's round(x, 8) for fractions in [0, 1].

    k / 1e8 is the double nearest to k hundred-millionths, so only the choice of k matters; scaling can get it
    wrong within rounding error of a tie, and there Python decides.
    """
    scaled = values * 1e8
    whole = np.rint(scaled)
    rounded = whole / 1e8
    doubtful = np.abs(np.abs(scaled - whole) - 0.5) < 1e-6
    for i in np.flatnonzero(doubtful):
        rounded[i] = round(float(values[i]), _DECIMALS)
    return rounded


def unigram_entropy(ids: npt.NDArray[np.int64], distinct: int) -> float:
    """-sum of c/N ln(c/N) over the words in order of first occurrence, in nats; summed from the left."""
    counts = np.bincount(ids, minlength=distinct)
    total = len(ids)
    terms = np.zeros(int(counts.max()) + 1)
    for count in np.unique(counts).tolist():
        terms[count] = -(count / total) * math.log(count / total)
    # cumsum adds one by one, where sum would add in pairs and could end in another last bit.
    return round(float(np.cumsum(terms[counts])[-1]), _DECIMALS)


@dataclasses.dataclass(frozen=True, slots=True)
class Signals:
    """The signals of one text: scores of the document (NaN is null) and of its lines."""

    length: int
    document: dict[str, float]
    line_ends: npt.NDArray[np.int64]
    lines: dict[str, npt.NDArray[np.float64]]


def document_scores(raw: RawView, norm: NormView, banned: wordlists.Phrases, listed: bool) -> dict[str, float]:
    """listed: whether the language has a stop list."""
    text, length = raw.text, len(raw.text)
    words = len(norm.ids)
    distinct = len(norm.first)
    word_lengths = norm.ends - norm.starts
    characters = int(word_lengths.sum())
    top, dupe = repetition(norm.ids, distinct, word_lengths)
    banned_words = 0
    if words and len(banned.sizes):
        banned_words = listed_grams(
            norm.joined,
            norm.starts,
            norm.ends,
            norm.ids,
            distinct,
            banned.sizes,
            banned.heads,
            banned.phrases,
        )
    lorem = 0
    if words and "lorem" in text.lower():
        joined = norm.joined.tobytes().decode("utf-32-le", "surrogatepass")
        lorem = joined.count("lorem ipsum")
    symbols = text.count("#") + text.count("...") + text.count("\u2026")
    stop_fraction = NAN
    if listed:
        stop_fraction = _ratio(raw.listed_words, raw.words, 0.0) if words else 0.0
    return {
        "rps_doc_curly_bracket": _ratio(text.count("{") + text.count("}"), length, 0.0),
        "rps_doc_frac_all_caps_words": _ratio(raw.capital_words, raw.words),
        **{f"rps_doc_frac_chars_dupe_{n}grams": _ratio(int(dupe[n - 5]), characters, 0.0) for n in range(5, 11)},
        **{f"rps_doc_frac_chars_top_{n}gram": _ratio(int(top[n - 2]), characters, 0.0) for n in range(2, 5)},
        "rps_doc_frac_lines_end_with_ellipsis": _ratio(raw.ellipsis_lines, len(raw.line_ends)),
        "rps_doc_frac_no_alph_words": (round(1.0 - raw.alphabetic_words / raw.words, _DECIMALS) if raw.words else NAN),
        "rps_doc_frac_unique_words": _ratio(distinct, words),
        "rps_doc_ldnoobw_words": float(banned_words),
        "rps_doc_lorem_ipsum": _ratio(lorem, len(norm.joined), 0.0),
        "rps_doc_mean_word_length": _ratio(characters, words),
        "rps_doc_num_sentences": float(raw.sentences),
        "rps_doc_stop_word_fraction": stop_fraction,
        "rps_doc_symbol_to_word_ratio": _ratio(symbols, raw.words),
        "rps_doc_unigram_entropy": unigram_entropy(norm.ids, distinct) if words else NAN,
        "rps_doc_word_count": float(words),
    }


def line_scores(raw: RawView, norm: NormView) -> dict[str, npt.NDArray[np.float64]]:
    raw_lengths = np.diff(raw.line_ends, prepend=0)
    return {
        "rps_lines_ending_with_terminal_punctution_mark": raw.line_terminal,
        "rps_lines_javascript_counts": norm.line_javascript.astype(np.float64),
        "rps_lines_num_words": norm.line_words.astype(np.float64),
        "rps_lines_numerical_chars_fraction": round8(norm.line_numeric / np.maximum(norm.line_length, 1)),
        "rps_lines_start_with_bulletpoint": raw.line_bullet,
        "rps_lines_uppercase_letter_fraction": round8(raw.line_upper / np.maximum(raw_lengths, 1)),
    }


def signals(
    text: str,
    language: str | None = "en",
    *,
    domain: str = "",
    blocklist: dict[str, int] | None = None,
    banned: wordlists.Phrases | None = None,
) -> Signals:
    """All signals of one text.

    language: ISO 639-1, chooses the lists.  blocklist: `wordlists.ut1_domains`.  banned: phrases in place of
    the language's LDNOOBW list.  Expected time linear in the text; memory about 60 bytes a character.
    """
    raw = raw_view(text, wordlists.stop_lexicon(language))
    norm = norm_view(text, len(raw.line_ends))
    banned = wordlists.ldnoobw_phrases(language) if banned is None else banned
    document = document_scores(raw, norm, banned, wordlists.stop_words(language) is not None)
    category = None if blocklist is None else blocklist.get(domain)
    document["rps_doc_ut1_blacklist"] = NAN if category is None else float(category)
    return Signals(len(text), document, raw.line_ends, line_scores(raw, norm))


def _document_column(rows: list[Signals | None], name: str) -> pa.Array:
    computed = [row for row in rows if row is not None]
    scores = np.array([row.document[name] for row in computed], dtype=np.float64)
    spans = pa.StructArray.from_arrays(
        [
            pa.array(np.zeros(len(computed), dtype=np.int32)),
            pa.array(np.array([row.length for row in computed], dtype=np.int32)),
            pa.array(scores, mask=np.isnan(scores)),
        ],
        fields=list(SPANS.value_type),
    )
    return _lists([None if row is None else 1 for row in rows], spans)


def _lists(sizes: list[int | None], spans: pa.StructArray) -> pa.Array:
    """sizes: number of spans of each row, None for a null row."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int32)
    np.cumsum([size or 0 for size in sizes], out=offsets[1:])
    null = np.array([size is None for size in sizes] + [False])
    return pa.ListArray.from_arrays(pa.array(offsets, mask=null), spans, type=SPANS)


def _line_columns(rows: list[Signals | None]) -> list[pa.Array]:
    computed = [row for row in rows if row is not None]
    starts = [np.zeros(0, dtype=np.int64)]
    ends = [np.zeros(0, dtype=np.int64)]
    for row in computed:
        starts.append(np.concatenate([np.zeros(1, dtype=np.int64), row.line_ends[:-1]])[: len(row.line_ends)])
        ends.append(row.line_ends)
    start, end = np.concatenate(starts).astype(np.int32), np.concatenate(ends).astype(np.int32)
    sizes = [None if row is None else len(row.line_ends) for row in rows]
    columns = []
    for name in LINE_SIGNALS:
        scores = np.concatenate([np.zeros(0), *(row.lines[name] for row in computed)])
        if name == "rps_lines_start_with_bulletpoint" and 0 in sizes:
            columns.append(_bullet_column(rows, name))
            continue
        spans = pa.StructArray.from_arrays(
            [pa.array(start), pa.array(end), pa.array(scores)], fields=list(SPANS.value_type)
        )
        columns.append(_lists(sizes, spans))
    return columns


def _bullet_column(rows: list[Signals | None], name: str) -> pa.Array:
    """As the other line columns, but a text without lines has one span without score: the reference's
    quirk."""
    values: list[list[tuple[int, int, float | None]] | None] = []
    for row in rows:
        if row is None:
            values.append(None)
        elif not len(row.line_ends):
            values.append([(0, row.length, None)])
        else:
            bounds = [0, *row.line_ends.tolist()]
            values.append(list(zip(bounds[:-1], bounds[1:], row.lines[name].tolist(), strict=True)))
    return pa.array(values, type=SPANS)


@dataclasses.dataclass(frozen=True)
class RedPajamaV2:
    """RedPajama-V2's rule signals of prose.

    kinds: the kinds of documents that are computed (those without kind always are); the columns of others are
    null. default_language: for documents whose language is null; None leaves their stop-word fraction null.
    ut1_folder: folder of UT1 domain lists (`wordlists.ut1_domains`); None leaves rps_doc_ut1_blacklist null.
    """

    kinds: tuple[str, ...] = PROSE_KINDS
    default_language: str | None = "en"
    ut1_folder: str | None = None

    name: ClassVar[str] = "rpv2@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        wanted = of_kinds(batch, self.kinds)
        blocklist = None if self.ut1_folder is None else wordlists.ut1_domains(self.ut1_folder)
        rows: list[Signals | None] = []
        for text, language, url in zip(
            texts(batch, wanted), optional(batch, "language"), optional(batch, "url"), strict=True
        ):
            if text is None:
                rows.append(None)
                continue
            domain = "" if blocklist is None else wordlists.source_domain(url)
            rows.append(signals(text, language or self.default_language, domain=domain, blocklist=blocklist))
        columns = [_document_column(rows, name) for name in DOCUMENT_SIGNALS] + _line_columns(rows)
        return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
