"""The peers of bench/deduplication.py, each run by the interpreter that has it; knows nothing of gristmill.

    PYTHON bench/dedup_peers.py WORK PEER CORPUS OUTPUT

WORK signatures: datasketch, gaoya, rensa, datatrove; times the signatures of all texts, shingling included.
WORK search: datasketch, datasketch-checked, gaoya, rensa, datatrove; times everything from the texts to the clusters.
CORPUS is read before the clock, except by datatrove's stages, which read their own copy of it.  OUTPUT of a search gets
one cluster number a document, as JSON.  The last line of stdout is {"cpu_s", "wall_s"}.

datasketch and rensa take sets of shingles: 5 words, lower case, made by the two lines below and counted in their time.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable

_WORD = re.compile(r"\w+")
Pairs = list[tuple[int, int]]


def shingles(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + 5]) for i in range(len(words) - 4)}


def datasketch_hashes(texts: list[str]) -> list:
    from datasketch import MinHash

    return list(MinHash.generator(([s.encode() for s in shingles(text)] for text in texts), num_perm=128))


def datasketch_pairs(texts: list[str], checked: bool) -> Pairs:
    from datasketch import MinHashLSH

    index, pairs = MinHashLSH(threshold=0.8, num_perm=128), []
    hashes = datasketch_hashes(texts)
    for i, each in enumerate(hashes):
        pairs += [(i, j) for j in index.query(each) if not checked or each.jaccard(hashes[j]) >= 0.8]
        index.insert(i, each)
    return pairs


def rensa_hashes(texts: list[str]) -> list:
    import rensa

    return rensa.RMinHash.from_token_sets([list(shingles(text)) for text in texts], 128, 42)


def rensa_pairs(texts: list[str]) -> Pairs:
    import rensa

    hashes = rensa_hashes(texts)
    index = rensa.RMinHashLSH(threshold=0.8, num_perm=128, num_bands=16)
    index.insert_many(hashes)
    found = enumerate(index.query_all(hashes))
    return [(i, j) for i, others in found for j in others if j < i and hashes[i].jaccard(hashes[j]) >= 0.8]


def gaoya_index(texts: list[str], parallel: bool):
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=0.8,
        num_bands=16,
        band_size=8,
        analyzer="word",
        lowercase=True,
        ngram_range=(5, 5),
    )
    if parallel:
        index.par_bulk_insert_docs(list(range(len(texts))), texts)
    else:
        for i, text in enumerate(texts):
            index.insert_document(i, text)
    return index


def gaoya_pairs(texts: list[str]) -> Pairs:
    index, pairs = gaoya_index(texts, parallel=True), []
    for start in range(0, len(texts), 2000):
        for i, others in enumerate(index.par_bulk_query(texts[start : start + 2000]), start):
            pairs += [(i, j) for j in others if j != i]
    return pairs


def datatrove_signatures(texts: list[str]) -> None:
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64))
    step = MinhashDedupSignature(tempfile.mkdtemp(), config)
    for text in texts:
        found = step.get_shingles(Document(text=text, id="").text)
        if len(found):
            step.get_signature(found)


def datatrove_clusters(texts: list[str], folder: str) -> list[int]:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.hashing import HashConfig

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8, hash_config=HashConfig(precision=64))

    def read() -> JsonlReader:
        return JsonlReader(f"{folder}/in")

    dropped = JsonlWriter(f"{folder}/dropped", compression=None)
    stages = [
        ([read(), MinhashDedupSignature(f"{folder}/signatures", config)], 2),
        ([MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)], 14),
        ([MinhashDedupCluster(f"{folder}/buckets", f"{folder}/remove", config=config, save_cluster_id=True)], 1),
        (
            [
                read(),
                MinhashDedupFilter(f"{folder}/remove", load_cluster_ids=True, exclusion_writer=dropped),
                JsonlWriter(f"{folder}/kept", compression=None),
            ],
            2,
        ),
    ]
    for number, (steps, tasks) in enumerate(stages):
        LocalPipelineExecutor(
            pipeline=steps,
            tasks=tasks,
            workers=min(tasks, 2),
            start_method="fork",
            logging_dir=f"{folder}/log{number}",
            skip_completed=False,
        ).run()
    label = list(range(len(texts)))
    for part in ("kept", "dropped"):
        for name in sorted(os.listdir(f"{folder}/{part}")):
            with open(f"{folder}/{part}/{name}", encoding="utf-8") as file:
                for line in file:
                    document = json.loads(line)
                    cluster = document["metadata"].get("minhash_cluster_id", -1)
                    if cluster is not None and cluster >= 0:
                        label[int(document["id"])] = -2 - cluster
    return label


def components(count: int, pairs: Pairs) -> list[int]:
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return [root(i) for i in range(count)]


def cpu_seconds() -> float:
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in of)


def main(work: str, peer: str, corpus: str, output: str) -> None:
    with open(corpus, encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    folder = tempfile.mkdtemp()
    if peer == "datatrove" and work == "search":
        os.makedirs(f"{folder}/in")
        half = len(texts) // 2
        for number, (start, stop) in enumerate(((0, half), (half, len(texts)))):
            with open(f"{folder}/in/{number}.jsonl", "w", encoding="utf-8") as file:
                for i in range(start, stop):
                    file.write(json.dumps({"id": str(i), "text": texts[i]}) + "\n")
    signatures: dict[str, Callable[[], object]] = {
        "datasketch": lambda: datasketch_hashes(texts),
        "rensa": lambda: rensa_hashes(texts),
        "gaoya": lambda: gaoya_index(texts, parallel=False),
        "datatrove": lambda: datatrove_signatures(texts),
    }
    searches: dict[str, Callable[[], list[int]]] = {
        "datasketch": lambda: components(len(texts), datasketch_pairs(texts, checked=False)),
        "datasketch-checked": lambda: components(len(texts), datasketch_pairs(texts, checked=True)),
        "rensa": lambda: components(len(texts), rensa_pairs(texts)),
        "gaoya": lambda: components(len(texts), gaoya_pairs(texts)),
        "datatrove": lambda: datatrove_clusters(texts, folder),
    }
    begin, cpu = time.perf_counter(), cpu_seconds()
    found = (signatures if work == "signatures" else searches)[peer]()
    told = {"wall_s": time.perf_counter() - begin, "cpu_s": cpu_seconds() - cpu}
    if work == "search":
        with open(output, "w", encoding="utf-8") as file:
            json.dump(found, file)
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
