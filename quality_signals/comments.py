"""Comments of a source file as StarCoder measured them: Python by its tokenizer and syntax tree, the rest by Pygments.

bigcode-dataset @ bebec92, preprocessing/utils/text_extraction.py.  The values depend on the version of Pygments (the
reference pins 2.11.2, which differs from 2.21.0 on 57 of 643 files); the extra `code` pins 2.21.0.
"""

from __future__ import annotations

import ast
import dataclasses
import io
import tokenize
import warnings
from functools import lru_cache
from typing import Any, ClassVar

import pyarrow as pa

from quality_signals.batches import CODE_KINDS, field
from quality_signals.programming_language_detect import detect
from quality_signals.text_batch import SharedTexts

# Longer files have no ratio: lexers read 0.1 to 2 MB/s, some of them in more than linear time.  Not of the reference.
MAX_CHARS = 2_000_000
_SCOPES = {"ClassDef": "Class", "FunctionDef": "Function/Method", "Module": "Module"}  # no asynchronous functions


class NoLexer(ValueError):
    """Pygments has no lexer of this name."""


def comments_ratio(text: str, language: str) -> float:
    """Characters of comments / characters of the text; for Python docstrings count too.

    language: as GitHub Linguist or Pygments spells it, in any case.  Raises NoLexer; ZeroDivisionError for an empty
    text, as the reference does; ImportError without Pygments.
    """
    name = language.lower()
    chars = len(python_comments(text)) if name == "python" else lexed_comments(text, name)
    return chars / len(text)


def python_comments(text: str) -> str:
    """Docstrings, then comments without `#`, of Python 3 code; what cannot be parsed gives none of the one or other."""
    return (python_docstrings(text) + "\n" + _python_hash_comments(text)).strip()


def python_docstrings(text: str) -> str:
    """Docstrings of classes, functions and the module, in this order and by name, each on lines of its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes
            tree = ast.parse(text)
        found = [
            (_SCOPES[type(node).__name__], getattr(node, "name", None), ast.get_docstring(node))
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module)
        ]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return "\n".join(doc for _, _, doc in sorted(found, key=lambda each: each[:2]) if doc)


def _python_hash_comments(text: str) -> str:
    found = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                found.append(token.string)
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError):
        return ""
    return "".join(found).replace("#", "")


@lru_cache(maxsize=512)
def _lexer(name: str) -> Any:
    try:
        from pygments.lexers import get_lexer_by_name
        from pygments.util import ClassNotFound
    except ImportError as error:
        raise ImportError("comment ratios need Pygments: pip install 'gristmill[code]'") from error
    try:
        return get_lexer_by_name(name)
    except ClassNotFound:
        return None


def lexed_comments(text: str, name: str) -> int:
    """Characters of block and line comments; not of special ones (#!), nor of strings that stand as comments."""
    lexer = _lexer(name)
    if lexer is None:
        raise NoLexer(f"Pygments has no lexer {name!r}")
    from pygments.token import Comment

    wanted = (Comment.Multiline, Comment.Single)
    return sum(len(part) for kind, part in lexer.get_tokens(text) if kind in wanted)


def ratio_or_none(text: str, language: str | None) -> float | None:
    """The ratio; None for an empty or very long text, no language, or one without a lexer."""
    if not text or language is None or len(text) > MAX_CHARS:
        return None
    try:
        return comments_ratio(text, language)
    except NoLexer:
        return None


SCHEMA = pa.schema(
    [
        field("comments_ratio", pa.float64(), "characters of comments / characters; null without a lexer or a text"),
        field("comment_chars", pa.int64(), "characters of comments, for Python docstrings too", "characters"),
    ]
)


@dataclasses.dataclass(frozen=True)
class Comments:
    """Comment ratios alone; the language is the column `programming_language`, else told from name and text.

    Documents of other `kinds` have nulls.
    """

    kinds: tuple[str, ...] = CODE_KINDS

    name: ClassVar[str] = "comments@1"
    schema: ClassVar[pa.Schema] = SCHEMA

    def annotate(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self.annotate_texts(SharedTexts(batch))

    def annotate_texts(self, shared: SharedTexts) -> pa.RecordBatch:
        texts = shared.of(self.kinds)
        if texts.batch.schema.get_field_index("programming_language") >= 0:
            languages = texts.column("programming_language")
        else:
            paths = texts.column("path")
            languages = [detect(path, text).language for path, text in zip(paths, texts.strings, strict=True)]
        found = [ratio_or_none(text, language) for text, language in zip(texts.strings, languages, strict=True)]
        chars = [
            None if ratio is None else round(ratio * len(text))
            for ratio, text in zip(found, texts.strings, strict=True)
        ]
        columns = [pa.array(found, pa.float64()), pa.array(chars, pa.int64())]
        return pa.RecordBatch.from_arrays([texts.scatter(column) for column in columns], schema=SCHEMA)
