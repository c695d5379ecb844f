from __future__ import annotations

import gzip
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shapes.notebooks import (
    NotebookError,
    NotebookScript,
    StructuredNotebook,
    _without_tags,
    groups_of,
    notebook_of,
    pairs_of,
    script_of,
    structured,
)
from pipelines.shapes.shape import Dropped, Shaped

DATA = Path(__file__).parents[2] / "data" / "shapes"


def lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def test_structured_notebooks_are_those_of_the_reference() -> None:
    notebooks, expected = lines("notebooks"), lines("notebooks_expected")
    assert len(notebooks) == 26
    for notebook, want in zip(notebooks, expected, strict=True):
        assert notebook["id"] == want["id"]
        try:
            groups = groups_of(notebook_of(notebook["content"]))
        except NotebookError:
            assert not want["kept"], notebook["id"]
            continue
        assert want["kept"]
        assert [group.kind for group in groups] == want["cell_types"]
        assert [[list(cell) for cell in group.cells] for group in groups] == want["cells"]
        pairs = pairs_of(groups)
        assert [{"markdown": p.markdown, "code": p.code, "output": p.output} for p in pairs] == want["pairs"]
        assert len(pairs) == want["chain_length"]
        assert (structured(pairs) if pairs else None) == want["structured"]


def test_scripts_are_those_of_the_reference() -> None:
    pytest.importorskip("jupytext")
    for notebook, want in zip(lines("notebooks"), lines("notebooks_expected"), strict=True):
        try:
            content = notebook_of(notebook["content"])
            script, extension = script_of(content)
        except NotebookError:
            assert want["script"] == "" and want["script_ext"] == "", notebook["id"]
            continue
        # Ids of cells that nbformat invents are random.
        known = re.compile(r'"id": "[0-9a-f]{8}"')
        assert extension == want["script_ext"], notebook["id"]
        assert known.sub("", script) == known.sub("", want["script"]), notebook["id"]


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"doc_id": "d", "kind": "notebook", "text": text, "path": "a.ipynb", "meta": {}, **more}


CELLS: list[dict[str, Any]] = [
    {"cell_type": "markdown", "source": ["# Title\n", "text"], "metadata": {}},
    {"cell_type": "code", "source": "print(1)", "outputs": [{"text": "1\n"}], "metadata": {}, "execution_count": 1},
]
PYTHON = {"kernelspec": {"language": "python", "name": "python3"}}


def notebook(cells: Any = CELLS, metadata: Any = PYTHON, **more: Any) -> str:
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 2, **more})


def test_the_shapes() -> None:
    shape = StructuredNotebook("starcoder_notebook_structured@1")
    assert shape.make([row(notebook())], 0) == Shaped(
        "<jupyter_start><jupyter_text>Titletext<jupyter_code>print(1)<jupyter_output>1", {"pairs": "1"}, "notebook"
    )
    assert shape.make([row("{")], 0) == Dropped("bad_json")
    assert shape.make([row("[1]")], 0) == Dropped("bad_json")
    assert shape.make([row("[" * 100_000)], 0) == Dropped("bad_json")
    assert shape.make([row(notebook(metadata={}))], 0) == Dropped("not_python")
    assert shape.make([row(notebook(cells=[5]))], 0) == Dropped("bad_json")
    assert shape.make([row(notebook(cells=None))], 0) == Dropped("bad_json")
    assert shape.make([row(notebook(cells=[{**CELLS[1], "outputs": 7}]))], 0) == Dropped("bad_json")
    assert shape.make([row(notebook(cells=CELLS[:1]))], 0) == Dropped("no_pairs")
    assert shape.make([row("print(1)", kind="code", path="a.py")], 0) == Dropped("not_of_shape")
    assert shape.key(row("")) is None


def test_the_scripts() -> None:
    pytest.importorskip("jupytext")
    shape = NotebookScript("starcoder2_notebook_script@1", "<jupyter_script>", header=False)
    found = shape.make([row(notebook())], 0)
    assert found == Shaped("<jupyter_script># # Title\n# text\n\nprint(1)\n", {"extension": ".py"}, "notebook")
    assert shape.make([row(notebook(metadata={}))], 0) == Dropped("no_code")
    assert shape.make([row(notebook(cells=[]))], 0) == Dropped("no_code")
    assert shape.make([row("{}")], 0) == Dropped("bad_json")
    assert shape.make([row("x")], 0) == Dropped("bad_json")
    deep = notebook(cells=[{**CELLS[1], "source": "if x:\n" + " " * 501 + "y"}])
    assert shape.make([row(deep)], 0) == Dropped("indentation")
    odd = {**PYTHON, "language_info": {"file_extension": ".unheard-of"}}
    assert shape.make([row(notebook(metadata=odd))], 0) == Dropped("no_code")
    assert shape.make([row("x", kind="code", path="a.py")], 0) == Dropped("not_of_shape")
    code = NotebookScript("starcoder_notebook_script@1").make([row(notebook())], 0)
    assert isinstance(code, Shaped) and code.kind == "code" and code.text.startswith("# ---\n# jupyter:")


@settings(max_examples=300, deadline=None)
@given(st.text("<>ab\n\r"))
def test_tags_go_as_by_the_pattern(text: str) -> None:
    assert _without_tags(text) == re.sub("<.*?>", "", text)


@pytest.mark.parametrize("unit", ["<", "<a", "<\n", "> ", "<>", "<<"])
def test_time_is_linear(unit: str) -> None:
    def seconds(size: int) -> float:
        text = "<>" + unit * (size // len(unit))
        times = []
        for _ in range(3):
            start = time.process_time()
            _without_tags(text)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(1 << 19) < 8 * max(seconds(1 << 17), 1e-3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20)), min_size=1, max_size=5))
def test_code_is_never_lost(said: list[tuple[str, str]]) -> None:
    cells = []
    for text, code in said:
        cells += [{"cell_type": "markdown", "source": text}, {"cell_type": "code", "source": code, "outputs": []}]
    found = StructuredNotebook("n").make([row(notebook(cells=cells))], 0)
    assert isinstance(found, Shaped)
    place = 0
    for _, code in said:
        place = found.text.index("<jupyter_code>" + code.strip() + "<jupyter_output><empty_output>", place) + 1
