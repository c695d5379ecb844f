"""The peers of bench/signals.py, each run by the interpreter that has it; knows nothing of gristmill.

    PYTHON bench/signals_peers.py PEER CORPUS OUTPUT

PEER: datatrove-chain (datatrove's filters in FineWeb's order; a dropped document goes no further),
dolma-gopher_v1, dolma-c4_v2, redpajama (RedPajama-Data's own code from the folder REDPAJAMA_DATA, app/src).
The first half of the corpus warms caches, the second half is timed, in CPU seconds.  OUTPUT gets one JSON line a
document of the second half; the last line of stdout is {"cpu_s", "bytes", "documents"}.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import types
from collections.abc import Callable
from typing import Any

Answer = Callable[[str], Any]


def datatrove_chain() -> Answer:
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from loguru import logger

    logger.remove()
    filters = {
        "gopher_repetition": GopherRepetitionFilter(),
        "gopher": GopherQualityFilter(),
        "c4": C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": FineWebQualityFilter(),
    }

    def answer(text: str) -> str:
        document = Document(text=text, id="")
        for name, each in filters.items():
            result = each.filter(document)
            if result is not True:
                return f"{name}/{result[1]}" if isinstance(result, tuple) else name
        return "keep"

    return answer


def dolma(tagger_name: str) -> Answer:
    from dolma.core.data_types import Document
    from dolma.core.registry import TaggerRegistry

    tagger = TaggerRegistry.get(tagger_name)()

    def answer(text: str) -> list[list[Any]]:
        spans = tagger.predict(Document(source="", id="", text=text)).spans
        return [[span.start, span.end, span.type, span.score] for span in spans]

    return answer


def redpajama() -> Answer:
    nltk, tokenize = types.ModuleType("nltk"), types.ModuleType("nltk.tokenize")

    class WordPunctTokenizer:
        words = re.compile(r"\w+|[^\w\s]+")  # what nltk's class of this name is

        def tokenize(self, text: str) -> list[str]:
            return self.words.findall(text)

    tokenize.WordPunctTokenizer = WordPunctTokenizer  # type: ignore[attr-defined]
    nltk.tokenize = tokenize  # type: ignore[attr-defined]
    msgspec = types.ModuleType("msgspec")
    msgspec.Struct = object  # type: ignore[attr-defined]
    sys.modules |= {
        "nltk": nltk,
        "nltk.tokenize": tokenize,
        "msgspec": msgspec,
        "fasttext": types.ModuleType("fasttext"),
    }
    sys.path.insert(0, os.environ["REDPAJAMA_DATA"])
    from core.document import Document
    from core.quality_signals.lines import register_lines_callables
    from core.quality_signals.natural_language import register_natural_language_callables
    from core.quality_signals.repetitions import register_repetitions_callables

    signals = [
        *register_natural_language_callables(),
        *register_repetitions_callables(),
        *register_lines_callables(),
    ]

    def answer(text: str) -> dict[str, Any]:
        document = Document(text, domain="", precompute_ngrams=True, precompute_hash_features=False, dsir_buckets=None)
        return {type(signal).__name__.lower(): signal(document) for signal in signals}

    return answer


def main(peer: str, corpus: str, output: str) -> None:
    with open(corpus, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    half = len(texts) // 2
    if peer == "datatrove-chain":
        answer = datatrove_chain()
    elif peer == "redpajama":
        answer = redpajama()
    else:
        answer = dolma(peer.removeprefix("dolma-"))
    for text in texts[:half]:
        answer(text)
    start = time.process_time()
    answers = [answer(text) for text in texts[half:]]
    seconds = time.process_time() - start
    with open(output, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in answers)
    size = sum(len(text.encode()) for text in texts[half:])
    print(json.dumps({"cpu_s": seconds, "bytes": size, "documents": len(answers)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
