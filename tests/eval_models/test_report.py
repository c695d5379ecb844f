"""The three reports: complete, consistent, stable, self-contained, and safe with hostile names and texts."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_models import figures
from eval_models.judgement import Judgement
from eval_models.plan import StudyPlan
from eval_models.report import markdown_code, markdown_text, verdict_table_text, write_report
from tests.eval_models.study_fixture import build_study

HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>|`[a](javascript:b)&lt;"
VOID = {"meta", "br", "col", "img", "link", "input", "hr", "area", "base", "source", "wbr"}
LOADERS = {"script", "img", "link", "iframe", "object", "embed", "base", "video", "audio", "image", "use"}
LOADING = {
    "src",
    "srcset",
    "poster",
    "data",
    "action",
    "formaction",
    "background",
    "cite",
    "ping",
    "xlink:href",
}


class Page(HTMLParser):
    """Collects tags, ids, links and text, and checks that tags nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text: list[str] = []
        self.styles: list[str] = []
        self.feed(html)
        self.close()
        assert not self.stack, f"not closed: {self.stack}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {names}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        (self.styles if self.stack and self.stack[-1] == "style" else self.text).append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StudyPlan, Judgement]:
    root = tmp_path_factory.mktemp("report")
    plan = build_study(root)
    judgement = write_report(root, plan)
    assert judgement is not None
    return root, plan, judgement


@pytest.fixture(scope="module")
def page(made: tuple[Path, StudyPlan, Judgement]) -> Page:
    return Page((made[0] / "report.html").read_text(encoding="utf-8"))


def assert_self_contained(page: Page, html: str) -> None:
    for tag, attributes in page.tags:
        assert tag not in LOADERS
        for name, value in attributes.items():
            assert name not in LOADING, f"<{tag} {name}={value}>"
            assert not name.startswith("on"), f"<{tag} {name}>"
            assert "url(" not in (value or "")
            if name == "href":
                assert (value or "").startswith("#"), value
    assert page.styles and not re.search(r"@import|url\(|expression\(|</", "".join(page.styles))
    assert len(html.encode()) < 2_000_000


def test_html_loads_nothing_and_fits(made: tuple[Path, StudyPlan, Judgement], page: Page) -> None:
    html = (made[0] / "report.html").read_text(encoding="utf-8")
    assert_self_contained(page, html)
    assert len(html.encode()) < 300_000
    policy = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and (policy[0] or "").startswith("default-src 'none'")


def test_html_follows_light_dark_phone_and_print(page: Page) -> None:
    css = "".join(page.styles)
    for rule in ("prefers-color-scheme: dark", "prefers-reduced-motion", "max-width: 860px", "@media print"):
        assert rule in css
    assert ":focus-visible" in css
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags


def test_html_can_be_walked_by_keyboard_and_reader(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(attributes["href"] or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert targets <= set(ids)
    for _, attributes in page.tags:
        for label in (attributes.get("aria-labelledby") or "").split():
            assert label in ids
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    headers = [attributes for tag, attributes in page.tags if tag == "th" and attributes]
    assert all("scope" in attributes for attributes in headers)
    assert all(
        attributes.get("aria-hidden") == "true" or attributes.get("role") == "img"
        for tag, attributes in page.tags
        if tag == "svg"
    )


def test_html_has_every_part(page: Page, made: tuple[Path, StudyPlan, Judgement]) -> None:
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {
        "verdicts", "caveats", "effects", "slices", "curves", "waterfall", "books", "documents", "reproduce",
        "glossary",
    } <= ids  # fmt: skip
    judgement = made[2]
    assert re.sub(r"\W+", "", judgement.headline) in re.sub(r"\W+", "", page.words)
    for arm in judgement.arms:
        comparison = arm.pooled.comparison
        assert comparison is not None
        assert f"{comparison.delta:+.4f}" in page.words
    assert page.words.count("balanced") == 14
    for reason in ("empty text", "UnicodeDecodeError", "gopher@datatrove stop_words"):
        assert reason in page.words


def test_json_and_markdown_show_the_same_figures(made: tuple[Path, StudyPlan, Judgement], page: Page) -> None:
    root = made[0]
    data = json.loads((root / "report.json").read_text())
    markdown = (root / "report.md").read_text()
    rows = {}
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 14 and cells[0].startswith("`"):
            rows[cells[0].strip("`")] = cells
    assert set(rows) == {row["variant"] for row in data["variants"]}
    for row in data["variants"]:
        cells = rows[row["variant"]]
        assert cells[7] == f"{row['documents']:,}"
        assert cells[10] == f"{row['epochs']:.1f}"
        assert cells[11] == f"{row['effective_ratio']:.2f}"
        if row["verdict"] is None:
            assert cells[2] == f"{row['bits_per_byte']:.4f} (level)"
            continue
        assert cells[1] == row["verdict"].replace("_", " ")
        assert cells[2] == f"{row['delta']:+.4f}"
        assert cells[3] == f"[{row['low']:+.4f}, {row['high']:+.4f}]"
        assert cells[5] == f"{row['minimum_detectable_effect']:.4f}"
        for text in (cells[2], cells[3], cells[5]):
            assert text in page.words
    assert f"**{data['headline']}**" in markdown
    for caveat in data["caveats"]:
        assert caveat["text"] in page.words


def test_reports_are_stable(made: tuple[Path, StudyPlan, Judgement]) -> None:
    root, plan, _ = made
    names = ("report.html", "report.md", "report.json")
    before = [(root / name).read_bytes() for name in names]
    write_report(root, plan)
    assert [(root / name).read_bytes() for name in names] == before
    assert not list(root.glob(".report*"))


def test_nothing_of_this_machine_is_in_the_reports(made: tuple[Path, StudyPlan, Judgement]) -> None:
    for name in ("report.html", "report.md", "report.json"):
        assert str(made[0]) not in (made[0] / name).read_text()


def test_manifest_hashes_are_those_of_the_records(made: tuple[Path, StudyPlan, Judgement]) -> None:
    import hashlib

    root = made[0]
    whole = json.loads((root / "manifest.json").read_text())
    data = json.loads((root / "report.json").read_text())
    record = json.dumps(whole["stages"]["ingest"], sort_keys=True, ensure_ascii=False, indent=1) + "\n"
    assert data["reproducibility"]["manifests"]["ingest"] == hashlib.sha256(record.encode()).hexdigest()


def test_hostile_names_and_texts_stay_text(tmp_path: Path) -> None:
    plan = build_study(tmp_path, hostile=HOSTILE, proxies=("mamba-tiny",))
    judgement = write_report(tmp_path, plan)
    assert judgement is not None
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_self_contained(page, html)
    assert HOSTILE in page.words  # shown as it is
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    outside_code = re.sub(r"(`+)(?:(?!\1).)*\1", "", markdown)
    assert "<script" not in outside_code and "<img" not in outside_code
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    json.loads((tmp_path / "report.json").read_text())
    assert "\x1b" not in verdict_table_text(judgement)


def test_a_hostile_variant_name_cannot_reach_the_terminal_or_the_page(tmp_path: Path) -> None:
    plan = build_study(tmp_path, effects={"raw": 0.0, "a\x1b[31m<b>": -0.03}, proxies=("mamba-tiny",), corpora=False)
    judgement = write_report(tmp_path, plan)
    assert judgement is not None
    assert "\x1b" not in verdict_table_text(judgement)
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not any(tag == "b" for tag, _ in page.tags)


def test_without_a_study_it_tells_of_the_curation(tmp_path: Path) -> None:
    import shutil

    build_study(tmp_path, proxies=("mamba-tiny",))
    shutil.rmtree(tmp_path / "runs")
    assert write_report(tmp_path, None) is None
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert_self_contained(page, html)
    expected = "48,210 of 51,377 items read are documents, of which 5 variants of the corpus were made. The books of"
    assert expected in page.words
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"waterfall", "books", "reproduce"} <= ids
    assert not ids & {"verdicts", "effects", "curves", "documents"}
    assert json.loads((tmp_path / "report.json").read_text())["study"] is None
    assert "minhash" in (tmp_path / "report.md").read_text()


def test_what_was_shaped_and_packed_is_told(tmp_path: Path) -> None:
    def stage(read: int, kept: int, dropped: dict[str, int], **more: object) -> dict[str, object]:
        return {"books": {"read": read, "kept": kept, "dropped": dropped, "rejected": {}}, **more}

    shapes = {"": {"documents": 2, "kept": 2}, "whole@1": {"documents": 9, "kept": 1, "merged_into": 6, HOSTILE: 2}}
    source = {"documents": 3, "appearances": 6, "epochs": 2.0, "permuted": 0, "tokens": 1500}
    samples = {"samples": 100, "tokens": 1500, "padding": 100, "by_source": {HOSTILE: source}}
    stages = {
        "curate/full": stage(11, 11, {}, summary={}),
        "pack/full": stage(3, 3, {}, summary=samples, options={"length": 16}),
        "shape/full": stage(11, 3, {"merged_into": 6, HOSTILE: 2}, summary={"by_shape": shapes}, options={}),
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "m", "stages": stages}))
    write_report(tmp_path, None)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page, markdown = Page(html), (tmp_path / "report.md").read_text(encoding="utf-8")
    assert_self_contained(page, html)
    assert "full: 100 samples of 16 tokens" in page.words and "2.00 1,500 100%" in page.words
    assert "full as they were 2 2 0 none" in page.words and "full whole@1 9 1 6 2" in page.words
    assert "| `full` | whole@1 | 9 | 1 | 6 | 2 " in markdown and "| 3 | 2.00 | 1,500 | 100% |" in markdown
    # What becomes part of another document is no loss before the variants, and samples come last.
    assert "Largest losses" not in markdown and markdown.index("`shape/full` |") < markdown.index("`pack/full` |")


def test_a_study_before_its_first_run(tmp_path: Path) -> None:
    plan = StudyPlan(baseline="raw", variants=("raw", "dedup"))
    assert write_report(tmp_path, plan) is None
    (tmp_path / "runs").mkdir()
    judgement = write_report(tmp_path, plan)
    assert judgement is not None and judgement.headline.startswith("No verdict")
    assert "No verdict" in Page((tmp_path / "report.html").read_text()).words


@pytest.mark.parametrize("options", [{"seeds": 1}, {"ngram2": 1.0}, {"corpora": False}])
def test_incomplete_studies_still_have_a_report(tmp_path: Path, options: dict[str, object]) -> None:
    plan = build_study(tmp_path, proxies=("mamba-tiny",), **options)  # type: ignore[arg-type]
    assert write_report(tmp_path, plan) is not None
    html = (tmp_path / "report.html").read_text()
    assert_self_contained(Page(html), html)
    assert "nan" not in re.findall(r"\b\w+\b", html)


def test_books_that_do_not_balance_are_shouted(tmp_path: Path) -> None:
    build_study(tmp_path, proxies=("mamba-tiny",))
    whole = json.loads((tmp_path / "manifest.json").read_text())
    whole["stages"]["dedup"]["books"]["kept"] -= 5
    (tmp_path / "manifest.json").write_text(json.dumps(whole))
    write_report(tmp_path, None)
    page = Page((tmp_path / "report.html").read_text())
    assert "The books do not balance" in page.words
    assert "off by 5" in page.words
    assert "DO NOT BALANCE" in (tmp_path / "report.md").read_text()


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest\.json"):
        write_report(tmp_path, None)


@given(st.floats(-10, 10), st.floats(1e-6, 10))
def test_ticks_are_round_and_inside(low: float, span: float) -> None:
    ticks = figures.nice_ticks(low, low + span)
    assert 1 <= len(ticks) <= 12
    assert all(low - 1e-9 <= tick <= low + span + 1e-9 for tick in ticks)
    assert ticks == sorted(ticks)


def test_axis_keeps_values_inside_the_track() -> None:
    axis = figures.Axis.around([-0.03, 0.01])
    assert 0 < axis.at(-0.03) < axis.at(0.0) < axis.at(0.01) < 100
    assert (axis.at(-5), axis.at(5)) == (0, 100)
    left, width = axis.span(-0.03, 0.01)
    assert left + width == pytest.approx(axis.at(0.01))


@given(st.text(max_size=40))
def test_markdown_text_cannot_start_markup(text: str) -> None:
    shown = markdown_text(text)
    assert "\n" not in shown and "<" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`\[\]]", shown)


@given(st.text(alphabet="`a |b", max_size=20))
def test_markdown_code_cannot_be_left(text: str) -> None:
    shown = markdown_code(text)
    ticks = re.match(r"`+", shown)
    assert ticks is not None
    inside = shown[len(ticks.group()) : -len(ticks.group())]
    assert ticks.group() not in re.findall(r"`+", inside)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1540, "1.5 kB"), (24e6, "24 MB"), (2.5e9, "2.5 GB")],
)
def test_bytes_for_people(count: float, text: str) -> None:
    assert figures.format_bytes(count) == text
