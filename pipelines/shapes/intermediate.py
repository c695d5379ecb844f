"""Code beside its intermediate representation (LLVM), as StarCoder2 was given them.

    code<code_to_intermediate>IR      or      IR<intermediate_to_code>code

References: bigcode-project/the-stack-v2 @ 9172041, ir/Compile_C.py and its neighbours; the StarCoder2 report
(arXiv:2402.19173, section 2.6) and Paul et al. 2024 (arXiv:2403.03894): optimised for size 80 %, for speed 20 %.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.shapes.sentinels import unmarked
from pipelines.shapes.shape import Draws, Dropped, Shaped

SIZE_CHANCE = 0.8
CODE_FIRST_CHANCE = 0.5
LEVELS = ("Oz", "O3")
FLAGS = ("-S", "-emit-llvm", "-fno-discard-value-names", "-fstandalone-debug")
MAX_CODE_CHARS, MAX_REPRESENTATION_CHARS = 1_000_000, 4_000_000
COMPILE_SECONDS = 20
_SOURCES = frozenset("c cc cpp cxx d f90 go hs m nim rs swift".split())
_COMPILED = {"c": "c", "cc": "c++", "cpp": "c++", "cxx": "c++"}
# x.ll, x.Oz.ll, x_O3.ll; and the reference's own names, source.c beside llvm_OZ.ll and llvm_O3.ll.
_REPRESENTATION = re.compile(r"(?P<stem>.*?)(?:[._-](?P<level>O[0-3sz]))?\.ll", re.IGNORECASE | re.DOTALL)
_STRIPPED = ("; ModuleID =", "source_filename =", "target datalayout =", "target triple =")
COMPILE_KIB = 4 << 20  # of address space
# What could bring files of this machine into the representation: embedding, and includes by absolute paths, upwards or
# by a macro.  It is looked for in the code with its continued lines joined.
_REACHES_OUT = re.compile(
    r"\b(?:embed|include_next|__has_embed)\b|\.incbin|include\s*[<\"](?:/|[^>\"\n]*\.\.)|(?:#|%:)\s*include\s*[A-Za-z_(]"
)
_CONTINUED = re.compile(r"\\[ \t]*\r?\n")


def without_header(representation: str) -> str:
    """Without the lines that name the module and its target."""
    lines = [line for line in representation.split("\n") if not line.startswith(_STRIPPED)]
    return "\n".join(lines).strip("\n") + "\n"


def pair_text(code: str, representation: str, *, code_first: bool) -> str:
    if code_first:
        return f"{code}<code_to_intermediate>{representation}"
    return f"{representation}<intermediate_to_code>{code}"


def stem_and_level(path: str) -> tuple[str, str | None] | None:
    """(what source and representation have in common, level) of a path; the level is None for a source, "" where a
    representation does not tell it.  None for other files."""
    folder, slash, name = path.rpartition("/")
    stem, _, extension = name.rpartition(".")
    if stem and extension.lower() in _SOURCES:
        return folder + slash + stem, None
    found = _REPRESENTATION.fullmatch(name)
    if found is None or not found["stem"]:
        return None
    stem = "source" if found["stem"].lower() == "llvm" and found["level"] else found["stem"]
    level = (found["level"] or "").lower()
    return folder + slash + stem, "O" + level[1:] if level else ""


def compiler() -> str | None:
    """The path of clang; None where there is none."""
    return shutil.which("clang")


def compile_source(code: str, language: str, level: str, clang: str) -> str | None:
    """LLVM's representation of a C or C++ source; None where it does not compile.

    The compiler runs in an empty folder, without the environment of the process, for COMPILE_SECONDS and in COMPILE_KIB
    at most.  Code that names files by absolute paths, or upwards, or embeds them is not compiled.
    """
    if len(code) > MAX_CODE_CHARS or "\0" in code or _REACHES_OUT.search(_CONTINUED.sub("", code)):
        return None
    with tempfile.TemporaryDirectory(prefix="gristmill-ir-") as folder:
        target = Path(folder) / "out.ll"
        limits = f'ulimit -t {COMPILE_SECONDS} -v {COMPILE_KIB} 2>/dev/null; exec "$0" "$@"'
        call = ["/bin/sh", "-c", limits, clang, *FLAGS, f"-{level}", "-w", "-x", language, "-", "-o", str(target)]
        try:
            done = subprocess.run(
                call, input=code.encode("utf-8", "replace"), cwd=folder, timeout=2 * COMPILE_SECONDS, check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": os.defpath, "LC_ALL": "C"},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        if done.returncode or not target.is_file() or target.stat().st_size > MAX_REPRESENTATION_CHARS:
            return None
        return target.read_text("utf-8", "replace").replace(folder, "")


@dataclasses.dataclass(frozen=True)
class IntermediateShape:
    """A source and its representations (files of one repository with one stem) -> one pair, by chance.

    compiles   where there is no representation, C and C++ go through clang, if it is on the path: what comes out
               depends on its version, so that runs are alike only where their compilers are
    mended     spellings of special tokens in both are broken up
    """

    name: str
    compiles: bool = False
    mended: bool = False

    def check(self) -> None:
        """Raises ImportError where there is nothing to compile with."""
        if self.compiles and compiler() is None:
            raise ImportError(f"{self.name} needs clang on the path; starcoder2_intermediate@1 reads what is there")

    def key(self, row: Mapping[str, Any]) -> str | None:
        found = stem_and_level(row.get("path") or "")
        if found is None or row.get("kind") != "code":
            return None
        return json.dumps([row.get("source"), row.get("repo"), found[0]], ensure_ascii=False)

    def order(self, row: Mapping[str, Any]) -> Any:
        return [row.get("path") or "", str(row.get("doc_id"))]

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        key = self.key(rows[0])
        if key is None:
            return Dropped("not_of_shape")
        source: Mapping[str, Any] | None = None
        found: dict[str, str] = {}
        for row in rows:
            level = (stem_and_level(row["path"]) or ("", ""))[1]
            if level is None:
                source = source or row
            else:
                found.setdefault(level or "Oz", row["text"])
        if source is None or not source["text"].strip():
            return Dropped("no_code")
        draws = Draws(key, seed)
        wanted = "Oz" if draws.random() < SIZE_CHANCE else "O3"
        code_first = draws.random() < CODE_FIRST_CHANCE
        level = wanted if wanted in found else next(iter(sorted(found, reverse=True)), wanted)
        representation = found.get(level)
        by = "file"
        if representation is None and self.compiles:
            representation, by = self._compiled(source, level), "clang"
        if representation is None or not representation.strip():
            return Dropped("no_representation")
        if max(len(source["text"]), len(representation)) > MAX_REPRESENTATION_CHARS:
            return Dropped("too_large")
        code, representation = source["text"], without_header(representation)
        if self.mended:
            code, representation = unmarked(code), unmarked(representation)
        text = pair_text(code, representation, code_first=code_first)
        meta = {"level": level, "code_first": str(code_first).lower(), "representation_by": by}
        return Shaped(text, meta, "code")

    def _compiled(self, source: Mapping[str, Any], level: str) -> str | None:
        clang, language = compiler(), _COMPILED.get(source["path"].rpartition(".")[2].lower())
        return None if clang is None or language is None else compile_source(source["text"], language, level, clang)
