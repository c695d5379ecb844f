"""A small corpus with known properties, made by hand: pages of several hosts, code of two packages, faults."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

_WORDS = (
    "the river of that town and with its old stone bridge has been a place to meet since people could remember "
    "because every market day brings farmers who have fruit bread cheese wool to sell while children run between "
    "carts until evening when lamps are lit along both banks as music starts from an open window near church"
).split()


_GERMAN = (
    "Der Fluss fließt seit jeher durch die alte Stadt, und an jedem Markttag kommen die Bauern mit ihren Wagen. "
    "Die Kinder laufen zwischen den Ständen umher, bis am Abend die Lampen an beiden Ufern angezündet werden. "
)


def prose(seed: int, sentences: int = 14) -> str:
    """English-looking sentences with stop words, different for every seed."""
    rng = random.Random(seed)
    lines = []
    for _ in range(sentences):
        words = [rng.choice(_WORDS) for _ in range(rng.randint(9, 16))]
        lines.append(" ".join(words).capitalize() + ".")
    return "\n".join(" ".join(lines[i : i + 4]) for i in range(0, len(lines), 4))


def page(title: str, text: str) -> str:
    paragraphs = "".join(f"<p>{line}</p>" for line in text.splitlines())
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title></head><body>"
        f"<nav><a href=/>Home</a> <a href=/about>About</a></nav><article><h1>{title}</h1>{paragraphs}</article>"
        f"<footer>Imprint</footer></body></html>"
    )


def module(seed: int, functions: int = 6) -> str:
    rng = random.Random(seed)
    lines = ['"""Numbers of a kind."""', ""]
    for i in range(functions):
        name = "_".join(rng.choice(_WORDS) for _ in range(3))
        lines += [
            f"def {name}_{i}(first, second):",
            f'    """Returns {rng.choice(_WORDS)} for {rng.choice(_WORDS)}."""',
            f"    total = first * {rng.randint(2, 99)} + second",
            f"    return total % {rng.randint(100, 999)}",
            "",
        ]
    return "\n".join(lines)


def write_corpus(root: Path, pages: int = 60, modules: int = 40) -> None:
    """web/: pages of 12 hosts, of which some are copies, some nearly, one short, one not UTF-8 and one cut
    archive; code/: two sdists, one MIT and one GPL; urls.jsonl names the pages' addresses.
    """
    web, code = root / "web", root / "code"
    web.mkdir(parents=True)
    code.mkdir()
    urls = []
    for i in range(pages):
        text = prose(i)
        if i % 10 == 7:
            text = prose(i - 1)  # an exact copy of the page before
        if i % 10 == 9:
            text = prose(i - 1).replace("river", "stream", 1)  # nearly a copy
        if i % 20 == 11:
            text = _GERMAN * 3  # outside the scope of the recipe below
        if i % 15 == 4:
            text = "buy now " * 60  # what Gopher's rules drop
        if i % 6 == 2:
            text += "\nMore news"  # too short a line for C4
        if i % 11 == 3:
            text += f"\nWrite to person{i}@company{i}.com or call."
        (web / f"{i:03d}.html").write_text(page(f"Page {i}", text), encoding="utf-8")
        urls.append(f'{{"path": "{i:03d}.html", "url": "https://site{i % 12}.example.com/p/{i}"}}\n')
    (web / "empty.html").write_bytes(b"")
    (web / "broken.zip").write_bytes(b"PK\x03\x04 this is not an archive")
    (root / "urls.jsonl").write_text("".join(urls))
    for name, classifier, first in (("alpha", "MIT", 0), ("beta", "GPL-3.0-or-later", 1000)):
        _sdist(code / f"{name}-1.0.tar.gz", name, classifier, [module(first + i) for i in range(modules)])


def _sdist(path: Path, name: str, spdx: str, sources: list[str]) -> None:
    files = {f"{name}-1.0/PKG-INFO": f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\nLicense-Expression: {spdx}\n"}
    files |= {f"{name}-1.0/{name}/part{i % 8}/m{i:03d}.py": text for i, text in enumerate(sources)}
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            info = tarfile.TarInfo(member)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))


RECIPE = """\
name: small
output: {output}
engine: {{kind: local, workers: {workers}}}
sources:
  web: {{kind: html, input: {root}/web/*, locators: {root}/urls.jsonl}}
  code: {{kind: code, input: {root}/code/*}}
annotators: [language, rpv2, gopher@datatrove, gopher_repetition@datatrove, code_stats, pii, license, minhash,
  c4_fineweb@datatrove, fineweb@datatrove+c4_fineweb@datatrove]
dedup: {{method: minhash, threshold: 0.8, keep: longest}}
pii: {{policy: default}}
opt_out: {root}/opt-out.yaml
scope:
  - {{column: language/language, any_of: [en], sources: web}}
held_out: {{fraction: 0.15, seed: 0, by: {{web: host, code: directory}}}}
max_error_rate: 0.1
variants:
  baseline: []
  gopher: [gopher@datatrove]
  dedup: [dedup]
  full: [gopher@datatrove, dedup, license]
  null_gopher: {{random_like: gopher}}
  cleaned: [c4_fineweb, {{edit: c4_fineweb}}, {{rule: fineweb, allow_empty: true}}]
"""

OPT_OUT = """\
entries:
  - {domain: site3.example.com, date: 2026-01-15, reason: the owner asked}
"""


def write_recipe(root: Path, output: Path, workers: int = 1, more: str = "") -> Path:
    (root / "opt-out.yaml").write_text(OPT_OUT)
    path = root / f"{output.name}.yaml"
    path.write_text(RECIPE.format(root=root, output=output, workers=workers) + more)
    return path
