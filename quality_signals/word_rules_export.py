"""Writes data/word_rules.json.gz from an installed spaCy: `python -m quality_signals.word_rules_export`.

Run only to renew the shipped rules; nothing else imports this module, and spaCy is no dependency.  The rules are
spaCy's language data (MIT licence, see data/NOTICE.md).
"""

from __future__ import annotations

import gzip
import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent / "data" / "word_rules.json.gz"


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

    French has thousands of alternatives that each end in the same class of all letters: 1.4 MB that take seconds to
    compile.  Only whether it matches is asked, so the order of alternatives does not matter.
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


def collect() -> dict[str, Any]:
    """All rule tokenizers of spaCy as plain data: patterns (pooled), exceptions as lengths of their tokens."""
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
        rules = {key: [len(token[orth]) for token in tokens] for key, tokens in tokenizer.rules.items()}
        token, token_folds = matcher(tokenizer.token_match)
        url, url_folds = matcher(tokenizer.url_match)
        assert not url_folds
        # A piece with a top-level alternative is anchored in its first branch only.
        anchored = all(len(_branches(piece)) == 1 for piece in prefixes)
        languages[module.name] = {
            "prefix": pooled("|".join(prefixes) if anchored else "|".join("^" + piece for piece in prefixes)),
            "anchored": anchored,
            "suffix": pooled(tokenizer.suffix_search.__self__.pattern),
            "infix": pooled(tokenizer.infix_finditer.__self__.pattern),
            "token": token,
            "token_folds": token_folds,
            "url": url,
            "rules": {key: sizes for key, sizes in rules.items() if base.get(key) != sizes},
            "without": sorted(base.keys() - rules.keys()),
        }
    return {"spacy": spacy.__version__, "pool": pool, "base": base, "languages": languages}


def main() -> None:
    text = json.dumps(collect(), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    TARGET.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
