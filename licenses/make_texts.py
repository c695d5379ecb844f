"""Builds data/texts.bin.xz, the word sequences of the SPDX licence texts, from the list's own data (CC0-1.0).

    python -m licenses.make_texts TEXTS_TAR LIST_FOLDER

TEXTS_TAR    texts named by SPDX id (the license-list-XML project's test texts); gives the exceptions
LIST_FOLDER  the unpacked npm package spdx-license-list 6.12.0, whose licenses/*.json hold name and text

File format, inside xz: one line of JSON {"words": "w0 w1 ...", "texts": [[ids, name, kind, words], ...]}, a
newline, then the word numbers of all texts as uint16 little-endian.  `ids` are all SPDX ids with exactly
these words, the one to report first: not deprecated before deprecated, plain and -only before -or-later.
kind is license, exception or part (a piece that also stands alone, such as the LGPL 3.0 without the GPL 3.0
that its SPDX text goes on with).
"""

from __future__ import annotations

import json
import lzma
import sys
import tarfile
from pathlib import Path

import numpy as np

from licenses.tokens import words

# Deprecated ids and what the list says instead (SPDX licence list 3.x).
_RENAMED = {"StandardML-NJ": "SMLNJ", "WXwindows": "LGPL-2.0-or-later WITH WxWindows-exception-3.1"}


def main(tar_path: str, list_folder: str) -> None:
    """Writes data/texts.bin.xz beside this file and prints what it holds."""
    texts: dict[str, tuple[str, str, str]] = {}
    for path in sorted(Path(list_folder, "licenses").glob("*.json")):
        entry = json.loads(path.read_text(encoding="utf-8"))
        texts[path.stem] = (entry["name"], _kind(path.stem), entry["licenseText"])
    with tarfile.open(tar_path) as archive:
        for member in sorted(archive.getmembers(), key=lambda m: m.name):
            stream = archive.extractfile(member)
            if stream is None:
                continue
            key = Path(member.name).name.removesuffix(".txt").removeprefix("depreciate_")
            text = stream.read().decode("utf-8", "replace")
            if key not in texts:
                texts[key] = (key, _kind(key), text)
            elif words(text).words != words(texts[key][2]).words:
                texts[key + " "] = (
                    texts[key][0],
                    texts[key][1],
                    text,
                )  # a second wording of the same licence
    _parts(texts)
    grouped: dict[tuple[str, ...], list[tuple[str, str, str]]] = {}
    for key, (name, kind, text) in texts.items():
        sequence = tuple(words(text).words)
        if len(sequence) >= 8:
            grouped.setdefault(sequence, []).append((key.strip(), name, kind))
    vocabulary: dict[str, int] = {}
    table = []
    numbers: list[int] = []
    for sequence, entries in sorted(grouped.items(), key=lambda item: min(e[0] for e in item[1])):
        entries.sort(key=lambda e: _preference(e[0]))
        ids = list(dict.fromkeys(_RENAMED.get(e[0], e[0]) for e in entries))
        numbers += [vocabulary.setdefault(word, len(vocabulary)) for word in sequence]
        table.append([ids, entries[0][1], entries[0][2], len(sequence)])
    if len(vocabulary) > 65535:
        raise ValueError(f"{len(vocabulary)} words do not fit 16 bits")
    header = json.dumps({"words": " ".join(vocabulary), "texts": table}, ensure_ascii=False, separators=(",", ":"))
    payload = header.encode() + b"\n" + np.array(numbers, dtype="<u2").tobytes()
    packed = lzma.compress(payload, preset=9 | lzma.PRESET_EXTREME)
    target = Path(__file__).parent / "data" / "texts.bin.xz"
    target.write_bytes(packed)
    print(f"{len(table)} texts, {len(numbers)} words, {len(vocabulary)} distinct, {len(packed)} bytes")


_EXCEPTIONS = {"Linux-syscall-note", "LLGPL", "SHL-2.0", "SHL-2.1", "Google-Patent-WebM"}


def _kind(key: str) -> str:
    named = "exception" in key.lower() and "-with-" not in key and key != "MPL-2.0-no-copyleft-exception"
    return "exception" if named or key in _EXCEPTIONS else "license"


def _preference(key: str) -> tuple[bool, bool, bool, int, str]:
    old = key.endswith("+") or "-with-" in key or key in _RENAMED
    bare = key.startswith(("GPL-", "LGPL-", "AGPL-", "GFDL-")) and key.count("-") == 1
    return old, bare, key.endswith("-or-later"), len(key), key


def _parts(texts: dict[str, tuple[str, str, str]]) -> None:
    """Adds pieces of long texts that are published alone."""
    name, _, text = texts["LGPL-3.0-only"]
    second = text.find("GNU GENERAL PUBLIC LICENSE\n", 200)
    texts["LGPL-3.0-only  "] = (name, "part", text[:second])
    text = texts["GPL-2.0-with-classpath-exception"][2]
    texts["Classpath-exception-2.0"] = (
        "Classpath exception 2.0",
        "exception",
        text[text.rfind("Linking this library") :],
    )
    name, _, text = texts["Apache-2.0"]
    texts["Apache-2.0  "] = (name, "part", text[: text.find("APPENDIX: How to apply")])
    for key, mark in (
        ("GPL-2.0-only", "How to Apply These Terms"),
        ("GPL-3.0-only", "How to Apply These Terms"),
    ):
        name, _, text = texts[key]
        texts[key + "  "] = (name, "part", text[: text.find(mark)])


if __name__ == "__main__":
    main(*sys.argv[1:])
