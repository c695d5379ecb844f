"""Writes data/word_rules.json.gz from an installed spaCy: `python -m quality_signals.word_rules_export`, and
data/word_assignment.json.gz where datatrove's assets/tokenizer_assignment.csv is named as argument.

Run only to renew the shipped data; nothing else imports this module, and neither spaCy nor datatrove is a
dependency.  The rules are spaCy's language data (MIT licence), the assignment is datatrove's table (Apache
License 2.0); see data/NOTICE.md.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import json
import pkgutil
import re
import string
import sys
from pathlib import Path
from re._constants import ASSERT, BRANCH, IN, LITERAL, MAX_REPEAT, MAXREPEAT, RANGE, SUBPATTERN  # type: ignore[import-not-found]
from re._parser import parse  # type: ignore[import-not-found]
from typing import Any

_LETTERS = [ord(letter) for letter in string.ascii_letters]
TARGET = Path(__file__).parent / "data" / "word_rules.json.gz"
ASSIGNMENT = Path(__file__).parent / "data" / "word_assignment.json.gz"
# datatrove's class names, as kinds of `segmenters`.
_KINDS = {
    "SpaCyTokenizer": "spacy",
    "WhitespaceTokenizer": "spacy",
    "StanzaTokenizer": "stanza",
    "IndicNLPTokenizer": "indic",
    "ThaiTokenizer": "thai",
    "BurmeseTokenizer": "burmese",
    "TibetanTokenizer": "tibetan",
    "KhmerTokenizer": "khmer",
    "LaoTokenizer": "lao",
    "KiwiTokenizer": "korean",
}
_SPACY_BY_MODEL = {"zh": "chinese", "ja": "japanese", "vi": "vietnamese"}


def _branches(pattern: str) -> list[str]:
    """Top-level alternatives of a regular expression."""
    parts, depth, start, i = [], 0, 0, 0
    in_class = False
    while i < len(pattern):
        c = pattern[i]
        if c == "\\":
            i += 1
        elif in_class:
            in_class = c != "]"
        elif c == "[":
            in_class = True
        elif c in "()":
            depth += 1 if c == "(" else -1
        elif c == "|" and not depth:
            parts.append(pattern[start:i])
            start = i + 1
        i += 1
    return [*parts, pattern[start:]]


def _factored(pattern: str) -> str:
    """The same language, with alternatives that share a long ending grouped.

    French has thousands of alternatives that each end in the same class of all letters: 1.4 MB that take
    seconds to compile.  Only whether it matches is asked, so the order of alternatives does not matter.
    """
    flags = re.match(r"\(\?[a-z]+\)", pattern)
    head = flags.group() if flags else ""
    body = pattern[len(head) :]
    if len(body) < 100_000:
        return pattern
    groups: dict[str, list[str]] = {}
    for branch in _branches(body):
        while branch.startswith("(?:") and branch.endswith(")") and len(_branches(branch[3:-1])) == 1:
            branch = branch[3:-1]
        found = re.search(r"(?:\[[^\]]{200,}\][*+]?)+\$?$", branch)
        cut = found.start() if found else len(branch)
        groups.setdefault(branch[cut:], []).append(branch[:cut])
    return head + "|".join(f"(?:{'|'.join(heads)}){tail}" for tail, heads in groups.items())


_SINGLE = re.compile(r"\\[^\w\s]|[^\\.^$*+?{}\[\]|()]", re.DOTALL)
_CLASS = re.compile(r"\[(?!\^)(?:\\u[0-9A-F]{4}|\\U[0-9A-F]{8}|[^\\\[\]])+\]")


def _merged(pieces: list[str], keep_order: bool) -> str:
    """The pieces as alternatives, with those that are one character or one class put together in one class.

    Of a suffix any alternative that ends at the end does, so all may be put together; of a prefix the first
    that matches counts, so only neighbours may.
    """
    groups: list[list[str]] = []
    one: list[bool] = []
    for piece in pieces:
        body = None
        if _SINGLE.fullmatch(piece):
            body = re.escape(re.sub(r"\\(.)", r"\1", piece))
        elif _CLASS.fullmatch(piece):
            body = piece[1:-1]
        if body is not None and True in one and (one[-1] or not keep_order):
            groups[len(one) - 1 - one[::-1].index(True)].append(body)
        else:
            groups.append([piece if body is None else body])
            one.append(body is not None)
    return "|".join(
        "[" + "".join(bodies) + "]" if single else bodies[0] for bodies, single in zip(groups, one, strict=True)
    )


def _widest(pieces: list[str]) -> int | None:
    """Characters of the longest suffix, runs of dots left out; None if another one has no bound."""
    width = max(parse(piece).getwidth()[1] for piece in pieces if piece != r"\.\.+")
    return width if width < MAXREPEAT else None


def _never_letters(pattern: Any) -> bool:
    """Whether a parsed pattern needs a character that is no ASCII letter, before, in or after its match."""
    for op, argument in pattern:
        if op is LITERAL and not (chr(argument).isascii() and chr(argument).isalpha()):
            return True
        if op is IN and not _has_letter(argument):
            return True
        if op is ASSERT and _never_letters(argument[1]):
            return True
        if op is SUBPATTERN and _never_letters(argument[3]):
            return True
        if op is MAX_REPEAT and argument[0] > 0 and _never_letters(argument[2]):
            return True
        if op is BRANCH and all(_never_letters(branch) for branch in argument[1]):
            return True
    return False


def _has_letter(items: Any) -> bool:
    """Whether a parsed character class may hold an ASCII letter."""
    for op, argument in items:
        if op is LITERAL:
            found = chr(argument).isascii() and chr(argument).isalpha()
        elif op is RANGE:
            low, high = argument
            found = any(low <= letter <= high for letter in _LETTERS)
        else:  # categories and negation
            found = True
        if found:
            return True
    return False


def collect() -> dict[str, Any]:
    """All rule tokenizers of spaCy as plain data: patterns (pooled), exceptions as lengths of their
    tokens."""
    spacy = importlib.import_module("spacy")
    tokenizer_class = importlib.import_module("spacy.tokenizer").Tokenizer
    base_rules = importlib.import_module("spacy.lang.tokenizer_exceptions").BASE_EXCEPTIONS
    orth = importlib.import_module("spacy.symbols").ORTH
    base = {key: [len(token[orth]) for token in tokens] for key, tokens in base_rules.items()}
    pool: list[str] = []

    def pooled(pattern: str | None) -> int | None:
        if pattern is None:
            return None
        if pattern not in pool:
            pool.append(pattern)
        return pool.index(pattern)

    def matcher(match: Any) -> tuple[int | None, bool]:
        if match is None:
            return None, False
        compiled = match.__self__
        return pooled(_factored(compiled.pattern)), bool(compiled.flags & re.IGNORECASE)

    languages = {}
    for module in pkgutil.iter_modules(importlib.import_module("spacy.lang").__path__):
        if not module.ispkg:
            continue
        try:
            blank = spacy.blank(module.name)
        except ImportError:
            continue  # its words come from a model or a dictionary of another package
        tokenizer = blank.tokenizer
        if type(tokenizer) is not tokenizer_class:
            continue
        prefixes = [piece for piece in blank.Defaults.prefixes if piece.strip()]
        suffixes = [piece for piece in blank.Defaults.suffixes if piece.strip()]
        assert all(len(_branches(piece)) == 1 for piece in suffixes), module.name
        suffix = f"(?:{_merged(suffixes, False)})$"
        infix = tokenizer.infix_finditer.__self__.pattern
        rules = {key: [len(token[orth]) for token in tokens] for key, tokens in tokenizer.rules.items()}
        token, token_folds = matcher(tokenizer.token_match)
        url, url_folds = matcher(tokenizer.url_match)
        assert not url_folds
        # A piece with a top-level alternative is anchored in its first branch only.
        anchored = all(len(_branches(piece)) == 1 for piece in prefixes)
        languages[module.name] = {
            "prefix": pooled(_merged(prefixes, True) if anchored else "|".join("^" + piece for piece in prefixes)),
            "anchored": anchored,
            "suffix": pooled(suffix),
            "suffix_chars": _widest(suffixes),
            "infix": pooled(infix),
            "token": token,
            "token_folds": token_folds,
            "url": url,
            # Whether a run of ASCII letters is never divided, exceptions apart.
            "letters_whole": all(
                _never_letters(parse(pool[number]))
                for number in (pooled(_merged(prefixes, True)), pooled(suffix), pooled(infix))
                if number is not None
            ),
            "rules": {key: sizes for key, sizes in rules.items() if base.get(key) != sizes},
            "without": sorted(base.keys() - rules.keys()),
        }
    return {"spacy": spacy.__version__, "pool": pool, "base": base, "languages": languages}


def assignment(table: Path) -> dict[str, str]:
    """Tokenizers of language codes, as "kind" or "kind code": `hin_Deva` -> "indic", `cat` -> "spacy ca".

    Keys are code_script for every row, and the bare codes (three letters and two) for the rows that the table
    marks as their default.  (datatrove 0.10.1 takes the mark FALSE as true, so that there the last script of a
    bare code wins: "hi" is romanised Hindi.)
    """
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    found: dict[str, str] = {}
    for first_choice in (True, False):  # rows that are the default of their two-letter code come first
        for row in rows:
            if not row["type"] or (row["default_code_1"] == "TRUE") is not first_choice:
                continue
            kind, code = _KINDS[row["type"]], row["tok_code"]
            if row["type"] == "WhitespaceTokenizer":
                code = "xx"
            elif kind == "spacy" and code in _SPACY_BY_MODEL:
                kind, code = _SPACY_BY_MODEL[code], ""
            elif kind == "indic":
                kind, code = "urdu" if code == "ur" else "indic", ""
            value = f"{kind} {code}".strip()
            for key in filter(None, (row["code_3"], row["code_1"])):
                found.setdefault(f"{key}_{row['script']}", value)
                if row["default_script"] == "TRUE":
                    found.setdefault(key, value)
    return found


def _write(target: Path, data: dict[str, Any]) -> None:
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{target}: {target.stat().st_size} bytes")


def main() -> None:
    if len(sys.argv) > 1:
        _write(ASSIGNMENT, assignment(Path(sys.argv[1])))
    else:
        _write(TARGET, collect())


if __name__ == "__main__":
    main()
