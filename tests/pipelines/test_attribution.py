from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest

from licenses import asks_for_attribution
from pipelines.attribution import attribution_text, origins

ROWS = [
    {"source": "code", "repo": "a/b", "commit": "12", "url": None, "license": "MIT"},
    {"source": "code", "repo": "a/b", "commit": "12", "url": None, "license": "MIT"},
    {"source": "code", "repo": "a/a", "commit": None, "url": "https://x", "license": "Apache-2.0"},
    {"source": "web", "repo": None, "commit": None, "url": "https://x.example/1", "license": "CC-BY-4.0"},
    {"source": "web", "repo": None, "commit": None, "url": None, "license": "CC-BY-4.0"},
    {"source": "web", "repo": None, "commit": None, "url": "https://x.example/2", "license": "CC0-1.0"},
    {"source": "web", "repo": None, "commit": None, "url": "https://x.example/3", "license": None},
]


@pytest.mark.parametrize(
    "expression, asks",
    [
        ("MIT", True),
        ("CC-BY-SA-4.0", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("CC0-1.0", False),
        ("MIT-0", False),
        ("MIT OR Unlicense", False),
        ("MIT AND Unlicense", True),
        ("LicenseRef-own", True),
    ],
)
def test_which_licences_ask(expression: str, asks: bool) -> None:
    assert asks_for_attribution(expression) is asks


def test_each_origin_stands_once_below_its_licence() -> None:
    text = attribution_text(origins(pa.RecordBatch.from_pylist(ROWS)))
    assert text.split("\n## ")[1:] == [
        "Apache-2.0\n\n- a/a (1 document)\n",
        "CC-BY-4.0\n\n- https://x.example/1 (1 document)\n- source web (1 document)\n",
        "MIT\n\n- a/b at 12 (2 documents)\n",
    ]


def test_the_order_of_documents_does_not_matter() -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    parts = [pa.RecordBatch.from_pylist(shuffled[:2]), pa.RecordBatch.from_pylist(shuffled[2:])]
    whole = sum(map(origins, parts), Counter())
    assert attribution_text(whole) == attribution_text(origins(pa.RecordBatch.from_pylist(ROWS)))
    assert "None of its licences does." in attribution_text(Counter())
