"""Plans: order, grouping, splitting, names and digests."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.readers import Document, PlanError, Source, Unit, UnitFile, formats, plan_units, read_unit
from pipelines.readers.units import excluded

PAGE = "<html><body><article>" + "<p>Some words about rivers, markets and bridges.</p>" * 5 + "</article></body></html>"


def tree(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(PAGE)
    return root


NAMES = [f"{folder}/{number}.html" for folder in "abc" for number in range(20)]


def test_a_plan_does_not_depend_on_the_order_of_creation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shuffled = list(NAMES)
    random.Random(1).shuffle(shuffled)
    first = plan_units(Source("s", "html", (str(tree(tmp_path / "x", NAMES)),)), base=str(tmp_path / "x"))
    second = plan_units(Source("s", "html", (str(tree(tmp_path / "y", shuffled)),)), base=str(tmp_path / "y"))
    assert [u.describe() for u in first] == [u.describe() for u in second]
    assert [u.unit_id for u in first] == [u.unit_id for u in second]
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top: ((d, n, sorted(f, reverse=True)) for d, n, f in walk(top)))
    assert plan_units(Source("s", "html", (str(tmp_path / "x"),)), base=str(tmp_path / "x")) == first


def test_nothing_names_the_machine(tmp_path: Path) -> None:
    tree(tmp_path, NAMES[:3])
    for unit in plan_units(Source("s", "html", (".",)), base=str(tmp_path)):
        assert not any(os.path.isabs(file.path) for file in unit.files)
        assert str(tmp_path) not in json.dumps(unit.describe())
        for item in read_unit(unit):
            assert isinstance(item, Document)
            assert item.locator in NAMES
            assert str(tmp_path) not in repr(item)


def test_ids_are_the_same_in_another_place(tmp_path: Path) -> None:
    ids = []
    for place in ("one", "two/deeper"):
        root = tree(tmp_path / place, NAMES[:4])
        for inputs in ((str(root),), (str(root / "**" / "*.html"),)):
            units = plan_units(Source("s", "html", inputs))
            ids.append([item.doc_id for unit in units for item in read_unit(unit) if isinstance(item, Document)])
    assert all(other == ids[0] for other in ids)
    assert len(set(ids[0])) == 4


def test_units_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.readers.units.GROUP_FILES", 7)
    units = plan_units(Source("s", "html", (str(tree(tmp_path, NAMES)),)))
    assert [len(unit.files) for unit in units] == [7] * 8 + [4]
    monkeypatch.setattr("pipelines.readers.units.GROUP_BYTES", 3 * len(PAGE))
    units = plan_units(Source("s", "html", (str(tmp_path),)))
    assert all(len(unit.files) == 3 for unit in units)
    assert sorted(file.name for unit in units for file in unit.files) == sorted(NAMES)


def test_large_files_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.zip", "b.tar.gz", "c.html"):
        (tmp_path / name).write_bytes(bytes(1000))
    monkeypatch.setattr("pipelines.readers.units.ARCHIVE_PART_BYTES", 30)
    units = plan_units(Source("s", "html", (str(tmp_path),)))
    assert [(u.files[0].name, u.part, u.parts) for u in units if u.parts > 1] == [
        *(("a.zip", part, 34) for part in range(34)),
        *(("b.tar.gz", part, 16) for part in range(16)),  # solid: more parts would only inflate more often
    ]
    for name in ("d.warc.gz", "e.warc"):
        (tmp_path / name).write_bytes(bytes(1000))
    monkeypatch.setattr("pipelines.readers.warc.RANGE_BYTES", 400)
    units = plan_units(Source("s", "warc", (str(tmp_path / "*.warc*"),)))
    assert [(u.files[0].name, u.start, u.stop) for u in units] == [
        ("d.warc.gz", 0, 400),
        ("d.warc.gz", 400, 800),
        ("d.warc.gz", 800, None),
        ("e.warc", 0, None),
    ]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("missing", ": no such file or folder"),
        ("*.nothing", ""),
        ("missing/**/*.html", ": there is no folder {folder}/missing"),
        ("empty", ": the folder holds no file"),
    ],
)
def test_nothing_found_is_an_error_before_any_work(tmp_path: Path, pattern: str, why: str) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "empty/below").mkdir(parents=True)
    with pytest.raises(PlanError) as caught:
        plan_units(Source("pages", "html", (str(tmp_path / "a.html"), str(tmp_path / pattern))))
    assert str(caught.value) == f"source pages: nothing matches {tmp_path}/{pattern}{why.format(folder=tmp_path)}"


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    tree(tmp_path / "x", ["a.html"])
    tree(tmp_path / "y", ["a.html"])
    with pytest.raises(PlanError, match=r"two inputs hold a\.html"):
        plan_units(Source("s", "html", (str(tmp_path / "x"), str(tmp_path / "y"))))
    assert len(plan_units(Source("s", "html", (str(tmp_path / "x"), str(tmp_path / "x" / "a.html"))))) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"kind": "pdf"}, {"inputs": ()}, {"inputs": "a.html"}, {"extractor": "best"}],
)
def test_wrong_sources(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Source(**({"name": "s", "kind": "html", "inputs": ("a",)} | wrong))  # type: ignore[arg-type]


def test_missing_or_wrong_locators_are_an_error_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    for name, text in (
        ("none.json", None),
        ("bad.json", "{"),
        ("empty.json", "{}"),
        ("rows.jsonl", '{"x": 1}\n{"y": 2}'),
    ):
        if text is not None:
            (tmp_path / name).write_text(text)
        with pytest.raises(PlanError, match="locators"):
            plan_units(Source("s", "html", (str(tmp_path / "a.html"),), locators=str(tmp_path / name)))


NAME = st.text(max_size=20)
FILES = st.lists(st.builds(UnitFile, NAME, NAME, st.integers(0, 2**60), st.booleans()), max_size=3).map(tuple)


@given(
    st.builds(
        Unit,
        source=NAME,
        kind=NAME,
        files=FILES,
        base=NAME,
        context=FILES,
        part=st.integers(0),
        parts=st.integers(1),
        start=st.integers(0),
        stop=st.none() | st.integers(0),
        exclude=st.lists(NAME).map(tuple),
        locators=st.none() | NAME,
        document_kind=st.none() | NAME,
    )
)
def test_units_survive_json(unit: Unit) -> None:
    assert Unit.from_json(unit.to_json()) == unit


@pytest.mark.parametrize(
    ("locator", "pattern", "match"),
    [
        ("a.whl!x/html/1.html", "html/1.html", True),
        ("a.whl!x/html/11.html", "html/1.html", False),
        ("a.whl!x/xhtml/1.html", "html/1.html", False),
        ("vendor/x/y.py", "vendor/*", True),
        ("a/vendor/x/y.py", "vendor/*", True),
        ("a/b.min.js", "*.min.js", True),
        ("a.zip!b.html", "a.zip!b.html", False),
        ("a.zip!b.html", "a.zip/b.html", True),
    ],
)
def test_exclusion(locator: str, pattern: str, match: bool) -> None:
    assert excluded(locator, (pattern,)) is match
    assert excluded(locator, ("no", pattern)) is match


def test_an_option_is_one_of_its_kind(monkeypatch):
    options = {
        "language": formats.Option("en", "of the wiki"),
        "namespaces": formats.Option(("0",), "that are read"),
        "limit": formats.Option(None, "of pages", of=int),
    }
    monkeypatch.setitem(formats.FORMATS, "html", dataclasses.replace(formats.FORMATS["html"], options=options))
    given = Source("s", "html", ("x",), options=(("limit", 3), ("namespaces", ("0", "14"))))
    assert formats.checked_options("html", dict(given.options)) == {
        "language": "en", "namespaces": ("0", "14"), "limit": 3,
    }  # fmt: skip
    with pytest.raises(ValueError, match="source s: unknown option 'langage' of kind html.*did you mean 'language'"):
        Source("s", "html", ("x",), options=(("langage", "de"),))
    with pytest.raises(ValueError, match="source s: option limit: 'three' is no whole number"):
        Source("s", "html", ("x",), options=(("limit", "three"),))


def test_a_unit_with_options_survives_json():
    unit = Unit("s", "html", (), options=(("limit", 3), ("namespaces", ("0", "14"))))
    assert Unit.from_json(unit.to_json()) == unit
    assert unit.unit_id != dataclasses.replace(unit, options=()).unit_id
