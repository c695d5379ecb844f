"""Main-text extraction compared: quality on hand-made gold pages, and speed on one core.

    PYTHONPATH=. python bench/extraction.py SHARED_DATA [--extractor NAME ...] [--sample ARCHIVE ...]

SHARED_DATA holds web-article-extraction (article pages with the gold body) and web-trafilatura-eval (pages
with segments that must, and must not, be extracted).  Columns:

precision, recall, F1   word 4-grams (multisets) against the gold body, mean over pages
wanted                  share of the wanted segments that were found
unwanted                share of the unwanted segments (menus, comments, notices) that were found: lower is
better accuracy                (wanted found + unwanted left out) / all segments empty                   pages
of both sets without any text pages/s, MB/s           of both sets, CPU time of this process, raw HTML,
decoding included

A row whose extractor fails on more than a hundredth of the pages is refused.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import gzip
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

from pipelines.readers import Limits, extract
from pipelines.readers.archives import members
from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.html import PAGE_SUFFIXES

_WORD = re.compile(r"\w+")
_MAX_FAILURES = 0.01

Extractor = Callable[[str], str]


def careful(html: str) -> str:
    return extract(html, mode="careful").text


def fast(html: str) -> str:
    return extract(html, mode="fast").text


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
    "careful (favour precision)": (careful, "trafilatura", "trafilatura"),
    "trafilatura default": (trafilatura_default, "trafilatura", "trafilatura"),
    "trafilatura favour recall": (trafilatura_recall, "trafilatura", "trafilatura"),
    "trafilatura precision, no fallback": (trafilatura_no_fallback, "trafilatura", "trafilatura"),
    "fast (main content)": (fast, "resiliparse", "resiliparse"),
    "justext": (justext_english, "justext", "justext"),
    "readability": (readability, "readability-lxml", "readability"),
}


@dataclasses.dataclass(frozen=True)
class GoldPage:
    html: bytes
    body: str | None = None
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()


def gold_pages(data: Path) -> list[GoldPage]:
    pages = []
    articles = data / "web-article-extraction"
    for key, gold in sorted(json.loads((articles / "ground-truth.json").read_text()).items()):
        pages.append(
            GoldPage(
                gzip.decompress((articles / "html" / f"{key}.html.gz").read_bytes()), gold["articleBody"]
            )
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
    characters: int = 0

    def add(self, page: GoldPage, text: str) -> None:
        self.empty += not text.strip()
        self.characters += len(text)
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


def measure(extractor: Extractor, pages: list[GoldPage]) -> tuple[Score, float]:
    """Scores and CPU seconds."""
    score = Score()
    seconds = 0.0
    for page in pages:
        begin = time.process_time()
        try:
            text = extractor(decode(page.html, declared_in_html(page.html), strip_nul=True)[0])
        except Exception as error:  # counted, and the row is refused if there are many
            logging.getLogger("bench").warning("%s", error)
            score.failed += 1
            text = ""
        seconds += time.process_time() - begin
        score.add(page, text)
    return score, seconds


def main() -> int:
    arguments = argparse.ArgumentParser(description="Main-text extraction: quality and speed.")
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--extractor", action="append", choices=sorted(EXTRACTORS))
    arguments.add_argument(
        "--sample", action="append", type=Path, default=[], help="archives, for speed only"
    )
    options = arguments.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    pages = gold_pages(options.data)
    sample = sample_pages(options.sample)
    megabytes = sum(len(page.html) for page in pages) / 1e6
    print(f"{len(pages)} gold pages, {megabytes:.1f} MB of HTML; {len(sample)} sample pages\n")
    print(
        "| extractor | version | precision | recall | F1 | wanted | unwanted | accuracy | empty "
        "| pages/s | MB/s | sample CPU s | sample empty |"
    )
    print("|" + "---|" * 13)
    for name in options.extractor or EXTRACTORS:
        function, package, module = EXTRACTORS[name]
        if importlib.util.find_spec(module) is None:
            print(f"| {name} | not installed: pip install {package} |" + " |" * 11)
            continue
        score, seconds = measure(function, pages)
        if score.failed > _MAX_FAILURES * len(pages):
            print(f"| {name} | failed on {score.failed} pages |" + " |" * 11)
            continue
        right = sum(score.wanted) + len(score.unwanted) - sum(score.unwanted)
        accuracy = right / (len(score.wanted) + len(score.unwanted))
        on_sample, sample_seconds = measure(function, sample)
        print(
            f"| {name} | {package} {version(package)} | {mean(score.precision):.3f} "
            f"| {mean(score.recall):.3f} | {mean(score.f1):.3f} "
            f"| {mean(score.wanted):.3f} | {mean(score.unwanted):.3f} "
            f"| {accuracy:.3f} "
            f"| {score.empty} | {len(pages) / seconds:.0f} | {megabytes / seconds:.1f} "
            f"| {sample_seconds:.1f} | {on_sample.empty} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
