"""Encodings found without a declaration, by own detection and by others, on files and on made texts.

Files: encodings-chardet, whose folders name the encoding.  The choice between two detectors in charset.py was made on
these.  Texts: paragraphs of udhr-languages, encoded in each encoding that holds all of their characters and in which
they are not plain ASCII: nothing was chosen on these.  A file counts as right if the text is that of the encoding, or
of the larger one that browsers read it as (WHATWG Encoding Standard, section 4.2).
"""

from __future__ import annotations

import codecs
import collections
import gzip
import importlib.util
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelines.readers.charset import codec_name, decode
from pipelines.readers.records import Refused

Detector = Callable[[bytes], str | None]  # the text

# Encodings of the made texts, and the languages (ISO 639-3) that were written in them.
_MADE = {
    "cp1250": ("ces", "pol", "slk", "hun", "ron_2006", "slv", "hrv"),
    "iso8859_2": ("ces", "pol", "slk", "hun", "slv", "hrv"),
    "cp1251": ("rus", "ukr", "bul", "bel", "srp_cyrl"),
    "koi8_r": ("rus", "bul"),
    "cp1252": ("deu_1996", "fra", "spa", "por_PT", "swe", "ita", "nld", "dan", "fin", "isl"),
    "cp1253": ("ell_monotonic",),
    "iso8859_7": ("ell_monotonic",),
    "cp1254": ("tur",),
    "cp1255": ("heb",),
    "cp1256": ("arb", "pes_1"),
    "cp1257": ("lit", "lvs", "ekk"),
    "cp1258": ("vie",),
    "cp874": ("tha",),
    "gb18030": ("cmn_hans",),
    "big5": ("cmn_hant",),
    "cp932": ("jpn",),
    "euc_jp": ("jpn",),
    "cp949": ("kor",),
}
_PARAGRAPHS = 6  # a text
_TEXTS = 5  # a language and encoding


def own(data: bytes) -> str | None:
    try:
        return decode(data)[0]
    except Refused:
        return None


def normalizer(data: bytes) -> str | None:
    import charset_normalizer

    best = charset_normalizer.from_bytes(data).best()
    return _decoded(data, best.encoding if best else None)


def chardet_(data: bytes) -> str | None:
    import chardet

    return _decoded(data, chardet.detect(data)["encoding"])


def resiliparse_(data: bytes) -> str | None:
    from resiliparse.parse.encoding import detect_encoding

    return _decoded(data, detect_encoding(data))


def _decoded(data: bytes, encoding: str | None) -> str | None:
    try:
        return data.decode(encoding) if encoding else None
    except (UnicodeError, LookupError):
        return None


DETECTORS: dict[str, tuple[Detector, str]] = {
    "own": (own, "pipelines"),
    "charset-normalizer": (normalizer, "charset_normalizer"),
    "chardet": (chardet_, "chardet"),
    "resiliparse": (resiliparse_, "resiliparse"),
}


def codec_of(folder: str) -> str:
    """windows-1250-polish -> cp1250."""
    parts = folder.split("-")
    for count in range(len(parts), 0, -1):
        try:
            return codecs.lookup("-".join(parts[:count])).name
        except LookupError:
            continue
    raise LookupError(folder)


def right(data: bytes, encoding: str, text: str | None) -> bool:
    if text is None:
        return False
    readings = (_decoded(data, each) for each in {encoding, codec_name(encoding) or encoding})
    return any(each is not None and each.lstrip("\ufeff") == text.lstrip("\ufeff") for each in readings)


def gold_files(data: Path) -> list[tuple[str, str, bytes]]:
    """(row of the table, encoding, bytes)"""
    files = []
    with tarfile.open(data / "encodings-chardet" / "files.tar.gz") as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)):
                folder = member.name.split("/")[-2]
                files.append((folder, codec_of(folder), file.read()))
    return files


def made_texts(data: Path) -> list[tuple[str, str, bytes]]:
    paragraphs: dict[str, list[str]] = collections.defaultdict(list)
    for path in sorted((data / "udhr-languages").glob("*.jsonl*")):
        opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
        with opened as lines:
            for line in lines:
                row = json.loads(line)
                paragraphs[row["code"]].append(row["text"])
    texts = []
    for encoding, languages in _MADE.items():
        for language in languages:
            mine = paragraphs.get(language, [])
            made = 0
            for at in range(0, len(mine), _PARAGRAPHS):
                text = "\n".join(mine[at : at + _PARAGRAPHS])
                try:
                    encoded = text.encode(encoding)
                except UnicodeEncodeError:
                    continue
                if made < _TEXTS and not text.isascii():
                    texts.append((encoding, encoding, encoded))
                    made += 1
    return texts


def charset_table(data: Path) -> None:
    names = [name for name, (_, module) in DETECTORS.items() if importlib.util.find_spec(module)]
    for title, files in (("files", gold_files(data)), ("made texts", made_texts(data))):
        counts: dict[str, list[int]] = collections.defaultdict(lambda: [0] * len(names))
        sizes = collections.Counter(row for row, _, _ in files)
        seconds = []
        for column, name in enumerate(names):
            detect = DETECTORS[name][0]
            begin = time.process_time()
            texts = [detect(data) for _, _, data in files]
            seconds.append(time.process_time() - begin)
            for (row, encoding, content), text in zip(files, texts, strict=True):
                counts[row][column] += right(content, encoding, text)
        print(f"| {title} | number | " + " | ".join(names) + " |")
        print("|" + "---|" * (len(names) + 2))
        for row in sorted(sizes, key=str.lower):
            print(f"| {row} | {sizes[row]} | " + " | ".join(map(str, counts[row])) + " |")
        totals = [sum(count[column] for count in counts.values()) for column in range(len(names))]
        print(f"| all | {len(files)} | " + " | ".join(map(str, totals)) + " |")
        print("| CPU s | | " + " | ".join(f"{each:.1f}" for each in seconds) + " |\n")
