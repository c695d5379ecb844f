from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.shapes import REASONS, SHAPES, Draws, Dropped, Shaped
from pipelines.shapes.commits import Commit, commit_of, refused, rendered
from pipelines.shapes.diffs import changed_range
from pipelines.shapes.files import stars_bucket, with_meta
from pipelines.shapes.intermediate import (
    _CONTINUED,
    _REACHES_OUT,
    compile_source,
    compiler,
    stem_and_level,
    without_header,
)
from pipelines.shapes.kaggle import is_python, without_template
from pipelines.shapes.languages import _labels, extension_of, is_excluded, is_known
from pipelines.shapes.sentinels import TOKENS, unmarked

DATA = Path(__file__).parents[2] / "data" / "shapes"


def row(doc_id: str, text: str, kind: str = "code", meta: Any = None, **more: Any) -> dict[str, Any]:
    columns = dict.fromkeys(("url", "repo", "path", "commit", "timestamp"))
    return {"doc_id": doc_id, "source": "s", "kind": kind, "text": text, "meta": meta or {}, **columns, **more}


def make(name: str, *rows: Mapping[str, Any], seed: int = 0) -> Any:
    return SHAPES[name].make(rows, seed)


class Given:
    """A generator that gives what it is told; randint the lowest."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)

    def randint(self, low: int, high: int) -> int:
        return low


def test_every_shape_is_a_value_with_its_name() -> None:
    for name, shape in SHAPES.items():
        assert shape.name == name and name.endswith("@1")
        assert pickle.loads(pickle.dumps(shape)) == shape
        assert shape.key(row("d", "text", kind="web")) is None
    assert len(SHAPES) == 27
    assert len({name.partition("@")[0] for name in SHAPES}) == 27
    with pytest.raises(ValueError, match="none of REASONS"):
        Dropped("because")
    assert all(reason.islower() and sentence for reason, sentence in REASONS.items())


TEXTS = st.one_of(
    st.text(max_size=30), st.sampled_from(["{}", "[]", "null", '{"files": [1], "subject": ""}', "[" * 5000])
)


@settings(max_examples=40, deadline=None)
@given(
    TEXTS,
    st.sampled_from(["code", "event", "commit", "notebook", "conversation", "web"]),
    st.sampled_from([None, "a.py", "a.ll", "x/a.ipynb", ".", "a/", "\0"]),
    st.dictionaries(st.sampled_from(["thread", "type", "posts", "stars", "is_pull_request"]), TEXTS, max_size=4),
)
def test_whatever_comes_is_shaped_or_dropped(text: str, kind: str, path: str | None, meta: dict[str, str]) -> None:
    document = row("d", text, kind, meta, path=path, repo="o/r")
    for name, shape in SHAPES.items():
        shape.key(document)
        json.dumps(shape.order(document))
        if "notebook_script" in name or "kaggle" in name:
            pytest.importorskip("jupytext")
        first, again = (shape.make([document], 5) for _ in range(2))
        assert isinstance(first, Shaped | Dropped) and first == again
        if isinstance(first, Shaped):
            assert all(isinstance(each, str) for pair in first.meta.items() for each in pair)


def test_draws_are_uniform_and_follow_from_key_and_seed() -> None:
    drawn = [Draws(f"k{i}", 3).random() for i in range(4000)]
    assert abs(np.mean(drawn) - 0.5) < 0.02 and abs(np.var(drawn) - 1 / 12) < 0.005
    one = Draws("k", 1)
    several = [one.random() for _ in range(2000)]
    assert len(set(several)) == 2000 and abs(np.mean(several) - 0.5) < 0.03
    assert Draws("k", 1).random() == several[0] != Draws("k", 2).random()
    assert {one.randint(3, 6) for _ in range(200)} == {3, 4, 5}


def test_stars_are_written_as_by_the_reference() -> None:
    known = json.loads((DATA / "stars.json").read_text())
    assert [stars_bucket(each) for each in known["values"]] == known["stars_bucket"]


def test_a_file_says_where_it_is_by_chance() -> None:
    assert with_meta("o/r", "a.py", 7, "x", Given(0, 0, 0)) == "<reponame>o/r<filename>a.py<gh_stars>1-10\nx"
    assert with_meta("o/r", "a.py", None, "x", Given(0.2, 0.3, 0.1)) == "<gh_stars>0\nx"
    assert with_meta("o/r", "a.py", 7, "x", Given(0.9, 0.1, 0.9)) == "<filename>a.py\nx"
    assert with_meta(None, None, 7, "x", Given(0, 0, 0.5)) == "x"
    rows = [row(f"d{i}", "code", repo="o/r", path="a.py", meta={"stars": "11.0"}) for i in range(3000)]
    made = [make("starcoder_file@1", each).text for each in rows]
    for mark in ("<reponame>o/r", "<filename>a.py", "<gh_stars>10-100"):
        assert abs(np.mean([mark in text for text in made]) - 0.2) < 0.03
    assert all(text.endswith("\ncode") or text == "code" for text in made)
    assert make("starcoder_file@1", row("d", "")) == Dropped("empty")


def test_a_repository_is_one_document() -> None:
    shape = SHAPES["starcoder2_repository@1"]
    files = [row(f"d{i}", f"code {i}\n", path=f"p{i}.py", repo="o/r") for i in range(6)]
    assert {shape.key(each) for each in files} == {"o/r"}
    files.sort(key=shape.order)
    assert [each["doc_id"] for each in files] != sorted(each["doc_id"] for each in files)
    found = {shape.make(files, seed).text for seed in range(20)}  # type: ignore[union-attr]
    named = "<repo_name>o/r" + "".join(f"<file_sep>{each['path']}\n{each['text']}" for each in files)
    assert found == {named, "".join(f"<file_sep>{each['text']}" for each in files)}
    chances = [shape.make([{**files[0], "repo": f"o/{i}"}], 0).meta["named"] for i in range(1000)]  # type: ignore[union-attr]
    assert abs(chances.count("true") / 1000 - 0.5) < 0.06
    assert shape.make([row("d", "", repo="o/r")], 0) == Dropped("empty")
    assert shape.make([row("d", "x")], 0) == Dropped("not_of_shape")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8), st.integers(0, 9))
def test_no_file_of_a_repository_is_lost(texts: list[str], seed: int) -> None:
    shape = SHAPES["starcoder2_repository@1"]
    files = [row(f"d{i}", text, path=f"p{i}", repo="o/r") for i, text in enumerate(texts)]
    made = shape.make(files, seed)
    assert isinstance(made, Shaped)
    separator = "<file_sep>"
    parts = [(f"p{i}\n" if made.meta["named"] == "true" else "") + text for i, text in enumerate(texts)]
    assert made.text == ("<repo_name>o/r" if made.meta["named"] == "true" else "") + separator + separator.join(parts)


OLD = "\n".join(f"line {i}" for i in range(100))
NEW = OLD.replace("line 50", "line fifty").replace("line 55\n", "")


def commit(doc_id: str = "c", **more: Any) -> dict[str, Any]:
    file = {"path": "src/a.py", "old": OLD, "new": NEW, **more.pop("file", {})}
    found = {"subject": "Write fifty as a word here", "message": "m", "files": [file], **more}
    return row(doc_id, json.dumps(found), "commit", repo="o/r", commit="abc")


def test_a_commit_shows_what_changed() -> None:
    read = commit_of(commit())
    assert isinstance(read, Commit)
    true, zero = (changed_range(OLD.splitlines(), NEW.splitlines(), from_zero=each) for each in (False, True))
    assert (true.old_start, true.old_stop, true.new_stop) == (50, 56, 55) and zero.old_start == zero.new_start == 0
    whole = f"<commit_before>{OLD}<commit_msg>Write fifty as a word here<commit_after>{NEW}"
    assert rendered(read, true, Given(0.1)) == whole
    near = rendered(read, true, Given(0.5))
    before = "\n".join(OLD.splitlines()[50:56])
    after = "\n".join(NEW.splitlines()[50:55])
    assert near == f"<commit_before>{before}<commit_msg>Write fifty as a word here<commit_after>{after}"
    assert rendered(read, zero, Given(0.5)).startswith("<commit_before>line 0\nline 1\n")
    shape = SHAPES["starcoder_commit@1"]
    key = json.dumps(["o/r", "src/a.py"])
    assert shape.key(commit()) == key
    made = make("starcoder_commit@1", commit(), commit("other"))
    assert made.kind == "commit" and made.meta == {"path": "src/a.py", "commit": "abc", "commits": "2"}
    mended = [
        make("gristmill_commit@1", commit(subject="Not the end <|endoftext|> of it all"), seed=i) for i in range(9)
    ]
    assert any("<commit_before>line 0\n" not in each.text for each in mended)
    assert all("<commit_msg>Not the end < |endoftext|> of it all<commit_after>" in each.text for each in mended)


@pytest.mark.parametrize(
    ("subject", "drawn", "reason"),
    [
        ("a good subject of words", [], None),
        ("", [], "subject"),
        (" \t", [], "subject"),
        ("an Auto Commit of the day now", [], "subject"),
        ("<?xml is no subject at all", [], "subject"),
        ("Update README.md", [], "subject"),
        ("four words are short", [0.51], "short_subject"),
        ("four words are short", [0.5], None),
        ("v1.2.3", [0.1], "subject"),
        ("1.22.33 is out now today", [], "subject"),
        ("release 1.2.3 is out now", [], None),
        ("x" * 30, [0.1], "long_subject_words"),
        (" word", [0.1], "subject"),
    ],
)
def test_subjects_are_judged_as_by_the_reference(subject: str, drawn: list[float], reason: str | None) -> None:
    lines = changed_range(["a"] * 9, ["b"] * 9)
    draws = Given(*drawn)
    assert refused(Commit(subject, "a.py", "o", "n"), lines, draws) == reason
    assert draws.numbers == []


def test_why_commits_are_dropped() -> None:
    def reason(**more: Any) -> set[str]:
        made = [make("starcoder_commit@1", commit(f"c{i}", **more)) for i in range(60)]
        return {each.reason if isinstance(each, Dropped) else "" for each in made}

    assert reason() == {""}
    assert reason(file={"new": None}) == {"empty"}
    assert reason(file={"old": "x" * 100_000}) == {"too_large"}
    assert reason(file={"old": None}) == {"", "small_change"}
    assert reason(file={"new": "other\n" * 3, "old": "some\n" * 300}) == {"", "large_change"}
    assert reason(file={"path": "a.jpeg2"}) == {"unknown_extension"}
    assert reason(file={"path": "a/Makefile"}) == {""} == reason(file={"path": "Dockerfile"})
    assert reason(file={"path": "a.yml"}) == {"", "sampled_out"}
    assert reason(subject="too short") == {"", "short_subject"}
    assert reason(file={"old": NEW}) == {"", "small_change"}
    assert reason(files=[]) == {"many_files"} == reason(files=[{}, {}])
    assert reason(files=[{"path": 5}]) == {"bad_json"} == reason(files=[7]) == reason(files=7) == reason(subject=[])
    assert make("starcoder_commit@1", row("d", "{", "commit", repo="r")) == Dropped("bad_json")
    assert make("starcoder_commit@1", row("d", "x")) == Dropped("not_of_shape")
    assert SHAPES["starcoder_commit@1"].key(commit(files=[])) is None


def test_extensions_are_those_of_the_table() -> None:
    assert extension_of("a.b/c.PY") == "py" and extension_of("a.b/c") == "" and extension_of(".") == ""
    assert is_known("x/y.java") and is_known("makefile") and not is_known("x/y") and not is_known("a.zzz")
    known, excluded = _labels()
    assert len(excluded) == 179 and len(known) == 972
    assert is_excluded("CSV", "a.csv") and not is_excluded("Python", "a.py") and not is_excluded(None, "a.csv")


def question(text: str | None = None, **meta: Any) -> dict[str, Any]:
    pieces = ["Q: How? I ask\n\nA: no answer", "A: So <issue_comment>", "A: Not so\n\ntwice"]
    posts, start = [], 0
    for number, piece in enumerate(pieces):
        place = {"start": start + 3, "stop": start + len(piece), "user": number % 2, "score": 3 - number}
        posts.append({**place, "accepted": number == 2})
        start += len(piece) + 2
    found = {"posts": json.dumps(posts), **meta}
    return row("q", "\n\n".join(pieces) if text is None else text, "conversation", found)


def test_questions_and_answers() -> None:
    made = make("starcoder2_stackexchange@1", question())
    assert made == Shaped(
        "<issue_start>username_0: How? I ask\n\nA: no answer<issue_comment>username_1: So <issue_comment>\nUpvotes: 2"
        "<issue_comment>username_0: Not so\n\ntwice\nUpvotes: 1 [selected answer]",
        {"answers": "2", "selected": "true"},
        "conversation",
    )
    assert "So < issue_comment>" in make("gristmill_stackexchange@1", question()).text
    redacted = make("starcoder2_stackexchange@1", question("Q: How?\n\nA: So\n\nA: <NAME>"))
    assert redacted.text.endswith("username_0: <NAME>\nUpvotes: 1 [selected answer]")
    assert make("starcoder2_stackexchange@1", question("Q: How?\n\nA: So")) == Dropped("not_of_shape")
    for posts in ("", "{}", "[]", "[5]", "{", "[" * 100_000):
        assert make("starcoder2_stackexchange@1", question(posts=posts)) == Dropped("not_of_shape")


def notebook(*code: str) -> str:
    cells = [
        {"cell_type": "code", "source": each, "outputs": [], "metadata": {}, "execution_count": 1} for each in code
    ]
    metadata = {"kernelspec": {"language": "python", "name": "python3", "display_name": "Python 3"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 2})


TEMPLATE = """# It is defined by the kaggle/python Docker image: https://github.com/kaggle/docker-python
import numpy as np  # linear algebra
import pandas as pd  # data processing, CSV file I/O (e.g. pd.read_csv)

# Input data files are available in the read-only "../input/" directory
import os

for dirname, _, filenames in os.walk("/kaggle/input"):
    for filename in filenames:
        print(os.path.join(dirname, filename))
"""


def test_notebooks_of_kaggle() -> None:
    pytest.importorskip("jupytext")
    code = "model = fit(data)\n" * 9
    meta = {
        "dataset_title": "Irises",
        "kaggle_dataset_owner": "o",
        "kaggle_dataset_name": "iris",
        "dataset_rows": "1,2",
    }
    made = make("starcoder2_kaggle@1", row("k", notebook(TEMPLATE, code), "notebook", meta))
    head = "Irises\nKaggle dataset identifier: o/iris\n1,2\n<jupyter_script>"
    assert made.text.startswith(head) and "linear algebra" not in made.text and made.text.count("fit(data)") == 9
    plain = make("starcoder2_kaggle@1", row("k", notebook(code), "notebook"))
    assert plain.text.startswith("<jupyter_script>model") and plain.meta == {"data_set": "false"}
    assert make("starcoder2_kaggle@1", row("k", notebook("x = 1"), "notebook")) == Dropped("short")
    assert make("starcoder2_kaggle@1", row("k", notebook(code + "def ("), "notebook")) == Dropped("syntax")
    assert make("starcoder2_kaggle@1", row("k", notebook(TEMPLATE), "notebook")) == Dropped("no_code")
    assert make("starcoder2_kaggle@1", row("k", "x" * 5_000_001, "notebook")) == Dropped("too_large")
    assert make("starcoder2_kaggle@1", row("k", "x", "code")) == Dropped("not_of_shape")
    assert without_template("import os\nx") == "import os\nx" and without_template("") == ""
    assert not is_python("(" * 100_000) and not is_python("\0") and is_python("x = '\\d'")


def test_documentation_keeps_its_text() -> None:
    assert make("starcoder2_documentation@1", row("d", " a\n")) == Shaped("a", {}, "documentation")
    assert make("starcoder2_documentation@1", row("d", " \n")) == Dropped("empty")


def test_what_belongs_to_a_representation() -> None:
    assert stem_and_level("a/b.c") == ("a/b", None) and stem_and_level("a/b.CPP") == ("a/b", None)
    assert stem_and_level("a/b.ll") == ("a/b", "") and stem_and_level("a/b.Oz.ll") == ("a/b", "Oz")
    assert stem_and_level("a/llvm_O3.ll") == ("a/source", "O3") and stem_and_level("a/llvm_OZ.ll") == ("a/source", "Oz")
    assert stem_and_level("a/b.py") is None and stem_and_level("") is None and stem_and_level(".c") is None
    assert stem_and_level("llvm.ll") == ("llvm", "")


LL = '; ModuleID = \'x\'\nsource_filename = "x"\ntarget datalayout = "e"\ntarget triple = "y"\n\ndefine i32 @f() {\n}\n'


def test_pairs_of_code_and_representation() -> None:
    shape = SHAPES["starcoder2_intermediate@1"]
    code = row("a", "int f();", path="a/source.c", repo="o/r")
    small = row("b", LL, path="a/llvm_OZ.ll", repo="o/r")
    fast = row("c", LL.replace("@f", "@fast"), path="a/llvm_O3.ll", repo="o/r")
    assert len({shape.key(each) for each in (code, small, fast)}) == 1
    body = "define i32 @f() {\n}\n"
    assert without_header(LL) == body
    texts = [make("starcoder2_intermediate@1", code, small, fast, seed=i) for i in range(400)]
    assert {each.text for each in texts} == {
        text
        for ir in (body, body.replace("@f", "@fast"))
        for text in (f"int f();<code_to_intermediate>{ir}", f"{ir}<intermediate_to_code>int f();")
    }
    assert abs(np.mean([each.meta["level"] == "Oz" for each in texts]) - 0.8) < 0.07
    assert abs(np.mean([each.meta["code_first"] == "true" for each in texts]) - 0.5) < 0.08
    only = make("starcoder2_intermediate@1", code, fast, seed=1)
    assert only.meta["level"] == "O3" and only.meta["representation_by"] == "file"
    assert make("starcoder2_intermediate@1", code) == Dropped("no_representation")
    assert make("starcoder2_intermediate@1", small) == Dropped("no_code")
    assert make("starcoder2_intermediate@1", row("d", "x", path="a.py")) == Dropped("not_of_shape")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("pipelines.shapes.intermediate.compiler", lambda: None)
    checked = [shape for shape in SHAPES.values() if hasattr(shape, "check")]
    assert len(checked) == 9
    for shape in checked:
        if shape.name.endswith("_intermediate@1"):
            shape.check()
            continue
        with pytest.raises(ImportError, match="install gristmill.code.|needs clang"):
            shape.check()


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang on the path")
def test_the_compiler_makes_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    code = row("a", "int twice(int number) { return 2 * number; }", path="a.c", repo="o/r")
    made = make("starcoder2_intermediate_clang@1", code)
    assert "@twice(" in made.text and "%number" in made.text and "target triple" not in made.text
    assert made.meta["representation_by"] == "clang"
    clang = compiler()
    assert clang is not None
    assert compile_source("int f(", "c", "Oz", clang) is None
    monkeypatch.setattr("pipelines.shapes.intermediate.COMPILE_SECONDS", 1)
    many = "#define A(x) x x x x x x x x\n#define B(x) A(A(A(A(A(A(A(A(x))))))))\nint y[] = {B(B(1,))};"
    assert compile_source(many, "c", "Oz", clang) is None


REACHING = (
    '#include "/etc/passwd"', "# include <../x>", "#embed </etc/x>", "%:em\\\nbed </etc/x>", '# /* */ embed "x"',
    'asm(".incbin \\"x\\"");', '#define X "/x"\n#include X', "#include_next <x.h>",
)  # fmt: skip


@pytest.mark.parametrize("text", REACHING)
def test_code_that_reaches_out_is_not_compiled(text: str) -> None:
    assert compile_source(text, "c", "Oz", "/no/compiler") is None
    assert _REACHES_OUT.search(_CONTINUED.sub("", text)) and not _REACHES_OUT.search("#include <stdio.h>\nint a;")


def test_spellings_of_special_tokens_are_broken_up() -> None:
    for token in TOKENS:
        text = unmarked(f"a{token}b")
        assert token not in text and text == f"a< {token[1:]}b"
    assert unmarked("a < b <pr> <prx> <<pr>>") == "a < b < pr> <prx> << pr>>"
