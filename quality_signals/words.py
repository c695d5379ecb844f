"""Words as the rule tokenizers of spaCy 3.8 find them, without spaCy.

datatrove splits English and most other languages with `spacy.blank(language)`, whose rules
(data/word_rules.json.gz, see NOTICE.md there) are applied here: a run of non-space characters loses prefixes
and suffixes until none is left, exceptions such as "don't" stay or split as listed, and what remains is split
at infixes.  The result for a run depends on nothing else (emoticons and a few abbreviations with spaces
apart), so it is computed once for each distinct run and remembered.

Languages whose words come from a model or a dictionary (Chinese, Japanese, Korean, Thai, Vietnamese, ...)
are those of `segmenters`, with the extra `languages`; which language has which tokenizer is datatrove's table
(data/word_assignment.json.gz).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from quality_signals.codepoints import SPACE, CodePoints, class_table, code_points
from quality_signals.compiled import njit
from quality_signals.pattern_programs import Unsupported, programs
from quality_signals.rule_division import RuleDivision
from quality_signals.segmenters import Segmenter, segmenter, tokenizer_of

# A run of more characters than this is one word.  The rules cost time that grows with the square of the run
# where it is all punctuation; runs of prose are far shorter.
MAX_RUN_CHARS = 2_000
# Distinct runs remembered for a language (some 150 bytes each) before the memory is emptied.
MAX_REMEMBERED = 500_000

# The part of the pattern of a URL for "user:password@": it tries every pair of places, and is left out where
# no "@" is.
_URL_USER = r"(?:\S+(?::\S*)?@)?"

Sizes = tuple[int, ...]


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Any]:
    packed = resources.files("quality_signals").joinpath("data", "word_rules.json.gz").read_bytes()
    return json.loads(gzip.decompress(packed))


@njit()
def _spans(points, table, sizes):  # type: ignore[no-untyped-def]
    """Start and end of words of the given sizes that cover all characters but white space, in order."""
    starts = np.empty(len(sizes), dtype=np.int64)
    ends = np.empty(len(sizes), dtype=np.int64)
    at = 0
    for word in range(len(sizes)):
        while table[points[at]] & SPACE:
            at += 1
        starts[word] = at
        at += sizes[word]
        ends[word] = at
    return starts, ends


class WordSplitter:
    """Words of one language.  `spans(text)` gives start and end of every word in code points."""

    def __init__(self, rules: dict[str, Any], shared: dict[str, Any]) -> None:
        pool = shared["pool"]

        def compiled(key: str, flags: int = 0) -> re.Pattern[str] | None:
            return None if rules[key] is None else re.compile(pool[rules[key]], flags)

        prefix, suffix, infix = compiled("prefix"), compiled("suffix"), compiled("infix")
        assert prefix is not None and suffix is not None and infix is not None
        self._find_prefix: Callable[[str], re.Match[str] | None] = prefix.match if rules["anchored"] else prefix.search
        self._find_suffix = suffix.search
        self._letters_whole: bool = rules["letters_whole"]
        self._suffix_chars: int | None = rules["suffix_chars"]
        self._find_infixes = infix.finditer
        token = compiled("token", re.IGNORECASE if rules["token_folds"] else 0)
        url = compiled("url")
        plain_url = None if url is None else re.compile(url.pattern.replace(_URL_USER, ""))
        self._is_token: Callable[[str], Any] | None = None if token is None else token.match
        self._is_url: Callable[[str], Any] | None = None if url is None else url.match
        self._is_plain_url: Callable[[str], Any] | None = None if plain_url is None else plain_url.match
        without = set(rules["without"])
        exceptions = {key: sizes for key, sizes in shared["base"].items() if key not in without} | rules["rules"]
        self._exceptions: dict[str, Sizes] = {key: tuple(sizes) for key, sizes in exceptions.items()}
        self._longest_exception = max(map(len, self._exceptions))
        self._known: dict[str, Sizes] = {}
        self._broken: dict[str, Sizes] = {}
        self._patterns: dict[str, dict[str, list[tuple[str, ...]]]] = {}
        self._rules = rules, pool
        # Whether every text must be seen by `rejoined`: exceptions of the language hold spaces.
        self.always_rejoins: bool = any(" " in key.strip() for key in self._exceptions)
        self._add_patterns()

    def _add_patterns(self) -> None:
        """Exceptions that affixes can break apart are also found as the sequence of the broken words.

        Keyed by first and second word; the second is '' for an exception that stays one word.
        """
        patterns: dict[str, dict[str, list[tuple[str, ...]]]] = {}
        for exception in self._exceptions:
            runs = exception.split()
            if not runs:
                continue
            affected = " " in exception or any(
                (
                    self._find_prefix(exception),
                    self._find_suffix(exception),
                    next(self._find_infixes(exception), None),
                )
            )
            if affected:
                words = tuple(word for run in runs for word in self._split(run, exceptions=False))
                second = words[1] if len(words) > 1 else ""
                patterns.setdefault(words[0], {}).setdefault(second, []).append(words)
        self._patterns = patterns

    def _suffix(self, run: str) -> int:
        """Length of the suffix of `run`, 0 without one.

        The leftmost match counts.  It is looked for where a suffix with a bound can start.  Without a bound
        there are only runs of dots: one that starts at the left edge may reach further left, and then the
        whole run is searched; one that starts later does not.
        """
        edge = 0 if self._suffix_chars is None else len(run) - self._suffix_chars
        if edge > 0:
            match = self._find_suffix(run, edge)
            if match is None or match.start() > edge:
                return 0 if match is None else match.end() - match.start()
        match = self._find_suffix(run)
        return 0 if match is None else match.end() - match.start()

    def _is_exception(self, run: str) -> bool:
        return len(run) <= self._longest_exception and run in self._exceptions

    def _split(self, run: str, exceptions: bool = True) -> list[str]:
        """Words of a run of non-space characters, before `rejoined`.  exceptions: whether the listed ones
        act."""
        before: list[str] = []
        after: list[str] = []
        last = 0
        rest = run
        while rest and len(rest) != last:
            if self._is_token is not None and self._is_token(rest):
                break
            if exceptions and self._is_exception(rest):
                break
            last = len(rest)
            match = self._find_prefix(rest)
            head = 0 if match is None else match.end() - match.start()
            if head and exceptions and self._is_exception(rest[head:]):
                before.append(rest[:head])
                rest = rest[head:]
                break
            tail = self._suffix(rest[head:])
            if tail and exceptions and self._is_exception(rest[:-tail]):
                after.append(rest[-tail:])
                rest = rest[:-tail]
                break
            if head and tail and head + tail <= len(rest):
                before.append(rest[:head])
                after.append(rest[-tail:])
                rest = rest[head:-tail]
            elif head:
                before.append(rest[:head])
                rest = rest[head:]
            elif tail:
                after.append(rest[-tail:])
                rest = rest[:-tail]
        return [*before, *self._core(rest, exceptions), *reversed(after)]

    def _core(self, rest: str, exceptions: bool) -> list[str]:
        """Words of what is left between prefixes and suffixes."""
        if not rest:
            return []
        if exceptions and self._is_exception(rest):
            return _cut(rest, self._exceptions[rest])
        if (self._is_token is not None and self._is_token(rest)) or self._has_url(rest):
            return [rest]
        words = []
        start = 0
        for match in self._find_infixes(rest):
            low, high = match.span()
            if low == 0:
                continue
            if low != start:
                words.append(rest[start:low])
            if low != high:
                words.append(rest[low:high])
            start = high
        if start < len(rest):
            words.append(rest[start:])
        return words

    def _places(self, words: list[str]) -> list[tuple[int, int]]:
        """Where the words are those of an exception that affixes broke apart, overlaps included."""
        found = []
        patterns = self._patterns
        last = len(words) - 1
        for start, word in enumerate(words):
            seconds = patterns.get(word)
            if seconds is None:
                continue
            if "" in seconds:
                found.append((start, start + 1))
            if start < last:
                for pattern in seconds.get(words[start + 1], ()):
                    if tuple(words[start : start + len(pattern)]) == pattern:
                        found.append((start, start + len(pattern)))
        return found

    def _is_broken(self, words: list[str]) -> bool:
        """Whether an exception stands among the words of a run and would divide them otherwise."""
        for start, end in self._places(words):
            sizes = self._exceptions.get("".join(words[start:end]))
            if sizes is not None and sizes != tuple(map(len, words[start:end])):
                return True
        return False

    def chunk_sizes(self, run: str) -> tuple[Sizes, bool]:
        """Words of a run of non-space characters, and whether the text around it matters.

        returns: sizes in characters, which add up to len(run); needs_rejoin, whether exceptions that affixes
        broke apart may have to be found among the words of the whole text (`rejoined`).  Remembered.
        """
        if len(run) > MAX_RUN_CHARS:
            return (len(run),), False
        if run in self._broken:
            return self._broken[run], True
        if len(self._known) + len(self._broken) >= MAX_REMEMBERED:
            self._known.clear()
            self._broken.clear()
        sizes = self.run_sizes(run)
        broken = self._is_broken(_cut(run, sizes))
        (self._broken if broken else self._known)[run] = sizes
        return sizes, broken

    def run_sizes(self, run: str) -> Sizes:
        """Words of a run of non-space characters; not remembered."""
        if len(run) > MAX_RUN_CHARS:
            return (len(run),)
        if run in self._exceptions:
            return self._exceptions[run]
        if self._letters_whole and run.isascii() and run.isalpha():
            return (len(run),)
        return tuple(map(len, self._split(run)))

    def division(self) -> RuleDivision | None:
        """`run_sizes` of many runs at once; None where the language has rules that only `re` can follow."""
        rules, pool = self._rules
        if self._is_token is not None:
            return None
        try:
            patterns = programs([pool[rules[key]] for key in ("prefix", "suffix", "infix")])
        except Unsupported:
            return None
        anchored = rules["anchored"]
        options = (self._letters_whole, self._suffix_chars, self._exceptions, self._has_url, MAX_RUN_CHARS)
        return RuleDivision(patterns, anchored, *options)

    def _has_url(self, rest: str) -> bool:
        is_url = self._is_url if "@" in rest else self._is_plain_url
        return is_url is not None and is_url(rest) is not None

    def spans(self, text: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Start and end of every word of `text`, in order, in code points."""
        known = self._known
        sizes: list[int] = []
        rejoin = self.always_rejoins
        for run in text.split():
            found = known.get(run)
            if found is None:
                found, broken = self.chunk_sizes(run)
                rejoin |= broken
            sizes += found
        starts, ends = _spans(code_points(text), class_table(), np.array(sizes, dtype=np.int64))
        return self.rejoined(text, starts, ends) if rejoin else (starts, ends)

    def rejoined(
        self, text: str, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Joins words to exceptions that affixes broke apart (":-)") or that hold spaces (Russian "и др.").

        A place that reaches over a space and is no exception still keeps others from starting or ending in
        it, as in the reference; so the whole text is looked at.
        """
        low, high = starts.tolist(), ends.tolist()
        words = [text[a:b] for a, b in zip(low, high, strict=True)]

        def adjacent(start: int, end: int) -> bool:
            return all(text[high[i] : low[i + 1]] in ("", " ") for i in range(start, end - 1))

        # The longest place first, then the first; none starts or ends inside one looked at before, kept or
        # not.
        places = sorted(
            (place for place in self._places(words) if adjacent(*place)),
            key=lambda place: (place[0] - place[1], place[0]),
        )
        seen: set[int] = set()
        kept = []
        for start, end in places:
            if start not in seen and end - 1 not in seen:
                kept.append((start, end))
            seen.update(range(start, end))
        for start, end in sorted(kept, reverse=True):
            sizes = self._exceptions.get(text[low[start] : high[end - 1]])
            if sizes is not None:
                bounds = list(accumulate(sizes, initial=low[start]))
                low[start:end], high[start:end] = bounds[:-1], bounds[1:]
        return np.array(low, dtype=np.int64), np.array(high, dtype=np.int64)

    def located(self, text: str) -> tuple[CodePoints, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """As `Segmenter.located`: the code points of the text, start and end of every word in them."""
        return code_points(text), *self.spans(text)

    def words(self, text: str) -> list[str]:
        starts, ends = self.spans(text)
        return [text[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _cut(text: str, sizes: Sizes) -> list[str]:
    bounds = list(accumulate(sizes, initial=0))
    return [text[a:b] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def word_splitter(language: str) -> WordSplitter | Segmenter | None:
    """The splitter of a language (see `segmenters.tokenizer_of` for the codes).

    None where datatrove has no tokenizer for the language, or where the one it has cannot be had here;
    `segmenters.missing` says why.
    """
    found = tokenizer_of(language)
    if found is None:
        return None
    kind, code = found
    return _splitter(code) if kind == "spacy" else segmenter(kind)


@lru_cache(maxsize=64)
def _splitter(code: str) -> WordSplitter:
    shared = _shipped()
    return WordSplitter(shared["languages"][code], shared)
