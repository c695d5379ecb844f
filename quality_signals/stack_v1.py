"""File filters of The Stack v1 and StarCoder (`stack_v1@1`, `starcoder@1`).

Readings: bigcode-dataset @ bebec92, preprocessing/filtering.py, with the defaults of preprocessing/arguments.py; the
table of extensions is its preprocessing/data/visual_inspection.csv.  The names of languages are those of The Stack:
they come with the document (`programming_language`), and only where a batch has no such column are they told from the
file's name.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from quality_signals.batches import CODE_KINDS, field
from quality_signals.comments import ratio_or_none
from quality_signals.families import VERDICT_FIELDS, Rule, family_batch, ratios
from quality_signals.file_statistics import FileStatistics, file_statistics
from quality_signals.html_text import visible_text
from quality_signals.programming_language import programming_language
from quality_signals.text_batch import SharedTexts, TextBatch

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# arguments.py: line_max, line_mean, alpha_frac, min_size, max_size, min/max_threshold_comments, threshold_stars.
MAX_LINE_CHARS, MAX_MEAN_LINE_CHARS, MIN_ALPHANUMERIC = 1000, 100, 0.25
MIN_CHARS, MAX_CHARS = 100, 5000
MIN_COMMENTS, MAX_COMMENTS = 0.01, 0.8
MIN_STARS = 5
# filtering.py, filter_html and filter_xml.
MIN_VISIBLE, MIN_VISIBLE_CHARS = 0.2, 100
_XML_MARK, _XML_CHARS = "<?xml version=", 100
# Languages whose files are read as HTML for `html_keep`; the verdict asks it of HTML alone, as the reference does.
HTML_LIKE = frozenset(("HTML", "XML", "Jinja", "Markdown", "Java Server Pages", "PHP", "Vue", "XSLT"))
_SIZED = ("JSON", "YAML")  # languages whose large and small files StarCoder left out

_NUMBERS = (
    field("size", pa.int64(), "length of the text", "characters"),
    field("avg_line_length", pa.float64(), "mean line (str.splitlines) without its end; null if empty", "characters"),
    field("max_line_length", pa.int64(), "longest line without its end; null if empty", "characters"),
    field("alphanum_fraction", pa.float64(), "characters with str.isalnum / characters; null if empty"),
    field("basic_keep", pa.bool_(), "lines of at most 1000 and 100 on average, a quarter alphanumeric; null if empty"),
    field("per_ext_keep", pa.bool_(), "the table's thresholds for language and extension; null if empty"),
    field("size_keep", pa.bool_(), "100 to 5000 characters; null if empty"),
    field("xml_keep", pa.bool_(), "no XML declaration in the first 100 characters"),
    field("html_keep", pa.bool_(), "more than 100 and a fifth of the characters are visible; null for other languages"),
    field("comments_ratio", pa.float64(), "characters of comments / characters; null without a lexer"),
    field("comments_keep", pa.bool_(), "a ratio between 0.01 and 0.8; null without a lexer"),
)
SCHEMA = pa.schema([*VERDICT_FIELDS, *_NUMBERS])

_EMPTY = Rule("empty", "empty", "empty", ">", None)
_BASIC = (
    Rule("max_line_length", "basic", "max_line_length", ">", MAX_LINE_CHARS),
    Rule("avg_line_length", "basic", "avg_line_length", ">", MAX_MEAN_LINE_CHARS),
    Rule("alphanum_fraction", "basic", "alphanum_fraction", "<", MIN_ALPHANUMERIC),
)
_PER_EXTENSION = (Rule("per_extension", "basic_per_extension", "per_extension", ">", None),)
_OTHERS = (
    Rule("xml", "xml", "xml", ">", None),
    Rule("html", "html", "html", ">", None),
    Rule("size", "large_and_small_files", "size", ">", None),
)
_COMMENTS = Rule("comments", "comments", "comments", ">", None)
_STARS = Rule("stars", "stars", "stars", "<", MIN_STARS + 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Thresholds:
    """A row of the table; None switches a test off."""

    include: bool
    longest_line: int | None
    mean_line: int | None
    alphanumeric: float | None
    alphabetic: float | None


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        return None


@lru_cache(maxsize=1)
def table() -> dict[tuple[str, str], Thresholds]:
    """(language, extension) -> thresholds, 303 keys of 305 rows; without a longest line both line tests are off."""
    place = resources.files("quality_signals").joinpath("data", "stack_v1_extensions.csv")
    found = {}
    for row in csv.DictReader(place.read_text("utf-8").splitlines()):
        longest = _number(row["longest_line"], int)
        found[row["language"], row["extension"]] = Thresholds(
            row["include"] == "1",
            longest,
            MAX_MEAN_LINE_CHARS if longest else None,
            _number(row["alphanumeric"], float),
            _number(row["alphabetic"], float),
        )
    return found


def table_language(language: str | None) -> str:
    """As the table spells it."""
    special = {"C#": "c-sharp", "F#": "f-sharp"}
    return "" if language is None else special.get(language, language.lower().replace(" ", "-"))


def extension(path: str | None) -> str:
    """Lower-case text behind the last dot of the file's name, '' without a dot."""
    name = (path or "").rsplit("/", 1)[-1]
    return name.rpartition(".")[2].lower() if "." in name else ""


def languages_of(
    texts: TextBatch, told: Callable[[str | None, str], str | None] = programming_language
) -> list[str | None]:
    """Given with the documents; where the batch has no such column what `told` says of each path and text."""
    if texts.batch.schema.get_field_index("programming_language") >= 0:
        return texts.column("programming_language")
    return [told(path, text) for path, text in zip(texts.column("path"), texts.strings, strict=True)]


def per_extension_keeps(found: FileStatistics, languages: list[str | None], paths: list[str | None]) -> Bools:
    """[texts] whether the table lets a file pass; one that it does not list is dropped."""
    keys = [(table_language(language), extension(path)) for language, path in zip(languages, paths, strict=True)]
    limits = [table().get(key) for key in keys]

    def column(name: str, missing: float) -> Floats:
        values = [None if limit is None else getattr(limit, name) for limit in limits]
        return np.array([missing if value is None or value == 0 else value for value in values], np.float64)

    keep = np.array([limit is not None and limit.include for limit in limits], np.bool_)
    size = found.size.astype(np.float64)
    with np.errstate(invalid="ignore"):
        keep &= found.longest <= column("longest_line", np.inf)
        keep &= ~(found.mean > column("mean_line", np.inf))
        keep &= ~(ratios(found.alphanumeric, size) < column("alphanumeric", -np.inf))
        keep &= ~(found.alphabetic < column("alphabetic", -np.inf) * size)
    return keep


def has_xml_mark(text: str) -> bool:
    return _XML_MARK in text[:_XML_CHARS]


def html_keep(text: str) -> bool:
    """Whether enough of an HTML file is visible."""
    visible = visible_text(text)
    return visible is not None and len(visible) / len(text) > MIN_VISIBLE and len(visible) > MIN_VISIBLE_CHARS


@dataclasses.dataclass(frozen=True)
class StackV1:
    """Numbers and verdicts of all filters; `per_extension` says which verdict the family gives.

    per_extension   False (`stack_v1@1`): lines and letters with one threshold for all files; True (`starcoder@1`): with
                    those of the table.  Then XML, visible text of HTML, size of JSON and YAML.
    comments        whether comment ratios are computed, which cost more than all else; False: null
    drop_comments   whether the verdict asks for a comment ratio in its bounds, of languages with a lexer
    min_stars       files of repositories with at most as many stars (`meta` key `stars`) are dropped; None: not asked

    An empty file, which the reference cannot take, fails the rule `empty`.  Documents of other `kinds` are not judged:
    keep is true and every other column null.
    """

    per_extension: bool = False
    comments: bool = True
    drop_comments: bool = False
    min_stars: int | None = None
    kinds: tuple[str, ...] = CODE_KINDS

    schema: ClassVar[pa.Schema] = SCHEMA

    def __post_init__(self) -> None:
        if self.drop_comments and not self.comments:
            raise ValueError(f"{self.name}: drop_comments needs comments")

    @property
    def name(self) -> str:
        return "starcoder@1" if self.per_extension else "stack_v1@1"

    @property
    def rules(self) -> tuple[Rule, ...]:
        first = _PER_EXTENSION if self.per_extension else _BASIC
        comments = (_COMMENTS,) if self.drop_comments else ()
        stars = () if self.min_stars is None else (dataclasses.replace(_STARS, threshold=self.min_stars + 1),)
        return (_EMPTY, *first, *_OTHERS, *comments, *stars)

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        found = texts.view(file_statistics)
        languages = languages_of(texts)
        empty = found.size == 0
        alphanumeric = ratios(found.alphanumeric, found.size)
        with np.errstate(invalid="ignore"):
            basic = ~((found.longest > MAX_LINE_CHARS) | (found.mean > MAX_MEAN_LINE_CHARS))
            basic &= ~(alphanumeric < MIN_ALPHANUMERIC)
        per_extension = per_extension_keeps(found, languages, texts.column("path"))
        sized = (found.size >= MIN_CHARS) & (found.size <= MAX_CHARS)
        xml = np.array([not has_xml_mark(text) for text in texts.strings], np.bool_)
        html = [
            html_keep(text) if language in HTML_LIKE and text else None
            for text, language in zip(texts.strings, languages, strict=True)
        ]
        comments = [self._comments(text, language) for text, language in zip(texts.strings, languages, strict=True)]
        in_bounds = [None if ratio is None else MIN_COMMENTS < ratio < MAX_COMMENTS for ratio in comments]
        of = np.array([language or "" for language in languages], object)
        values: dict[str, Any] = {
            "empty": empty,
            "max_line_length": found.longest,
            "avg_line_length": found.mean,
            "alphanum_fraction": alphanumeric,
            "per_extension": ~per_extension,
            "xml": ~xml & (of != "XML"),
            "html": np.array([keep is False for keep in html], np.bool_) & (of == "HTML"),
            "size": ~sized & np.isin(of, _SIZED),
            "comments": np.array([keep is False for keep in in_bounds], np.bool_),
            "stars": _stars(texts) if self.min_stars is not None else np.full(len(texts), np.nan),
        }
        columns = [
            pa.array(found.size),
            pa.array(found.mean, mask=np.isnan(found.mean)),
            pa.array(found.longest, mask=empty),
            pa.array(alphanumeric, mask=empty),
            *(pa.array(keep, mask=empty) for keep in (basic, per_extension, sized)),
            pa.array(xml),
            pa.array(html, pa.bool_()),
            pa.array(comments, pa.float64()),
            pa.array(in_bounds, pa.bool_()),
        ]
        return family_batch(texts, self.rules, values, columns, SCHEMA)

    def _comments(self, text: str, language: str | None) -> float | None:
        return ratio_or_none(text, language) if self.comments else None


def _stars(texts: TextBatch) -> Floats:
    """[texts] stars of the repository; 0 where it is not known, as in the reference."""
    index = texts.batch.schema.get_field_index("meta")
    if index < 0:
        return np.zeros(len(texts))
    rows = texts.batch.column(index).filter(pa.array(texts.rows)).to_pylist()
    found = [dict(row or ()).get("stars") for row in rows]
    return np.array([float(value) if value and value.lstrip("-").isdigit() else 0.0 for value in found])
