from __future__ import annotations

import gzip
import io
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Item, Limits, Rejected, Source, plan_units, read_unit
from pipelines.readers.arxiv import paper_id
from pipelines.readers.arxiv_latex import Paper, clean_paper, expand, read_macros, resolved, without_comments
from pipelines.readers.records import Refused
from pipelines.readers.units import Unit, UnitFile

DATA = Path(__file__).parents[2] / "data" / "readers" / "arxiv"
SECTION = "\\section{A}\n"
LIMITS = Limits()


def tar(files: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def read(path: Path, limits: Limits = LIMITS, **options: str) -> list[Item]:
    source = Source("arxiv", "arxiv", (str(path),), options=tuple(options.items()), limits=limits)
    return [item for unit in plan_units(source) for item in read_unit(unit, limits)]


def outcomes(items: list[Item]) -> list[tuple[str, str]]:
    found = []
    for item in items:
        what = item.reason if isinstance(item, Dropped) else item.error if isinstance(item, Rejected) else "document"
        found.append((item.locator, what))
    return found


def paper_files() -> dict[str, bytes]:
    folder = DATA / "paper"
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.tex"))}


def clean(**files: str) -> Paper:
    return clean_paper({f"{name}.tex": text for name, text in files.items()})


def test_paper_of_many_files(tmp_path: Path) -> None:
    files = {**paper_files(), "figure.pdf": b"%PDF", "paper.bbl": b"\\bibitem{a}", "main.aux": b""}
    bulk = tar({"2105/": b"", "2105/2105.00012.gz": gzip.compress(tar(files)), "2105/2105.00013.pdf": b"%PDF-1.5"})
    (tmp_path / "arXiv_src_2105_001.tar").write_bytes(bulk)
    document, *rest = read(tmp_path / "arXiv_src_2105_001.tar")[1:]
    assert isinstance(document, Document)
    assert document.text == (DATA / "paper.txt").read_text().strip()
    assert document.url == "https://arxiv.org/abs/2105.00012" and document.timestamp == "2021-05-01"
    assert document.locator == "arXiv_src_2105_001.tar!2105/2105.00012.gz"
    assert document.meta == {
        "title": 'On Balls and B\\"ohm', "arxiv_id": "2105.00012", "files": "3", "missing": "sections/missing",
        "unused": "unused.tex",
    }  # fmt: skip
    assert rest == [Dropped("arXiv_src_2105_001.tar!2105/2105.00013.pdf", "no_latex")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("2105/2105.00012.gz", ("2105.00012", "2021-05")),
        ("0704.0001v2.tar.gz", ("0704.0001", "2007-04")),
        ("hep-th9901001.gz", ("hep-th/9901001", "1999-01")),
        ("math.AG0003002v1", ("math.AG/0003002", "2000-03")),
        ("hep-th/0703123", ("hep-th/0703123", "2007-03")),
        ("arXiv_src_2105_001.tar", None),
        ("2113.00012.gz", None),
        ("paper.tex", None),
        ("v1.2105.000123.gz", None),
    ],
)
def test_paper_id(path: str, expected: tuple[str, str] | None) -> None:
    assert paper_id(path) == expected


def test_papers_on_their_own(tmp_path: Path) -> None:
    text = b"\\documentclass{a}\\begin{document}" + SECTION.encode() + b"text\\end{document}"
    (tmp_path / "0704.0001.gz").write_bytes(gzip.compress(text))
    (tmp_path / "0704.0002.tar.gz").write_bytes(gzip.compress(tar({"./a.tex": text})))
    (tmp_path / "0704.0003v1").write_bytes(tar({"a.TEX": text}))
    (tmp_path / "0704.0004.gz").write_bytes(gzip.compress(b"%PDF-1.4"))
    (tmp_path / "0704.0005.gz").write_bytes(gzip.compress(b"%!PS-Adobe"))
    (tmp_path / "0704.0006.gz").write_bytes(gzip.compress(tar({"a.eps": b"%!PS"})))
    with zipfile.ZipFile(tmp_path / "0704.0007.zip", "w") as archive:
        archive.writestr("a.tex", text)
    (tmp_path / "notes.tex").write_bytes(b"\\begin{document}No header.\\end{document}")
    (tmp_path / "README.md").write_bytes(b"# Notes")
    (tmp_path / "old.tar").write_bytes(tar({"a.tex": text}, tarfile.USTAR_FORMAT))
    assert outcomes(read(tmp_path)) == [
        ("0704.0001.gz", "document"), ("0704.0002.tar.gz", "document"), ("0704.0003v1", "document"),
        ("0704.0004.gz", "no_latex"), ("0704.0005.gz", "no_latex"), ("0704.0006.gz", "no_latex"),
        ("0704.0007.zip", "document"), ("README.md", "other_file"), ("notes.tex", "no_main_text"),
        ("old.tar!a.tex", "document"),
    ]  # fmt: skip
    assert outcomes(read(tmp_path / "notes.tex", without_sections="document")) == [("notes.tex", "document")]


def test_parts_of_an_archive_give_each_paper_once(tmp_path: Path) -> None:
    bulk = tar({f"2105/2105.0000{n}.gz": gzip.compress(f"{SECTION}{n}".encode()) for n in range(10)})
    path = tmp_path / "arXiv_src_2105_001.tar"
    path.write_bytes(bulk)
    file = UnitFile(str(path), path.name, len(bulk), given=True)
    parts = [list(read_unit(Unit("arxiv", "arxiv", (file,), part=part, parts=3))) for part in range(3)]
    assert [len(items) for items in parts] == [4, 3, 3]
    assert sorted(str(i) for items in parts for i in items) == sorted(str(i) for i in read(path))


def test_encodings(tmp_path: Path) -> None:
    for number, (option, codec) in enumerate([("latin1", "latin-1"), ("koi8-r", "koi8-r"), ("applemac", "mac_roman")]):
        text = f"\\usepackage[{option}]{{inputenc}}\r\n\\section{{Ж\xfc}}\r\n"
        text = text.replace("\xfc" if codec == "koi8-r" else "Ж", "")
        (tmp_path / f"{number}.tex").write_bytes(text.encode(codec))
    texts = [item.text for item in read(tmp_path) if isinstance(item, Document)]
    assert texts == ["\\section{\xfc}", "\\section{Ж}", "\\section{\xfc}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a % b\n%c\n  % d\ne\\%f \\\\% g", "a \ne\\%f \\\\"),
        ("% a\n% b", ""),
        ("%a\n\n%b\nc", "\nc"),
        ("\\iffalse a \\ifx b \\fi c \\fi d \\iffalse e", " d \\iffalse e"),
        ("\\begin{comment}a\\end{comment}b \\begin{comment}c", "b \\begin{comment}c"),
        ("\\iffalsehood % a\nb", "\\iffalsehood \nb"),
    ],
)
def test_comments(text: str, expected: str) -> None:
    assert without_comments(text, []) == expected


def test_verbatim_text_is_kept() -> None:
    kept: list[str] = []
    text = "\\verb|%a| \\verb*+%+ \\url{d%e} \\verb|b\n%c|\n\\begin{lstlisting}[f]\n%g\n\\end{lstlisting}"
    assert without_comments(text, kept) == "\x000\x00 \x001\x00 \x002\x00 \\verb|b\n\x003\x00"
    assert kept == ["\\verb|%a|", "\\verb*+%+", "\\url{d%e}", "\\begin{lstlisting}[f]\n%g\n\\end{lstlisting}"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("\\newcommand{\\a}{x}\\newcommand\\b {\\a y}\\def\\c{\\b{z}}" + SECTION + "\\c \\a1 \\ab", "x y{z} x1 \\ab"),
        ("\\def\\a{1}\\renewcommand{\\a}{2}" + SECTION + "\\a", "2"),
        ("\\providecommand*{\\a}{\\}\\{}" + SECTION + "\\a.", "\\}\\{."),
        ("\\def\\a{\\b}\\def\\b{\\a}" + SECTION + "\\a \\b", "\\a \\a"),
        ("\\def\\a{\\a x}" + SECTION + "\\a", "\\a"),
        ("\\def\\a#1{x}\\newcommand{\\b}[1]{#1}\\newcommand{\\c}{" + SECTION + "\\a\\b\\c", "\\a\\b\\c"),
        ("\\def\\section{no}\\def\\x{y@z}\\begin{document}" + SECTION + "\\x", "\\x"),
        (SECTION + "\\def\\a{x}\\a", "x"),
    ],
)
def test_macros(source: str, text: str) -> None:
    assert clean(a=source).text.removeprefix(SECTION) == text


@pytest.mark.parametrize(
    "end",
    [
        "\\appendix", "\\begin{references}", "\\begin{REFERENCES}", "\\begin{thebibliography}{9}",
        "\\bibliography{a,b}", "\\printbibliography", "\\begin{appendices}", "\\end{document}",
    ],
)  # fmt: skip
def test_what_ends_a_paper(end: str) -> None:
    assert clean(a=f"before {SECTION}text\n{end}\n\\section{{B}}").text == SECTION + "text"
    assert "more" in clean(a=SECTION + "\\appendixname more \\bibliographystyle{a} \\thebibliography more").text


@pytest.mark.parametrize("header", ["chapter", "part", "section", "subsection*", "paragraph", "subparagraph[short]"])
def test_what_begins_a_paper(header: str) -> None:
    assert clean(a=f"a\\begin{{document}}b \\sectionmark{{c}}\\{header}{{d}} e").text == f"\\{header}{{d}} e"


def test_documents_and_their_includes() -> None:
    top, end = "\\documentclass{a}\\begin{document}", "\\includegraphics{c}\\end{document}"
    files = {
        "b.tex": f"{top}\\section{{B}}\\input shared \\subimport{{x/}}{{y}}{end}",
        "a.tex": f"{top}\\section{{A}}\\input{{shared.tex}} \\import{{x}}{{y}}{end}",
        "shared.tex": "S\\input{shared}\\input{deep}",
        "deep.tex": "D\\include{shared}\\endinput no", "x/y.tex": "Y\\input{z}", "x/z.tex": "Z", "loose.tex": SECTION,
    }  # fmt: skip
    paper = clean_paper(files)
    body = "SD YZ\\includegraphics{c}"
    assert paper.text == f"\\section{{A}}{body}\n\n\\section{{B}}{body}"
    assert (paper.missing, paper.unused) == ((), ("loose.tex",))
    assert clean(a=SECTION + "1", b="\\section{B}2").text == SECTION + "1\n\n\\section{B}2"
    assert clean(a=SECTION + "\\input{../../etc/passwd}").missing == ("../../etc/passwd",)


def multiplying_files() -> dict[str, str]:
    files = {f"f{n}.tex": f"\\input{{f{n + 1}}}" * 30 for n in range(12)}
    return {**files, "f12.tex": "x" * 100, "a.tex": SECTION + "\\input{f0}"}


def test_bombs_are_bounded() -> None:
    started = time.process_time()
    with pytest.raises(Refused, match="includes multiply"):
        clean_paper(multiplying_files())
    names = ["a" * n for n in range(1, 31)]
    macros = "".join(f"\\def\\{a}{{\\{b}\\{b}\\{b}\\{b}}}" for a, b in zip(names, names[1:], strict=False))
    text = macros + f"\\def\\{names[-1]}{{lol}}" + SECTION + "".join(f"\\{name} " for name in names)
    assert len(clean(a=text).text) < 100_000
    with pytest.raises(Refused, match="macros multiply"):
        clean(a="\\def\\a{%s}" % ("x" * 1900) + SECTION + "\\a" * 2_000_000)
    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    "piece",
    (
        "{ } \\def\\a{ \\newcommand{\\a}{b} \\begin{verbatim} \\begin{comment} \\iffalse \\verb| \\verb|%| % \\ \\url{ "
        "\\url{%} \\input{a} \\section{ \\title{ \\title[ \\a \\import{ \\if \\fi x \\begin{document} \\end{abstract}"
    ).split(" ")
    + [" ", "\n", "%\n", " %a\n", "\\input "],
)
def test_time_is_linear(piece: str) -> None:
    def seconds(count: int) -> float:
        text = SECTION + piece * count
        started = time.process_time()
        clean(b=text)
        return time.process_time() - started

    seconds(10)
    assert seconds(20_000) < max(0.15, 9 * seconds(5_000))


def test_ten_megabytes_of_one_line() -> None:
    started = time.process_time()
    for line in ("\\alpha x^{2} \\verb|a| " * 400_000, "word " * 2_000_000):
        assert clean(a=SECTION + line).text
    assert time.process_time() - started < 12


PIECES = (
    "\\def \\a \\b {x} { } % \n \\\\ \\% \\verb| | \\section{s} \\begin{verbatim} \\end{verbatim} \\iffalse \\fi "
    "\\input{b} \\appendix \\newcommand \\newcommand{\\b}{\\a} \\begin{document} é \x00 \\url{ * [1]"
).split(" ")


@given(st.lists(st.sampled_from([*PIECES, " "])).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_source_ends(source: str) -> None:
    paper = clean_paper({"a.tex": source, "b.tex": "b"}, "document")
    assert "\x00" not in paper.text and paper.text == paper.text.strip()
    macros = resolved(read_macros(source))
    assert expand("\\a \\b", macros, 10_000)


INNER = gzip.compress(SECTION.encode() * 50)
HOSTILE: dict[str, tuple[dict[str, bytes], list[tuple[str, str]]]] = {
    "cut": ({"2105.00001.gz": INNER[:-6]}, [("2105.00001.gz", "truncated")]),
    "no gzip": ({"2105.00001.gz": b"\x1f\x8bnot gzip at all"}, [("2105.00001.gz", "broken_record")]),
    "cut tar": (
        {"2105.00001.gz": gzip.compress(tar({"a.tex": b"x" * 5000})[:2000]), "b.tex": SECTION.encode()},
        [("2105.00001.gz", "truncated"), ("b.tex", "document")],
    ),
    "traversal": ({"2105.00001.gz": gzip.compress(tar({"../a.tex": b"x"}))}, [("2105.00001.gz", "path_traversal")]),
    "outer traversal": ({"../2105.00001.gz": INNER}, [("../2105.00001.gz", "path_traversal")]),
    "binary": ({"2105.00001.gz": gzip.compress(b"\\section{a}\0\0\0\1")}, [("2105.00001.gz", "binary")]),
    "bomb": ({"2105.00001.gz": gzip.compress(b" " * (40 << 20))}, [("2105.00001.gz", "zip_bomb")]),
    "includes": (
        {"2105.00001.gz": gzip.compress(tar({name: text.encode() for name, text in multiplying_files().items()}))},
        [("2105.00001.gz", "too_large")],
    ),
    "empty": (
        {"2105.00001.gz": gzip.compress(b"  \n"), "2105.00002.gz": b""},
        [("2105.00001.gz", "empty"), ("2105.00002.gz", "empty")],
    ),
    "other": ({"README": b"x"}, [("README", "other_file")]),
    "no header": ({"2105.00001.gz": gzip.compress(b"text")}, [("2105.00001.gz", "no_main_text")]),
    "twice": ({"a.tex": b"\\section{a}", "b/../a.tex": b""}, [("a.tex", "document"), ("b/../a.tex", "path_traversal")]),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives(tmp_path: Path, name: str) -> None:
    files, expected = HOSTILE[name]
    (tmp_path / "x.tar").write_bytes(tar(files))
    assert outcomes(read(tmp_path / "x.tar")) == [(f"x.tar!{member}", what) for member, what in expected]


def test_cut_archive_gives_what_stands_before(tmp_path: Path) -> None:
    bulk = tar({"2105.00001.gz": INNER, "2105.00002.gz": gzip.compress(bytes(range(256)) * 40)})
    (tmp_path / "x.tar").write_bytes(bulk[:1800])
    assert outcomes(read(tmp_path / "x.tar")) == [("x.tar!2105.00001.gz", "document"), ("x.tar", "truncated")]


def test_papers_over_the_limit(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(
        tar({"a.tex": b"x" * 3000, "b.gz": gzip.compress(tar({"a.tex": b"x" * 1500, "b.tex": b"y" * 1500}))})
    )
    items = read(tmp_path / "x.tar", Limits(max_item_bytes=2000))
    assert outcomes(items) == [("x.tar!a.tex", "too_large"), ("x.tar!b.gz", "too_large")]
