"""Reading pages compared: main text, metadata and encodings; quality on gold data, and speed on one core.

    PYTHONPATH=. python bench/extraction.py SHARED_DATA [--only text|metadata|charset] [--extractor NAME ...]
        [--sample ARCHIVE ...] [--packages SITE_PACKAGES ...]

SHARED_DATA holds web-article-extraction (article pages with the gold body), web-trafilatura-eval (pages with segments
that must, and must not, be extracted, and metadata) and encodings-chardet (files of known encoding).  --packages adds
folders of installed packages behind the own ones: peers that need nothing but themselves.  Columns of the first table:

precision, recall, F1   word 4-grams (multisets) against the gold body, mean over pages
held out                F1, and accuracy, on the half of the pages (by the hash of the HTML) on which no threshold of
                        the rules was chosen
wanted                  share of the wanted segments that were found
unwanted                share of the unwanted segments (menus, comments, notices) that were found: lower is better
accuracy                (wanted found + unwanted left out) / all segments
empty                   pages of both sets without any text
asked                   share of the pages that went to the careful extractor
pages/s, MB/s           of both sets, text to text, CPU time of this process, MB of raw HTML
whole MB/s              bytes to text and metadata: limits, decoding, extraction; own modes only
sample                  with --sample: CPU seconds, empty pages, and mean F1 of 4-grams against `careful`

A row whose extractor fails on more than a hundredth of the pages is refused.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gzip
import hashlib
import importlib.util
import json
import logging
import re
import sys
import tarfile
import time
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

from bench.extraction_charset import charset_table
from bench.extraction_metadata import metadata_table
from pipelines.readers import Limits, extract
from pipelines.readers.archives import members
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.html import MODES, PAGE_SUFFIXES, Mode, check_shape, main_text_of

_WORD = re.compile(r"\w+")
_MAX_FAILURES = 0.01

Extractor = Callable[[str], str]


def careful(html: str) -> str:
    return main_text_of(html, "careful")[0]


def fast(html: str) -> str:
    return main_text_of(html, "fast")[0]


def auto(html: str) -> str:
    return main_text_of(html, "auto")[0]


def bare_resiliparse(html: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    return str(extract_plain_text(HTMLTree.parse(html), main_content=True, alt_texts=False, comments=False))


def trafilatura_default(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html) or ""


def trafilatura_no_fallback(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html, favor_precision=True, include_comments=False, fast=True) or ""


def trafilatura_recall(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html, favor_recall=True, include_comments=False) or ""


def justext_english(html: str) -> str:
    import justext

    paragraphs = justext.justext(html, justext.get_stoplist("English"))
    return "\n".join(paragraph.text for paragraph in paragraphs if not paragraph.is_boilerplate)


def readability(html: str) -> str:
    import lxml.html
    from readability import Document

    return lxml.html.fromstring(Document(html).summary(html_partial=True)).text_content()


# name -> function, package, importable module
EXTRACTORS: dict[str, tuple[Extractor, str, str]] = {
    "careful": (careful, "trafilatura", "trafilatura"),
    "auto": (auto, "trafilatura", "trafilatura"),
    "fast": (fast, "resiliparse", "resiliparse"),
    "trafilatura, default": (trafilatura_default, "trafilatura", "trafilatura"),
    "trafilatura, recall": (trafilatura_recall, "trafilatura", "trafilatura"),
    "trafilatura, precision and fast": (trafilatura_no_fallback, "trafilatura", "trafilatura"),
    "resiliparse, main content": (bare_resiliparse, "resiliparse", "resiliparse"),
    "justext": (justext_english, "justext", "justext"),
    "readability": (readability, "readability-lxml", "readability"),
}


@dataclasses.dataclass(frozen=True)
class GoldPage:
    html: bytes
    body: str | None = None
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    @property
    def held_out(self) -> bool:
        return bool(hashlib.sha256(self.html).digest()[0] & 1)


def gold_pages(data: Path) -> list[GoldPage]:
    pages = []
    articles = data / "web-article-extraction"
    for key, gold in sorted(json.loads((articles / "ground-truth.json").read_text()).items()):
        pages.append(
            GoldPage(gzip.decompress((articles / "html" / f"{key}.html.gz").read_bytes()), gold["articleBody"])
        )
    segments = data / "web-trafilatura-eval"
    gold = json.loads((segments / "gold.json").read_text())
    with tarfile.open(segments / "pages.tar.gz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            entry = gold.get(member.name.rpartition("/")[2])
            if file and entry:
                pages.append(GoldPage(file.read(), None, tuple(entry["with"]), tuple(entry["without"])))
    return pages


def sample_pages(archives: Iterable[Path]) -> list[GoldPage]:
    pages = []
    for path in archives:
        with path.open("rb") as raw:
            for member in members(raw, path.name, Limits()):
                if member.problem is None and member.name.lower().endswith(PAGE_SUFFIXES):
                    pages.append(GoldPage(member.read(Limits().max_item_bytes)))
    return pages


def four_grams(text: str) -> collections.Counter[tuple[str, ...]]:
    words = _WORD.findall(text.lower())
    return collections.Counter(tuple(words[at : at + 4]) for at in range(max(0, len(words) - 3)))


@dataclasses.dataclass
class Score:
    precision: list[float] = dataclasses.field(default_factory=list)
    recall: list[float] = dataclasses.field(default_factory=list)
    f1: list[float] = dataclasses.field(default_factory=list)
    wanted: list[bool] = dataclasses.field(default_factory=list)
    unwanted: list[bool] = dataclasses.field(default_factory=list)
    empty: int = 0
    failed: int = 0

    @property
    def accuracy(self) -> float:
        right = sum(self.wanted) + len(self.unwanted) - sum(self.unwanted)
        return right / max(1, len(self.wanted) + len(self.unwanted))

    def add(self, page: GoldPage, text: str) -> None:
        self.empty += not text.strip()
        if page.body is not None:
            found, gold = four_grams(text), four_grams(page.body)
            hits = sum((found & gold).values())
            precision, recall = hits / max(1, sum(found.values())), hits / max(1, sum(gold.values()))
            self.precision.append(precision)
            self.recall.append(recall)
            self.f1.append(2 * precision * recall / (precision + recall) if hits else 0.0)
        flat = " ".join(text.split())
        self.wanted += [" ".join(segment.split()) in flat for segment in page.wanted]
        self.unwanted += [" ".join(segment.split()) in flat for segment in page.unwanted]


def mean(values: Iterable[float]) -> float:
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


@dataclasses.dataclass
class Measured:
    all: Score = dataclasses.field(default_factory=Score)
    held_out: Score = dataclasses.field(default_factory=Score)
    texts: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def decoded(page: GoldPage) -> str:
    return decode(page.html, declared_in_html(page.html), strip_nul=True)[0]


def measure(extractor: Extractor, pages: list[GoldPage], htmls: list[str]) -> Measured:
    found = Measured()
    for page, html in zip(pages, htmls, strict=True):
        begin = time.process_time()
        try:
            text = extractor(html)
        except Exception as error:  # counted, and the row is refused if there are many
            logging.getLogger("bench").warning("%s", error)
            found.all.failed += 1
            text = ""
        found.seconds += time.process_time() - begin
        found.texts.append(text)
        found.all.add(page, text)
        if page.held_out:
            found.held_out.add(page, text)
    return found


def whole_seconds(mode: Mode, pages: list[GoldPage]) -> float:
    """Of bytes to text and metadata."""
    begin = time.process_time()
    for page in pages:
        check_shape(page.html, Limits())
        extract(page.html, mode=mode)
    return time.process_time() - begin


def agreement(texts: list[str], others: list[str]) -> float:
    scores = []
    for text, other in zip(texts, others, strict=True):
        found, gold = four_grams(text), four_grams(other)
        total = found.total() + gold.total()
        scores.append(2 * (found & gold).total() / total if total else 1.0)
    return mean(scores)


def text_table(pages: list[GoldPage], sample: list[GoldPage], names: Iterable[str]) -> None:
    megabytes = sum(len(page.html) for page in pages) / 1e6
    print(f"{len(pages)} gold pages, {megabytes:.1f} MB of HTML; {len(sample)} sample pages\n")
    print(
        "| extractor | version | precision | recall | F1 | F1 held out | wanted | unwanted | accuracy "
        "| accuracy held out | empty | asked | pages/s | MB/s | whole MB/s | sample CPU s | sample empty "
        "| sample as careful |"
    )
    print("|" + "---|" * 18)
    htmls, sample_htmls = [decoded(page) for page in pages], [decoded(page) for page in sample]
    careful_texts: list[str] = []
    for name in names:
        function, package, module = EXTRACTORS[name]
        if importlib.util.find_spec(module) is None:
            print(f"| {name} | not installed: pip install {package} |" + " |" * 16)
            continue
        function(htmls[0])  # imports and tables are no part of the time
        found = measure(function, pages, htmls)
        if found.all.failed > _MAX_FAILURES * len(pages):
            print(f"| {name} | failed on {found.all.failed} pages |" + " |" * 16)
            continue
        asked = whole = ""
        if name in MODES:
            used = [main_text_of(html, name)[1] for html in htmls]
            asked = f"{mean(each == 'careful' for each in used):.3f}"
            whole = f"{megabytes / whole_seconds(name, pages):.1f}"
        on_sample = measure(function, sample, sample_htmls)
        if name == "careful":
            careful_texts = on_sample.texts
        alike = f"{agreement(on_sample.texts, careful_texts):.3f}" if careful_texts else ""
        spent = f"{on_sample.seconds:.1f} | {on_sample.all.empty}"
        print(
            f"| {name} | {package} {version(package)} | {mean(found.all.precision):.3f} "
            f"| {mean(found.all.recall):.3f} | {mean(found.all.f1):.3f} | {mean(found.held_out.f1):.3f} "
            f"| {mean(found.all.wanted):.3f} | {mean(found.all.unwanted):.3f} | {found.all.accuracy:.3f} "
            f"| {found.held_out.accuracy:.3f} | {found.all.empty} | {asked} | {len(pages) / found.seconds:.0f} "
            f"| {megabytes / found.seconds:.1f} | {whole} | {spent} | {alike} |",
            flush=True,
        )


def main() -> int:
    arguments = argparse.ArgumentParser(description="Main text, metadata and encodings: quality and speed.")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--only", choices=("text", "metadata", "charset"))
    arguments.add_argument("--extractor", action="append", choices=sorted(EXTRACTORS))
    arguments.add_argument("--sample", action="append", type=Path, default=[], help="archives, for speed and agreement")
    arguments.add_argument("--packages", action="append", default=[], help="folders of peers' packages")
    options = arguments.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    sys.path.extend(options.packages)
    if options.only in (None, "text"):
        text_table(gold_pages(options.data), sample_pages(options.sample), options.extractor or EXTRACTORS)
    if options.only in (None, "metadata"):
        print()
        metadata_table(options.data / "web-trafilatura-eval")
    if options.only in (None, "charset"):
        print()
        charset_table(options.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
