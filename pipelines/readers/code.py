"""Source trees: one document a file, whether it lies in a directory or in an archive.

Everything that is not binary and decodes is kept, minified and generated files too: rules decide about those
later, with a reason that a waterfall can show.  Left out by suffix are pictures, fonts, object files, message
catalogues and bulk data, which no rule for code could judge.
"""

from __future__ import annotations

import json
from typing import Any

from licenses.files import states_license
from licenses.identifiers import sha256_hex, swhid_content
from pipelines.readers.charset import declared_in_source, decode
from pipelines.readers.project import Project
from pipelines.readers.records import (
    Document,
    Refused,
    Skipped,
    safe_meta,
    safe_text,
)

# fmt: off
ASSET_SUFFIXES = tuple(f".{suffix}" for suffix in (
    # pictures, fonts, sound, film
    "png jpg jpeg gif bmp ico icns webp tif tiff svg svgz psd xcf eps ai ttf otf woff woff2 eot pfb afm "
    "mp3 mp4 ogg oga ogv wav flac webm avi mov mkv "
    # object and byte code, packed programs
    "o a so dylib dll exe lib obj pyc pyo pyd class jar war wasm beam elc node bin img iso dmg deb rpm msi "
    # message catalogues, source maps, signatures
    "po pot mo gmo map asc sig pem crt cer der p12 "
    # bulk data and office files
    "csv tsv npy npz pkl pickle joblib parquet feather arrow orc h5 hdf5 mat rds rdata "
    "db sqlite sqlite3 dat pcap "
    "pdf ps dvi doc docx xls xlsx ppt pptx odt ods odp epub swf ds_store"
).split())
# Text for people; everything else that decodes is a programming, markup or data language.
PROSE_SUFFIXES = (".md", ".markdown", ".rst", ".txt", ".adoc", ".asciidoc", ".textile", ".rdoc", ".wiki")
_PROSE_NAMES = frozenset(
    "readme license licence copying copyright notice authors contributors changelog changes history "
    "news install todo "
    "thanks maintainers credits".split()
)
# Files with a prose suffix that a tool reads.
_CODE_NAMES = ("cmakelists.txt", "requirements", "constraints", "robots.txt")
_PACKAGING_NAMES = frozenset(
    "RECORD WHEEL INSTALLER REQUESTED METADATA PKG-INFO SOURCES.txt top_level.txt entry_points.txt "
    "requires.txt "
    "dependency_links.txt not-zip-safe zip-safe direct_url.json namespace_packages.txt RECORD.jws".split()
)
_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", "CVS", "__MACOSX"})
# fmt: on
NOTEBOOK_SUFFIX = ".ipynb"


def skip_reason(path: str) -> str | None:
    """The drop reason that the path alone gives, or None."""
    *directories, name = path.split("/")
    if _VERSION_CONTROL.intersection(directories):
        return "packaging"
    if name in _PACKAGING_NAMES and (
        name == "PKG-INFO" or any(part.endswith((".dist-info", ".egg-info")) for part in directories)
    ):
        return "packaging"
    return "asset" if name.lower().endswith(ASSET_SUFFIXES) else None


def kind_of(path: str) -> str:
    name = path.rpartition("/")[2].lower()
    if name.endswith(NOTEBOOK_SUFFIX):
        return "notebook"
    if name.startswith(_CODE_NAMES):
        return "code"
    if name.endswith(PROSE_SUFFIXES) or name.split(".")[0] in _PROSE_NAMES and "." not in name:
        return "prose"
    return "prose" if states_license(name) else "code"


def read_code(
    data: bytes,
    path: str,
    locator: str,
    source: str,
    document_kind: str | None,
    project: Project,
    archive: str | None,
    *,
    notebook: str = "text",
) -> Document:
    """One file as a document; `path` without the archive's top folder.  Raises Refused or Skipped.

    notebook   `text`: sources of the cells; `json`: the whole notebook, for shapes that look at cells and outputs
    """
    if not data:
        raise Skipped("empty")
    kind = kind_of(path)
    mime = None
    extra: dict[str, str | None] = {}
    if kind == "notebook":
        text, language = notebook_text(data)
        if notebook == "json" and text.strip():
            text = data.decode("utf-8-sig")
        mime = "application/x-ipynb+json"
        extra["notebook_language"] = language
    else:
        text, encoding = (data.decode("ascii"), "utf-8") if _is_plain(data) else decode(data, declared_in_source(data))
        extra["encoding"] = encoding if encoding != "utf-8" else None
    text = safe_text(text)[0]
    if text.isspace() or not text:
        raise Skipped("empty")
    license = project.license_of(path)
    return Document(
        locator=locator, source=source, kind=document_kind or kind, text=text,
        repo=project.repo, path=safe_text(path)[0], mime=mime,
        content_sha256=sha256_hex(data), swhid=swhid_content(data),
        meta=safe_meta({
            "license": license, "detected_licenses": project.detected_above(path, license), "archive": archive,
            "name": project.name, "version": project.version, **extra,
        }),
    )  # fmt: skip


# Bytes below the space that no text has, with ESC, which begins a change of the character set.
_CONTROLS = bytes(code for code in (*range(32), 127) if code not in b"\t\n\f\r")


def _is_plain(data: bytes) -> bool:
    """True for ASCII without control characters: most code, which needs no guess (`~{` may begin a Chinese text)."""
    return data.isascii() and len(data.translate(None, _CONTROLS)) == len(data) and b"~{" not in data


def notebook_text(data: bytes) -> tuple[str, str | None]:
    """Sources of the code and markdown cells of nbformat 3 or 4, joined by a blank line, and the kernel's
    language.

    Outputs and raw cells are left out.  Raises Refused.
    """
    try:
        book = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise Refused("undecodable", "a notebook must be UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise Refused("bad_json", f"notebook: {type(error).__name__}") from error
    cells = _cells(book)
    if cells is None:
        raise Refused("bad_json", "a notebook without a list of cells")
    pieces = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") in ("code", "markdown", "heading"):
            lines = cell.get("source", cell.get("input", ""))
            if isinstance(lines, list) and all(isinstance(line, str) for line in lines):
                lines = "".join(lines)
            if not isinstance(lines, str):
                raise Refused("bad_json", "a notebook cell without source lines")
            pieces.append(lines)
    metadata = book.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    for key, field in (("language_info", "name"), ("kernelspec", "language")):
        info = metadata.get(key)
        if isinstance(info, dict) and isinstance(info.get(field), str):
            return "\n\n".join(pieces), info[field]
    return "\n\n".join(pieces), None


def _cells(book: Any) -> list[Any] | None:
    if not isinstance(book, dict):
        return None
    if isinstance(book.get("cells"), list):
        return book["cells"]
    sheets = book.get("worksheets")
    if isinstance(sheets, list) and all(isinstance(s, dict) and isinstance(s.get("cells"), list) for s in sheets):
        return [cell for sheet in sheets for cell in sheet["cells"]]
    return None
