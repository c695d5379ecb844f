"""Personal data: speed of the detectors on one core and their quality against gold spans, beside peers.

    PYTHONPATH=. python bench/people.py CORPUS [--gold GOLD] [--code FOLDER] [--peer NAME=PYTHON ...] [--names-mb MB]

CORPUS: JSON Lines with `text`, or a folder of document shards.  GOLD: JSON Lines with gold spans, such as
synth_v2.jsonl of presidio-research.  FOLDER: code files.  A peer is an interpreter that has it: presidio, dolma,
datatrove, scrubadub, detect-secrets (bench/people_peers.py).  Texts go in batches of about 2 MB; a figure is the least
of three passes in CPU seconds, after one that warms caches; slow rows (models) see only the first MB that are named and
are timed once.

MB/s      10^6 bytes of UTF-8 text a CPU second
wanted    what the project promises; a row that falls short ends in SHORT
F1        spans that cover at least half of a gold span, or are covered by half; `held out` are the templates of odd
          number, which no rule was made with
"""

from __future__ import annotations

import argparse
import glob
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pii import ANNOTATORS, names
from pii.evaluate import Evaluation, Gold, all_spans, evaluate, pattern_spans, read_gold
from pii.kinds import Span

BATCH_BYTES = 2_000_000
WANTED_PATTERNS = 80.0
WANTED_NAMES = 3.0
KINDS_OF_PEERS = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IBAN_CODE": "IBAN",
    "DOMAIN_NAME": "URL",
}


def all_texts(path: str) -> Iterator[str]:
    if Path(path).is_dir():
        from pipelines.shards import read_batches

        for shard in sorted(Path(path).glob("**/part-*.parquet")):
            for batch in read_batches(str(shard), ["text"]):
                yield from batch["text"].to_pylist()
        return
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


def texts_of(path: str, limit: float = float("inf")) -> list[str]:
    texts: list[str] = []
    size = 0
    for text in all_texts(path):
        if size >= limit:
            break
        texts.append(text)
        size += len(text.encode())
    return texts


def code_of(folder: str) -> list[str]:
    """The files that are UTF-8."""
    texts = []
    for path in sorted(glob.glob(f"{folder}/**/*", recursive=True)):
        if Path(path).is_file():
            try:
                texts.append(Path(path).read_bytes().decode("utf-8"))
            except UnicodeDecodeError:
                continue
    return texts


def batches_of(texts: Sequence[str]) -> list[pa.RecordBatch]:
    out, pending, size = [], [], 0
    for text in texts:
        pending.append(text)
        size += len(text)
        if size > BATCH_BYTES:
            out.append(pa.record_batch({"text": pa.array(pending, pa.large_string())}))
            pending, size = [], 0
    return [*out, pa.record_batch({"text": pa.array(pending, pa.large_string())})] if pending else out


def seconds(work: Callable[[], object], passes: int = 3) -> float:
    """The least CPU seconds of some passes."""
    best = float("inf")
    for _ in range(passes):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def speed(annotator: str, texts: Sequence[str], passes: int = 3) -> float:
    """MB/s of an annotator, Arrow columns included."""
    made = ANNOTATORS[annotator]()
    batches = batches_of(texts)
    made.annotate(batches[0].slice(0, 20))
    if passes > 1:
        made.annotate(batches[0])
    return sum(len(t.encode()) for t in texts) / 1e6 / seconds(lambda: [made.annotate(b) for b in batches], passes)


def ask_peer(python: str, *arguments: str) -> list[Any]:
    """The lines of JSON that a peer prints."""
    script = str(Path(__file__).with_name("people_peers.py"))
    done = subprocess.run([python, script, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"peer {' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def row(name: str, value: float, wanted: float | None = None, unit: str = "MB/s") -> None:
    short = " SHORT" if wanted is not None and value < wanted else ""
    print(f"{name:<46}{value:>10.3f} {unit}{'' if wanted is None else f'  (wanted {wanted:g})'}{short}", flush=True)


def speeds(options: argparse.Namespace, peers: dict[str, str]) -> None:
    texts = texts_of(options.corpus)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        file.flush()
        _speeds(options, peers, texts, file.name)


def _speeds(options: argparse.Namespace, peers: dict[str, str], texts: list[str], corpus: str) -> None:
    """corpus: the texts as JSON Lines, which is what peers read."""
    print(f"# speed on {len(texts)} texts, {sum(len(t.encode()) for t in texts) / 1e6:.1f} MB")
    row("pii@1, all kinds", speed("pii@1", texts), WANTED_PATTERNS)
    row("pii_bigcode@1", speed("pii_bigcode@1", texts[: len(texts) // 8], 1))
    if options.code:
        code = code_of(options.code)
        row(f"pii@1 on code ({len(code)} files)", speed("pii@1", code))
        if "detect-secrets" in peers:
            row("detect-secrets on code", ask_peer(peers["detect-secrets"], "code", "detect-secrets", options.code)[0])
    for peer in ("dolma", "datatrove", "presidio-patterns", "scrubadub"):
        python = peers.get(peer.removesuffix("-patterns"))
        if python:
            row(peer, ask_peer(python, "speed", peer, corpus, "2")[0])
    if names.available():
        some = texts_of(corpus, options.names_mb * 1e6)
        ours = speed("pii_names@1", some, 1)
        row(f"pii_names@1, first {options.names_mb:g} MB", ours)
        if "presidio" in peers:
            theirs = ask_peer(peers["presidio"], "speed", "presidio", corpus, f"{options.names_mb:g}")[0]
            row("presidio, document by document", theirs)
            row("pii_names@1 / presidio", ours / theirs, WANTED_NAMES, "times")
    else:
        print("pii_names@1: not installed (gristmill[pii])")


def peer_spans(answers: list[list[list[Any]]]) -> Callable[[list[str]], list[list[Span]]]:
    """A detector that gives a peer's answers, in the order of the texts."""
    left = iter(answers)
    return lambda texts: [
        [Span(start, end, KINDS_OF_PEERS.get(kind, kind), 1.0) for kind, start, end in next(left)] for _ in texts
    ]


def qualities(options: argparse.Namespace, peers: dict[str, str]) -> None:
    gold = list(read_gold(options.gold))
    held_out = [each for each in gold if each.group.isdigit() and int(each.group) % 2]
    columns: dict[str, Evaluation] = {"patterns": evaluate(gold, pattern_spans)}
    if held_out:
        columns["held out"] = evaluate(held_out, pattern_spans)
    if names.available():
        columns["+ names"] = evaluate(gold, all_spans)
        if held_out:
            columns["held out "] = evaluate(held_out, all_spans)
    for peer in ("presidio", "scrubadub"):
        if peer in peers:
            columns[peer] = evaluate(_places(gold), peer_spans(ask_peer(peers[peer], "quality", peer, options.gold)))
    kinds = [kind for kind, score in columns["patterns"].scores.items() if score.gold]
    print(f"\n# F1 on {len(gold)} gold texts\n{'kind':<18}{'gold':>6}" + "".join(f"{name:>12}" for name in columns))
    for kind in kinds:
        values = []
        for name, column in columns.items():
            # Peers know only LOCATION, which is then measured on places and street addresses together.
            score = column.scores.get("LOCATION" if name in peers and kind == "LOCATION+ADDRESS" else kind)
            values.append("-" if score is None or not score.predicted else f"{score.f1 or 0.0:.3f}")
        print(f"{kind:<18}{columns['patterns'].scores[kind].gold:>6}" + "".join(f"{value:>12}" for value in values))
    totals = (f"{column.overall.f1 or 0.0:>12.3f}" for column in columns.values())
    print(f"{'all of the gold':<18}{columns['patterns'].overall.gold:>6}" + "".join(totals))


def _places(gold: Sequence[Gold]) -> list[Gold]:
    return [
        Gold(each.text, tuple((a, b, "LOCATION" if k == "ADDRESS" else k) for a, b, k in each.spans), each.group)
        for each in gold
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="JSON Lines with `text`, or a folder of document shards")
    parser.add_argument("--gold", help="JSON Lines with gold spans")
    parser.add_argument("--code", help="folder of code files")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", help="interpreter that has a peer"
    )
    parser.add_argument("--names-mb", type=float, default=0.1, help="MB of the corpus for models (default: 0.1)")
    options = parser.parse_args(arguments)
    peers = dict(each.split("=", 1) for each in options.peer)
    speeds(options, peers)
    if options.gold:
        qualities(options, peers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
