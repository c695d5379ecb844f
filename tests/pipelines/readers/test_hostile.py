"""Mixed and hostile directories: every expected error, every good document, and the books."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pyarrow as pa

from pipelines.documents import DOCUMENT_SCHEMA
from pipelines.readers import (
    DROP_REASONS,
    ERRORS,
    Document,
    Dropped,
    Item,
    Rejected,
    Source,
    plan_units,
    read_unit,
)


def read_mixed(mixed: object, kind: str) -> list[Item]:
    root = mixed.root  # type: ignore[attr-defined]
    return [item for unit in plan_units(Source(kind, kind, (str(root / kind),))) for item in read_unit(unit)]


def check(mixed: object, hostile: ModuleType) -> Counter[str]:
    counts: Counter[str] = Counter()
    for kind in hostile.KINDS:
        items = read_mixed(mixed, kind)
        assert all(isinstance(item, Document | Dropped | Rejected) for item in items)
        places = [item.locator for item in items]
        assert not any(place.startswith("/") for place in places)
        good = [item for item in items if "good-" in item.locator]
        documents = [item for item in good if isinstance(item, Document)]
        assert not [item for item in good if isinstance(item, Rejected)]
        assert len(documents) == mixed.documents[kind]  # type: ignore[attr-defined]
        files = {place.split("!")[0].split("#")[0] for place in places}
        assert len(files) == mixed.files[kind]  # type: ignore[attr-defined]  # none is passed over
        for expected in mixed.hostile:  # type: ignore[attr-defined]
            if expected.kind == kind and expected.error:
                mine = [item for item in items if item.locator.startswith(expected.name)]
                found = [item.error for item in mine if isinstance(item, Rejected)]
                assert expected.error in found, (expected, mine)
        for item in items:
            match item:
                case Document():
                    assert "\0" not in item.text or kind in ("jsonl", "parquet")
                    columns = {name: getattr(item, name) for name in DOCUMENT_SCHEMA.names if name != "meta"}
                    row = columns | {"meta": list(item.meta.items())}
                    pa.RecordBatch.from_pylist([row], schema=DOCUMENT_SCHEMA).validate(full=True)
                    counts["document"] += 1
                case Dropped():
                    assert item.reason in DROP_REASONS
                    counts[item.reason] += 1
                case Rejected():
                    assert item.error in ERRORS
                    (item.locator + item.message).encode()
                    counts[item.error] += 1
    return counts


def test_every_hostile_case_once(tmp_path: Path, hostile: ModuleType) -> None:
    mixed = hostile.make_mixed_directory(tmp_path, files=hostile.CASES + 60, hostile=hostile.CASES)
    counts = check(mixed, hostile)
    unmet = ERRORS - set(counts)
    # Root may read everything; no page here makes an extractor raise, no member has an unknown compression.
    # git and Software Heritage have their own tests.
    assert unmet <= {"unreadable", "extraction_failed", "unsupported", "missing_content", "missing_object"}


def test_the_maker_is_deterministic(tmp_path: Path, hostile: ModuleType) -> None:
    digests = []
    for name in ("one", "two"):
        hostile.make_mixed_directory(tmp_path / name, files=150, hostile=50, seed=3)
        digest = hashlib.sha256()
        for path in sorted((tmp_path / name).rglob("*")):
            digest.update(str(path.relative_to(tmp_path / name)).encode())
            if path.is_file() and path.stat().st_size < 1 << 24 and not path.is_symlink():
                digest.update(path.read_bytes())
        digests.append(digest.digest())
    assert digests[0] == digests[1]


def test_two_thousand_files(tmp_path: Path, hostile: ModuleType) -> None:
    counts = check(hostile.make_mixed_directory(tmp_path, files=2000, hostile=200), hostile)
    assert sum(counts.values()) > 2000


def test_the_readers_import_neither_beam_nor_torch() -> None:
    code = (
        "import sys, pipelines.readers, pipelines.readers.warc, pipelines.readers.parquet; "
        "sys.exit(any(name in sys.modules for name in ('apache_beam', 'torch', 'trafilatura')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
