"""ATTRIBUTION.md of a corpus: whose work is in it, by licence, for all licences that ask to be named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from licenses import asks_for_attribution
from pipelines import storage
from pipelines.shards import read_batches

ATTRIBUTION = "ATTRIBUTION.md"
_COLUMNS = ["source", "url", "repo", "commit", "license"]

Origin = tuple[str, str]
"""(licence expression, where the work is from)."""


def origins(batch: pa.RecordBatch) -> Counter[Origin]:
    """Documents of each origin, of those whose licence asks for attribution.

    The origin of code is its repository, at the commit where one is known; of all else its address, and of what has
    neither the recipe's name of the source.
    """
    counted: Counter[Origin] = Counter()
    for row in batch.to_pylist():
        expression = row["license"]
        if expression is None or not asks_for_attribution(expression):
            continue
        if row["repo"]:
            where = f"{row['repo']} at {row['commit']}" if row["commit"] else row["repo"]
        else:
            where = row["url"] or f"source {row['source']}"
        counted[expression, where] += 1
    return counted


def attribution_text(counted: Counter[Origin]) -> str:
    """The file: licences in order of their ids, origins in order below them; the same for any order of documents."""
    lines = [
        "# Attribution",
        "",
        "The works in this corpus whose licences ask that their authors be named, by licence. The licence of each "
        "document, as it was found, is in its column `license`; the licence texts are at https://spdx.org/licenses/.",
    ]
    for expression in sorted({expression for expression, _ in counted}):
        lines += ["", f"## {expression}", ""]
        mine = sorted((where, count) for (found, where), count in counted.items() if found == expression)
        lines += [f"- {where} ({count:,} document{'s' if count != 1 else ''})" for where, count in mine]
    if not counted:
        lines += ["", "None of its licences does."]
    return "\n".join(lines) + "\n"


def write_attribution(folder: str, shards: Iterable[str]) -> None:
    """Reads five columns of the data shards and writes the file into `folder`.  Memory: the distinct origins."""
    counted: Counter[Origin] = Counter()
    for shard in shards:
        for batch in read_batches(shard, _COLUMNS):
            counted += origins(batch)
    storage.write_bytes(storage.join(folder, ATTRIBUTION), attribution_text(counted).encode())
