"""The rpv2 signals in plain Python: the definition that the fast path in `rpv2` is tested against.

One function a signal, over words and lines as lists of strings, in the reference's order of operations.
Slow.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

Span = tuple[int, int, float | None]

_DELETE = str.maketrans("", "", string.punctuation)
_SPACE = re.compile(r"\s+")
_WORDS = re.compile(r"\w+|[^\w\s]+")
_LINES = re.compile(r"([^\n]*\n|[^\n]+$)")
_SENTENCES = re.compile(r"\b[^.!?]+[.!?]*")
_BULLETS = tuple("\u2022\u2023\u25b6\u25c0\u25e6\u25a0\u25a1\u25aa\u25ab\u2013")


def norm(text: str) -> str:
    """ASCII punctuation deleted, lower case, white space squeezed, NFD last."""
    return unicodedata.normalize("NFD", _SPACE.sub(" ", text.translate(_DELETE).lower().strip()))


def raw_lines(text: str) -> list[tuple[int, int, str]]:
    return [(match.start(), match.end(), match.group()) for match in _LINES.finditer(text)]


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _top(words: list[str], n: int) -> float:
    counts = Counter(ngrams(words, n))
    if not counts:
        return 0.0
    gram, count = counts.most_common(1)[0]
    return round(count * sum(map(len, gram)) / sum(map(len, words)), 8) if count > 1 else 0.0


def _dupe(words: list[str], n: int) -> float:
    if len(words) < n:
        return 0.0
    grams = ngrams(words, n)
    counts = Counter(grams)
    marked = {k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(i, i + n)}
    return round(sum(len(words[k]) for k in marked) / sum(map(len, words)), 8)


def _listed(words: list[str], entries: frozenset[str]) -> float:
    sizes = {1 + entry.count(" ") for entry in entries}
    return float(sum(" ".join(gram) in entries for n in sizes for gram in ngrams(words, n)))


def _entropy(words: list[str]) -> float:
    total = len(words)
    entropy = 0.0
    for count in Counter(words).values():
        entropy += -(count / total) * math.log(count / total)
    return round(entropy, 8)


def document_signals(
    text: str, stop_words: frozenset[str] | None, banned: frozenset[str] = frozenset()
) -> dict[str, float | None]:
    """Score of every document signal; `rps_doc_ut1_blacklist`, which needs no text, is left out."""
    raw = _WORDS.findall(text)
    normed = norm(text)
    words = normed.split()
    lines = raw_lines(text)
    n_raw, n_norm = len(raw), len(words)

    def raw_ratio(part: float) -> float | None:
        return round(part / n_raw, 8) if n_raw else None

    alphabetic = sum(re.search("[a-zA-Z]", word) is not None for word in raw)
    stop: float | None = None
    if stop_words is not None:
        stop = round(sum(word in stop_words for word in raw) / n_raw, 8) if n_norm else 0.0
    return {
        "rps_doc_curly_bracket": round((text.count("{") + text.count("}")) / len(text), 8) if text else 0.0,
        "rps_doc_frac_all_caps_words": raw_ratio(sum(word.isupper() for word in raw)),
        **{f"rps_doc_frac_chars_dupe_{n}grams": _dupe(words, n) for n in range(5, 11)},
        **{f"rps_doc_frac_chars_top_{n}gram": _top(words, n) for n in range(2, 5)},
        "rps_doc_frac_lines_end_with_ellipsis": (
            round(sum(line.rstrip().endswith(("...", "\u2026")) for *_, line in lines) / len(lines), 8)
            if lines
            else None
        ),
        "rps_doc_frac_no_alph_words": round(1.0 - alphabetic / n_raw, 8) if n_raw else None,
        "rps_doc_frac_unique_words": round(len(set(words)) / n_norm, 8) if words else None,
        "rps_doc_ldnoobw_words": _listed(words, banned),
        "rps_doc_lorem_ipsum": round(normed.count("lorem ipsum") / len(normed), 8) if normed else 0.0,
        "rps_doc_mean_word_length": round(sum(map(len, words)) / n_norm, 8) if words else None,
        "rps_doc_num_sentences": float(len(_SENTENCES.findall(text))),
        "rps_doc_stop_word_fraction": stop,
        "rps_doc_symbol_to_word_ratio": raw_ratio(text.count("#") + text.count("...") + text.count("\u2026")),
        "rps_doc_unigram_entropy": _entropy(words) if words else None,
        "rps_doc_word_count": n_norm,
    }


def line_signals(text: str) -> dict[str, list[Span]]:
    """Spans of every line signal."""
    lines = [(start, end, line, norm(line)) for start, end, line in raw_lines(text)]

    def fraction(part: int, whole: str) -> float:
        return round(part / len(whole), 8) if whole else 0.0

    bullets: list[Span] = [(a, b, float(line.lstrip().startswith(_BULLETS))) for a, b, line, _ in lines]
    return {
        "rps_lines_ending_with_terminal_punctution_mark": [
            (a, b, float(line.rstrip().endswith((".", "!", "?", "\u201d")))) for a, b, line, _ in lines
        ],
        "rps_lines_javascript_counts": [(a, b, float(n.split().count("javascript"))) for a, b, _, n in lines],
        "rps_lines_num_words": [(a, b, len(n.split())) for a, b, _, n in lines],
        "rps_lines_numerical_chars_fraction": [(a, b, fraction(sum(map(str.isnumeric, n)), n)) for a, b, _, n in lines],
        "rps_lines_start_with_bulletpoint": bullets or [(0, len(text), None)],
        "rps_lines_uppercase_letter_fraction": [
            (a, b, fraction(sum(map(str.isupper, line)), line)) for a, b, line, _ in lines
        ],
    }
