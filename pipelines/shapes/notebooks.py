"""Notebooks: structured (text, code and output in turns), and as scripts.

    <jupyter_start><jupyter_text>T<jupyter_code>C<jupyter_output>O<jupyter_text>T ...

References: bigcode-project/bigcode-dataset @ bebec92, preprocessing/jupyter-structured (segments, pairs and the text),
and branch stackv2 @ 7870b7f, preprocessing/jupyter-scripts (scripts by jupytext).
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.shapes.sentinels import as_it_is, unmarked
from pipelines.shapes.shape import Alone, Dropped, Shaped

NO_OUTPUT = "_____no_output_____"
EMPTY_OUTPUT = "<empty_output>"
MAX_OUTPUT_CHARS = 1000  # jupyter-generate-triplets: then cut, with `[...]`
_CUT = "[...]"
# Whitespace in front of a line: jupytext 1.16.7 takes quadratic time over it (4,000 spaces: 0.4 s).
MAX_INDENT_CHARS = 500
_NOT_PYTHON = ".ipynb"
# What the reference looks for in the metadata.
_PYTHON = "py"


class NotebookError(ValueError):
    """No notebook that the shape can read; `reason` is one of REASONS."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def notebook_of(text: str) -> dict[str, Any]:
    """The JSON object of a notebook.  Raises NotebookError."""
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotebookError("bad_json", f"{type(error).__name__}: {error}") from None
    if not isinstance(notebook, dict):
        raise NotebookError("bad_json", f"a JSON {type(notebook).__name__}")
    return notebook


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """Cells of one type in a row: their sources and outputs."""

    kind: str
    cells: list[tuple[str, str]]


def groups_of(notebook: Mapping[str, Any]) -> list[Group]:
    """The cells with a source, in groups of one type; raw cells are a type of their own.

    The output of a cell is the key `text` of its first output (an execute_result has none).  Raises NotebookError
    where "py" is not in the metadata, or where the notebook has another form (nbformat 3 has its cells elsewhere).
    """
    try:
        metadata = notebook["metadata"]
        python = _PYTHON in json.dumps(metadata)
        if not python:
            raise NotebookError("not_python", "metadata do not speak of Python")
        cells, kinds = [], []
        for cell in notebook["cells"]:
            if len(cell["source"]) > 0:
                output: Any = NO_OUTPUT
                if cell.get("outputs") and "text" in cell["outputs"][0]:
                    output = cell["outputs"][0]["text"]
                cells.append(("".join(cell["source"]), "".join(output)))
                kinds.append(str(cell["cell_type"]))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise NotebookError("bad_json", f"{type(error).__name__}: {error}") from None
    numbered = enumerate(kinds)
    return [
        Group(kind, [cells[i] for i, _ in members])
        for kind, members in itertools.groupby(numbered, key=lambda each: each[1])
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """What was said, the code behind it, and the output of its last cell."""

    markdown: str
    code: str
    output: str


def pairs_of(groups: Sequence[Group]) -> list[Pair]:
    """Groups in twos, by position.

    A group of code in front and one of markdown at the end go; where an odd number is left there is no pair at all.
    Markdown: cells joined by a space, without tags, newlines and `#`.  Code: cells joined by a newline.
    """
    groups = list(groups)
    if groups and groups[0].kind == "code":
        groups = groups[1:]
    if groups and groups[-1].kind == "markdown":
        groups = groups[:-1]
    if len(groups) % 2:
        return []
    pairs = []
    for said, done in zip(groups[::2], groups[1::2], strict=True):
        code = "\n".join(code for code, _ in done.cells)
        pairs.append(Pair(_plain(" ".join(text for text, _ in said.cells)), code, done.cells[-1][1]))
    return pairs


def _plain(text: str) -> str:
    return _without_tags(text).replace("\n", "").replace("#", "")


def _without_tags(text: str) -> str:
    """re.sub("<.*?>", "", text) in linear time: what is behind the last `>` of a line holds no tag."""
    lines = []
    for line in text.split("\n"):
        stop = line.rfind(">") + 1
        lines.append(_TAG.sub("", line[:stop]) + line[stop:])
    return "\n".join(lines)


_TAG = re.compile(r"<[^>]*>")


def structured(pairs: Sequence[Pair], *, mended: bool = False) -> str:
    """The pairs as one text; each piece without space around it.  mended: spellings of special tokens are broken up."""
    plain = unmarked if mended else as_it_is
    parts = ["<jupyter_start>"]
    for pair in pairs:
        output = pair.output
        if len(output) > MAX_OUTPUT_CHARS:
            output = output[:MAX_OUTPUT_CHARS] + _CUT
        output = EMPTY_OUTPUT if output == NO_OUTPUT else plain(output.strip())
        parts += ["<jupyter_text>", plain(pair.markdown.strip()), "<jupyter_code>", plain(pair.code.strip())]
        parts += ["<jupyter_output>", output]
    return "".join(parts)


def script_of(notebook: Mapping[str, Any], *, header: bool = True) -> tuple[str, str]:
    """(script, extension) by jupytext: the extension of the metadata, else .py where its kernel is Python's, else
    .ipynb, with which the notebook stays JSON.

    header   whether the script begins with the notebook's metadata, as jupytext writes them (the reference)
    Raises NotebookError for a notebook that jupytext refuses, ImportError without gristmill[code].
    """
    check_scripts()
    import jupytext
    import nbformat
    from nbformat import v4

    try:
        if notebook["nbformat"] == 3:
            found = v4.convert.upgrade(nbformat.from_dict(notebook), from_version=3, from_minor=0)
        else:
            found = nbformat.from_dict(notebook)
        for cell in found.cells:
            cell.source = "".join(cell.source)
            if any(len(line) - len(line.lstrip()) > MAX_INDENT_CHARS for line in cell.source.split("\n")):
                raise NotebookError("indentation", f"a line begins with more than {MAX_INDENT_CHARS} spaces")
    except NotebookError:
        raise
    except Exception as error:  # nbformat raises whatever the JSON made it stumble over
        raise NotebookError("bad_json", f"{type(error).__name__}: {error}") from None
    extension = _extension(found)
    try:
        if not header and extension != _NOT_PYTHON:
            found.metadata["jupytext"] = {"notebook_metadata_filter": "-all"}
        script = jupytext.writes(found, fmt=extension.removeprefix("."))
        return script if script.endswith("\n") else script + "\n", extension
    except Exception:  # an extension that jupytext does not know, or cells that it cannot write
        return "", extension


def _extension(notebook: Any) -> str:
    try:
        return str(notebook.metadata.language_info.file_extension)
    except (AttributeError, KeyError):
        return ".py" if _PYTHON in str(getattr(notebook.metadata, "kernelspec", "")) else _NOT_PYTHON


def check_scripts() -> None:
    """Raises ImportError where scripts cannot be written, with the extra that is missing."""
    missing = [name for name in ("jupytext", "nbformat") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"notebooks as scripts need {', '.join(missing)}: install gristmill[code]")


def is_notebook(row: Mapping[str, Any]) -> bool:
    """A document of kind notebook, or one whose path ends as notebooks do."""
    return row.get("kind") == "notebook" or (row.get("path") or "").lower().endswith(".ipynb")


@dataclasses.dataclass(frozen=True)
class StructuredNotebook(Alone):
    """A notebook -> text, code and output in turns.  mended: spellings of special tokens in them are broken up."""

    name: str
    mended: bool = False

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        (row,) = rows
        if not is_notebook(row):
            return Dropped("not_of_shape")
        try:
            pairs = pairs_of(groups_of(notebook_of(row["text"])))
        except NotebookError as error:
            return Dropped(error.reason)
        if not pairs:
            return Dropped("no_pairs")
        return Shaped(structured(pairs, mended=self.mended), {"pairs": str(len(pairs))}, "notebook")


@dataclasses.dataclass(frozen=True)
class NotebookScript(Alone):
    """A notebook -> a script.

    mark     what stands before the script: nothing (StarCoder: it is code), <jupyter_script> (StarCoder2)
    header   see script_of
    mended   spellings of special tokens in it are broken up
    """

    name: str
    mark: str = ""
    header: bool = True
    mended: bool = False

    def check(self) -> None:
        check_scripts()

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        (row,) = rows
        if not is_notebook(row):
            return Dropped("not_of_shape")
        try:
            script, extension = script_of(notebook_of(row["text"]), header=self.header)
        except NotebookError as error:
            return Dropped(error.reason)
        if extension == _NOT_PYTHON or not script.strip():
            return Dropped("no_code")
        script = unmarked(script) if self.mended else script
        return Shaped(self.mark + script, {"extension": extension}, "code" if not self.mark else "notebook")
