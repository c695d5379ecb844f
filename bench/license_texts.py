"""Licences: how well texts are told apart after what people do to them, and how fast, beside peers.

    PYTHONPATH=. python bench/license_texts.py TEXTS_TAR [--code FOLDER] [--peer NAME=PYTHON ...] [--every N]

TEXTS_TAR: texts named by SPDX id (license-texts-spdx/texts.tar.gz).  FOLDER: code files.  A peer is an interpreter that
has it: scancode, spdx-matcher, licenseclassifier (bench/people_peers.py); --every N takes only each Nth text, since
some peers need seconds for one.  --confused prints what was taken for what.

id       share of the texts whose expression is exactly their id (or one with the same words, which nobody can tell
         apart, or the id that replaces a deprecated one)
class    share whose class (licenses.license_class) is that of their id
none     share for which nothing was found
files/s  files a CPU second, one core, the least of three passes
wanted   what the project promises; a row that falls short ends in SHORT
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import json
import re
import sys
import tarfile
import tempfile
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.people import ask_peer, code_of, seconds
from licenses import detect_code, detect_text, license_class, parse_expression
from licenses.detect import combine
from licenses.texts import index

WANTED_PLAIN = 2000.0  # code files a second where no licence is present
WANTED_TEXTS = 100.0  # licence files a second
HOLDER = "Jane Q. Holder and Sons"

# Deprecated ids whose successor is reported instead (SPDX licence list 3.x).
RENAMED = {"StandardML-NJ": "SMLNJ", "WXwindows": "LGPL-2.0-or-later WITH WxWindows-exception-3.1"}


def read_texts(path: str | Path) -> dict[str, str]:
    """SPDX id -> text, in order of the ids."""
    texts = {}
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                key = Path(member.name).name.removesuffix(".txt").removeprefix("depreciate_")
                texts[key] = stream.read().decode("utf-8", "replace")
    return dict(sorted(texts.items()))


# -- what people do to a licence's text ------------------------------------------------------------------------


def wrapped(text: str) -> str:
    """Lines of 60 characters."""
    return "\n\n".join(textwrap.fill(" ".join(part.split()), 60) for part in re.split(r"\n\s*\n", text))


def filled_in(text: str) -> str:
    """The template's years and names replaced, and a copyright line before it."""
    text = re.sub(r"<year>|\[year\]|\[yyyy\]|\byyyy\b|\{yyyy\}|<years?>", "2011-2024", text, flags=re.IGNORECASE)
    text = re.sub(
        r"<(?:name of (?:author|copyright (?:owner|holder))|copyright (?:holders?|owner)|owner(?:ship)?|holders?|"
        r"name|author)>|\[(?:name of copyright owner|fullname|copyright holder|owner)\]|\{name of copyright owner\}",
        HOLDER,
        text,
        flags=re.IGNORECASE,
    )
    return f"Copyright (c) 2011-2024 {HOLDER} <jane@example.org>\nAll rights reserved.\n\n{text}"


def trailing(text: str) -> str:
    """A project's name before it, and what LICENSE files add behind it."""
    return (
        f"FooBar 2.1\n==========\n\nThe following applies to all files of FooBar.\n\n{text}\n\n"
        "-------------------------------------------------------------------------------\n"
        "FooBar was begun in 2003 at the Institute of Examples. Thanks to everybody who sent patches, among them\n"
        "Ann, Bob and Carol. Questions go to the mailing list foobar-users@example.org; bugs to the tracker.\n"
        "The logo was drawn by Dave.  Build instructions are in INSTALL, news in CHANGES.\n"
    )


def _prefixed(text: str, prefix: str, first: str = "", last: str = "") -> str:
    return first + "".join(f"{prefix}{line}".rstrip() + "\n" for line in text.splitlines()) + last


def starred(text: str) -> str:
    """The head comment of a C file."""
    return _prefixed(text, " * ", "/*\n", " */\n#include <stdio.h>\n\nint main(void) { return 0; }\n")


def hashed(text: str) -> str:
    """The head comment of a script."""
    return _prefixed(text, "# ", "#!/usr/bin/env python3\n", "\nimport sys\n\nprint(sys.argv)\n")


def without_title(text: str) -> str:
    """The first paragraph, if it is short, and a version line after it are gone."""
    parts = re.split(r"\n\s*\n", text.strip(), maxsplit=1)
    return parts[1] if len(parts) == 2 and len(parts[0]) < 200 and len(parts[1]) > 300 else text


def as_page(text: str) -> str:
    """As a web page."""
    body = "\n".join(
        f'<p class="text">{html.escape(part.strip()).replace(chr(10), "<br />" + chr(10))}</p>'
        for part in re.split(r"\n\s*\n", text)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Legal</title>\n'
        f"<style>p.text {{ margin: 1em }}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def typeset(text: str) -> str:
    """As word processors and Markdown write: curly quotes, dashes, headings, bold, no-break spaces."""
    text = re.sub(r'"([^"\n]*)"', "\u201c\\1\u201d", text).replace("'", "\u2019").replace(" - ", " \u2013 ")
    lines = text.split("\n")
    lines = [f"## {line}" if line.isupper() and len(line) < 60 else line for line in lines]
    return "\n".join(lines).replace("NO EVENT", "**NO EVENT**").replace("the Software", "the\u00a0Software")


MUTATIONS: dict[str, Callable[[str], str]] = {
    "as published": str,
    "wrapped lines": wrapped,
    "one line": lambda text: " ".join(text.split()),
    "copyright filled in": filled_in,
    "text before and after": trailing,
    "comment  *": starred,
    "comment  #": hashed,
    "upper case": str.upper,
    "no title": without_title,
    "HTML": as_page,
    "typeset": typeset,
    "filled in, wrapped,  *": lambda text: starred(wrapped(filled_in(text))),
}


# -- what is right ---------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Expected:
    """The ids that cannot be told from the text's own, as canonical expressions, and its class."""

    expressions: frozenset[str]
    license_class: str


def expected(key: str) -> Expected:
    """What the text of an id should be taken for."""
    own = RENAMED.get(key, key)
    twins = {key, own}
    for ids in index().identifiers:
        if own in ids or key in ids:
            twins.update(ids)
    found = {parse_expression(each) or each for each in twins}
    # One text serves -only and -or-later: the notice in the files decides.
    found |= {each.replace("-or-later", "-only") for each in found if re.match(r"(?:[AL]?GPL|GFDL)-", each)}
    return Expected(frozenset(found), license_class(parse_expression(own) or own))


def is_exception(key: str) -> bool:
    """Whether the text is an exception, which changes a licence and is none."""
    places = [at for at, ids in enumerate(index().identifiers) if key in ids]
    return bool(places) and all(index().kinds[at] == "exception" for at in places)


@dataclasses.dataclass
class Score:
    """Counts over texts."""

    texts: int = 0
    ids: int = 0
    classes: int = 0
    none: int = 0
    confused: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)
    class_matrix: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)

    def add(self, key: str, found: str | None) -> None:
        right = expected(key)
        self.texts += 1
        exact = found is not None and (parse_expression(found) or found) in right.expressions
        found_class = "none" if found is None else license_class(found)
        self.ids += exact
        self.classes += found_class == right.license_class
        self.none += found is None
        self.class_matrix[right.license_class, found_class] += 1
        if not exact:
            self.confused[key, found or "-"] += 1


def judge(texts: Mapping[str, str], find: Callable[[str], str | None]) -> Score:
    """The score of a detector (text -> expression, None for nothing) on texts by SPDX id."""
    score = Score()
    for key, text in texts.items():
        score.add(key, find(text))
    return score


def ours(text: str) -> str | None:
    """The expression that this package finds in a licence file."""
    found = combine(detect_text(text))
    return found.expression if found else None


def with_notices(texts: Mapping[str, str]) -> dict[str, str]:
    """The exceptions, each behind a notice of the GPL that it changes, by the expression they make."""
    notice = (
        "This program is free software; you can redistribute it and/or modify it under the terms of the GNU General\n"
        "Public License as published by the Free Software Foundation; either version 2 of the License, or (at your\n"
        "option) any later version.\n\n"
    )
    return {f"GPL-2.0-or-later WITH {key}": notice + text for key, text in texts.items() if is_exception(key)}


# -- peers -----------------------------------------------------------------------------------------------------


def found_by_peer(python: str, name: str, texts: Iterable[str]) -> tuple[list[str | None], float]:
    """What a peer finds in each text, and its CPU seconds without loading."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        file.flush()
        *answers, taken = ask_peer(python, "licenses", name, file.name)
    return answers, taken


# -- the tables ------------------------------------------------------------------------------------------------


def table(texts: Mapping[str, str], options: argparse.Namespace, peers: Mapping[str, str]) -> None:
    plain = {key: text for key, text in texts.items() if not is_exception(key)}
    names = ["gristmill", *peers]
    print(f"# {len(plain)} licence texts")
    print(f"{'':<24}" + "".join(f"{name + ' id':>24}{'class':>8}{'none':>7}" for name in names))
    confused: Counter[tuple[str, str]] = Counter()
    matrix: Counter[tuple[str, str]] = Counter()
    spent = dict.fromkeys(peers, 0.0)
    for name, mutate in MUTATIONS.items():
        scores = [judge({key: mutate(text) for key, text in plain.items()}, ours)]
        confused += scores[0].confused
        matrix += scores[0].class_matrix
        for peer, python in peers.items():
            answers, taken = found_by_peer(python, peer, [mutate(text) for text in plain.values()])
            spent[peer] += taken
            score = Score()
            for key, answer in zip(plain, answers, strict=True):
                score.add(key, answer)
            scores.append(score)
        cells = (f"{s.ids / s.texts:>24.3f}{s.classes / s.texts:>8.3f}{s.none / s.texts:>7.3f}" for s in scores)
        print(f"{name:<24}" + "".join(cells), flush=True)
    noticed = with_notices(texts)
    hits = sum(ours(text) == key for key, text in noticed.items())
    print(f"{'exceptions (WITH)':<24}{hits / max(1, len(noticed)):>24.3f}   of {len(noticed)}")
    if options.confused:
        for (key, found), count in confused.most_common():
            print(f"{count:>3} of {len(MUTATIONS)}  {key} taken for {found}")
    print("\n# classes over all rows (row: true, column: found)")
    columns = sorted({found for _, found in matrix})
    print(f"{'':<18}" + "".join(f"{name:>16}" for name in columns))
    for true in sorted({true for true, _ in matrix}):
        print(f"{true:<18}" + "".join(f"{matrix[true, found]:>16}" for found in columns))
    print()
    for peer in peers:
        row(f"{peer}, licence files", len(plain) * len(MUTATIONS) / spent[peer], None)


def row(name: str, value: float, wanted: float | None) -> None:
    short = " SHORT" if wanted is not None and value < wanted else ""
    print(f"{name:<46}{value:>10.0f} files/s{'' if wanted is None else f'  (wanted {wanted:g})'}{short}", flush=True)


def speeds(texts: Mapping[str, str], folder: str | None, peers: Mapping[str, str]) -> None:
    detect_text("license")
    taken = seconds(lambda: [detect_text(text) for text in texts.values()])
    row("gristmill, licence files", len(texts) / taken, WANTED_TEXTS)
    if folder is None:
        return
    files = code_of(folder)
    marked = [text for text in files if detect_code(text) is not None]
    plain = [text for text in files if detect_code(text) is None]
    row(
        f"gristmill, {len(plain)} code files without a licence",
        len(plain) / seconds(lambda: list(map(detect_code, plain))),
        WANTED_PLAIN,
    )
    row(f"gristmill, {len(marked)} with one", len(marked) / seconds(lambda: list(map(detect_code, marked))), None)
    for peer, python in peers.items():
        some = files[:: max(1, len(files) // 40)]
        answers, taken = found_by_peer(python, peer, some)
        row(f"{peer}, {len(some)} code files", len(some) / taken, None)
        mine = [found.expression if found else None for found in map(detect_code, some)]
        same = sum((a and parse_expression(a)) == b for a, b in zip(answers, mine, strict=True))
        print(f"{'':<4}the same answer as gristmill's for {same} of {len(some)}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", help="archive of texts named by SPDX id")
    parser.add_argument("--code", help="folder of code files")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth text (default: 1)")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", help="interpreter that has a peer"
    )
    parser.add_argument("--confused", action="store_true", help="print what was taken for what")
    options = parser.parse_args(arguments)
    peers = dict(each.split("=", 1) for each in options.peer)
    texts = dict(list(read_texts(options.texts).items())[:: options.every])
    table(texts, options, peers)
    speeds(texts, options.code, peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
