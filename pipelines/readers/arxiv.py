"""arXiv sources to documents: one a paper.

    arXiv_src_2105_001.tar      of 2105/2105.00001.gz (a .tex file, or a tar of many), 2105/2105.00002.pdf ...
    2105.00001.gz  .tar.gz  .tex         papers on their own

(info.arxiv.org/help/bulk_data_s3.html).  The text is LaTeX, cleaned by arxiv_latex.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.archives import BrokenContainer, is_archive, members
from pipelines.readers.arxiv_latex import clean_paper
from pipelines.readers.charset import decode
from pipelines.readers.limits import Limits
from pipelines.readers.records import Document, Item, Refused, Skipped, safe_meta, safe_text
from pipelines.readers.streams import inflated, read_limited
from pipelines.readers.units import excluded

if TYPE_CHECKING:
    from pipelines.readers.reading import Reading
    from pipelines.readers.units import UnitFile

TEX_SUFFIXES = (".tex", ".ltx", ".latex")
# info.arxiv.org/help/arxiv_identifier.html: archive/YYMMNNN until March 2007, then YYMM.NNNN, from 2015 on YYMM.NNNNN.
_NEW_ID = re.compile(r"(?<![\d.])(\d{2})(0[1-9]|1[0-2])\.(\d{4,5})(v\d{1,2})?(?!\d)")
_OLD_ID = re.compile(r"(?<![a-z])([a-z][a-z-]{1,15}(?:\.[A-Z]{2})?)/?(\d{2})(0[1-9]|1[0-2])(\d{3})(v\d{1,2})?(?!\d)")
_INPUTENC = re.compile(rb"\\usepackage\s*\[\s*([\w-]{1,20})\s*\]\s*\{\s*(?:inputenc|inputenx)\s*\}")
# Options of LaTeX's inputenc that Python knows by another name (inputenc.dtx).
_ENCODINGS = {
    "ansinew": "cp1252", "applemac": "mac_roman", "latin9": "iso8859_15", "latin10": "iso8859_16", "utf8x": "utf-8",
    "cp437de": "cp437", "cp858": "cp858", "macce": "mac_latin2", "maccyr": "mac_cyrillic",
}  # fmt: skip
_PEEK_BYTES = tarfile.BLOCKSIZE


def read_papers(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    """Locator: `name`, in a tar `name!member`.

    Of a tar of many papers the unit reads its part; a paper in an archive of its own is read by part 0.
    """
    name = file.name
    if _is_bulk(name):
        yield from _bulk(raw, file, reading)
        return
    if reading.unit.part:
        return
    try:
        if not (file.given or _may_be_paper(name)):
            raise Skipped("other_file")
        if name.lower().endswith(".pdf"):
            raise Skipped("no_latex")
        limit = reading.limits.max_item_bytes
        if file.size > limit:
            raise Refused("too_large", f"{file.size} bytes, more than {limit}")
        yield _paper(raw.read(limit + 1), name, name, reading)
    except Skipped as skipped:
        yield skipped.at(name)
    except Refused as refused:
        yield refused.at(name)


def _is_bulk(name: str) -> bool:
    """True for an archive of many papers: `arXiv_src_...`, or a tar or zip that no paper's number names."""
    if not is_archive(name) or paper_id(name):
        return False
    lower = name.rpartition("/")[2].lower()
    return lower.startswith("arxiv_src") or lower.endswith((".tar", ".zip"))


def _may_be_paper(name: str) -> bool:
    """By the suffix; a source that was fetched by its number has none."""
    base = name.rpartition("/")[2]
    if base.lower().endswith((".gz", ".tgz", ".tar", ".zip", ".pdf", *TEX_SUFFIXES)):
        return True
    return bool(_NEW_ID.fullmatch(base) or _OLD_ID.fullmatch(base))


def _bulk(raw: BinaryIO, file: UnitFile, reading: Reading) -> Iterator[Item]:
    unit = reading.unit
    try:
        for member in members(raw, file.name, reading.limits):
            if member.index % unit.parts != unit.part:
                continue
            locator = f"{file.name}!{member.name}"
            problem = member.problem
            if isinstance(problem, Refused) and problem.error == "nested_archive":
                member.problem = None  # that is what a paper is
            try:
                if excluded(locator, unit.exclude):
                    raise Skipped("excluded")
                if member.problem is not None:
                    raise member.problem
                if not _may_be_paper(member.name):
                    raise Skipped("other_file")
                if member.name.lower().endswith(".pdf"):
                    raise Skipped("no_latex")
                yield _paper(member.read(reading.limits.max_item_bytes), member.name, locator, reading)
            except Skipped as skipped:
                yield skipped.at(locator)
            except BrokenContainer:
                raise
            except Refused as refused:
                yield refused.at(locator)
    except Refused as refused:
        if unit.part == 0:
            yield refused.at(file.name)


def _paper(data: bytes, path: str, locator: str, reading: Reading) -> Document:
    if not data:
        raise Skipped("empty")
    files = {name: _text(content) for name, content in tex_files(data, path, reading.limits).items()}
    paper = clean_paper(files, reading.options["without_sections"])
    if not paper.text:
        raise Skipped("no_main_text")
    known = paper_id(path)
    number, month = known if known else (None, None)
    unit = reading.unit
    return Document(
        locator=locator, source=unit.source, kind=unit.document_kind or "prose", text=safe_text(paper.text)[0],
        url=f"https://arxiv.org/abs/{number}" if number else None, timestamp=f"{month}-01" if month else None,
        mime="application/x-tex", content_sha256=sha256_hex(data), swhid=swhid_content(data),
        meta=safe_meta({
            "title": paper.title, "arxiv_id": number, "files": str(len(files)),
            "missing": ",".join(paper.missing[:20]), "unused": ",".join(paper.unused[:20]),
        }),
    )  # fmt: skip


def paper_id(path: str) -> tuple[str, str] | None:
    """arXiv's identifier (without version) and the month it names, `YYYY-MM`, from a file name; None without one."""
    name = path.rpartition("/")[2]
    if match := _NEW_ID.search(name):
        return f"{match[1]}{match[2]}.{match[3]}", f"20{match[1]}-{match[2]}"
    folder_and_name = "/".join(path.split("/")[-2:])
    for text in (name, folder_and_name):
        if match := _OLD_ID.search(text):
            century = "19" if match[2] >= "91" else "20"  # arXiv began in 1991
            return f"{match[1]}/{match[2]}{match[3]}{match[4]}", f"{century}{match[2]}-{match[3]}"
    return None


def tex_files(data: bytes, path: str, limits: Limits) -> dict[str, bytes]:
    """The TeX files of a paper by name.  Raises Refused, and Skipped('no_latex') where there are none."""
    packed = data.startswith(b"\x1f\x8b")
    content = inflated(io.BytesIO(data), "gzip" if packed else None, limits)
    head = content.peek(_PEEK_BYTES)[:_PEEK_BYTES]
    if _is_tar(head) or path.lower().endswith((".tar", ".tar.gz", ".tgz")):
        return _tar_files(data, "paper.tar.gz" if packed else "paper.tar", limits)
    if head.startswith(b"PK\3\4"):
        return _tar_files(data, "paper.zip", limits)
    if head.startswith((b"%PDF", b"%!PS", b"\x04%!PS")):
        raise Skipped("no_latex")
    text = read_limited(content, limits.max_item_bytes, "paper")
    if not text.strip():
        raise Skipped("empty")
    return {"paper.tex": text}


def _is_tar(head: bytes) -> bool:
    """By the check sum of the first header, which old tars without a signature have too."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def _tar_files(data: bytes, name: str, limits: Limits) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    left = limits.max_item_bytes
    try:
        for member in members(io.BytesIO(data), name, limits):
            if not member.name.lower().endswith(TEX_SUFFIXES) or isinstance(member.problem, Skipped):
                continue
            content = member.read(left)
            left -= len(content)
            found[member.name.removeprefix("./")] = content
    except BrokenContainer as broken:  # of the paper, not of the archive that it came in
        raise Refused(broken.error, broken.message) from broken
    if not found:
        raise Skipped("no_latex")
    return found


def _text(data: bytes) -> str:
    match = _INPUTENC.search(data)
    declared = match[1].decode().lower() if match else ""
    text, _ = decode(data, [_ENCODINGS.get(declared, declared)] if declared else ())
    return text.replace("\r\n", "\n").replace("\r", "\n")
