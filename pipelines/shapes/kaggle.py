"""Notebooks of Kaggle with the data set that they use, as StarCoder2 was given them.

    title, description, `Kaggle dataset identifier: owner/name`, its columns and rows<jupyter_script>code

References: bigcode-project/the-stack-v2 @ 9172041, kaggle/convert_notebooks_to_scripts.py and
retreive_metadata.py; the StarCoder2 report (arXiv:2402.19173, section 2.4).  The reference runs `black` over the code;
here it stays as it is.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.shapes.notebooks import NotebookError, check_scripts, is_notebook, notebook_of, script_of
from pipelines.shapes.sentinels import as_it_is, unmarked
from pipelines.shapes.shape import Alone, Dropped, Shaped, meta_of

MAX_CHARS = 5_000_000  # of the notebook
MIN_SCRIPT_CHARS = 100  # a script of as many is dropped
# Lines with which the host opens every new notebook, as the first 12 hex digits of the BLAKE2b (6 bytes) of each, with
# single spaces and double quotes.
_TEMPLATE = frozenset(
    "081f111244e6 eb3de3079c24 ad84f0597204 c70adfaf67a2 4a9ceffed278 e37121649550 6e4cdd725eb0 918f87f513e1 "
    "9ae61e0915c6 5cd726646bf5 9f6bbdecb762 978aeff5b373 dba210d40be2 4fd1867fca84 76420765ca05 c6ffad56d762 "
    "20d24f94548e 1678736a5a3a 751967325c38".split()
)


# How jupytext shows where a cell begins and ends.
_CELL_MARKS = ("", "# +", "# -")


def without_template(script: str) -> str:
    """The script without the lines of the template at its beginning; the first of them is a comment."""
    lines = script.split("\n")
    place = next((i for i, line in enumerate(lines) if line.strip() not in _CELL_MARKS), 0)
    if not lines[place].lstrip().startswith("#") or not _is_of_template(lines[place]):
        return script
    while place < len(lines) and (lines[place].strip() in _CELL_MARKS or _is_of_template(lines[place])):
        place += 1
    return "\n".join(lines[place:])


def _is_of_template(line: str) -> bool:
    plain = " ".join(line.replace("'", '"').split())
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest() in _TEMPLATE


def is_python(code: str) -> bool:
    """Whether Python can read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that are none
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def data_set_lines(meta: Mapping[str, str]) -> list[str]:
    """What is known of the data set: from `dataset_title`, `dataset_description`, `kaggle_dataset_owner` and
    `kaggle_dataset_name` (or `dataset`: owner/name), `dataset_info` (as df.info() prints) and `dataset_rows`."""
    owner, name = meta.get("kaggle_dataset_owner"), meta.get("kaggle_dataset_name")
    identifier = meta.get("dataset") or (f"{owner}/{name}" if owner and name else name)
    found = [meta.get("dataset_title"), meta.get("dataset_description")]
    found.append(f"Kaggle dataset identifier: {identifier}" if identifier else None)
    found += [meta.get("dataset_info"), meta.get("dataset_rows")]
    return [each.strip() for each in found if each and each.strip()]


@dataclasses.dataclass(frozen=True)
class KaggleShape(Alone):
    """A notebook and the metadata of its data set -> a script behind what is known of the data.

    mended   spellings of special tokens in both are broken up
    """

    name: str
    mended: bool = False

    def check(self) -> None:
        check_scripts()

    def make(self, rows: Sequence[Mapping[str, Any]], seed: int) -> Shaped | Dropped:
        (row,) = rows
        if not is_notebook(row):
            return Dropped("not_of_shape")
        if len(row["text"]) > MAX_CHARS:
            return Dropped("too_large")
        try:
            script, _ = script_of(notebook_of(row["text"]), header=False)
        except NotebookError as error:
            return Dropped(error.reason)
        if len(script) <= MIN_SCRIPT_CHARS:
            return Dropped("short")
        if not is_python(script):
            return Dropped("syntax")
        script = without_template(script).strip()
        if not script:
            return Dropped("no_code")
        known = data_set_lines(meta_of(row))
        head = "\n".join(known) + "\n" if known else ""
        plain = unmarked if self.mended else as_it_is
        return Shaped(
            f"{plain(head)}<jupyter_script>{plain(script)}", {"data_set": str(bool(known)).lower()}, "notebook"
        )
