"""What pages say of themselves: own reading against trafilatura's, on the gold of web-trafilatura-eval."""

from __future__ import annotations

import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.readers.charset import declared_in_html, decode
from pipelines.readers.page_metadata import page_metadata

_FIELDS = ("title", "date", "author", "license")


def trafilatura_metadata(html: str) -> dict[str, str | None]:
    from trafilatura.metadata import extract_metadata

    found = extract_metadata(html)
    return {field: getattr(found, field, None) for field in _FIELDS}


def own_metadata(html: str) -> dict[str, str | None]:
    found = page_metadata(html)
    return {field: getattr(found, field) for field in _FIELDS}


def folded(value: Any) -> str:
    """Letters and digits, so that neither dashes nor quotation marks decide."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
    return " ".join(re.findall(r"\w+", text.casefold()))


def metadata_table(folder: Path) -> None:
    """Of the pages whose gold has the field: right; another value; none.  Then those with a value and no gold (the
    annotators left fields out, so that this is no count of errors)."""
    gold = json.loads((folder / "gold.json").read_text())
    pages: list[tuple[str, dict[str, Any]]] = []
    with tarfile.open(folder / "pages.tar.gz") as archive:
        for member in archive:
            file, entry = archive.extractfile(member), gold.get(member.name.rpartition("/")[2])
            if file and entry:
                data = file.read()
                pages.append((decode(data, declared_in_html(data), strip_nul=True)[0], entry))
    print("| metadata | field | gold | right | other | none | without gold | CPU s |")
    print("|" + "---|" * 8)
    readers: dict[str, Callable[[str], dict[str, str | None]]] = {
        "own": own_metadata,
        "trafilatura": trafilatura_metadata,
    }
    for name, read in readers.items():
        read(pages[0][0])
        begin = time.process_time()
        found = [read(html) for html, _ in pages]
        seconds = time.process_time() - begin
        for field in _FIELDS:
            known = [
                (folded(values[field]), folded(entry.get(field)))
                for values, (_, entry) in zip(found, pages, strict=True)
            ]
            with_gold = [(value, truth) for value, truth in known if truth]
            right = sum(value == truth for value, truth in with_gold)
            missing = sum(not value for value, _ in with_gold)
            extra = sum(bool(value) and not truth for value, truth in known)
            print(
                f"| {name} | {field} | {len(with_gold)} | {right} | {len(with_gold) - right - missing} | {missing} "
                f"| {extra} | {seconds:.2f} |"
            )
