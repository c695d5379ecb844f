"""The peers of bench/deduplication.py, each run by the interpreter that has it; knows nothing of gristmill.

    PYTHON bench/dedup_peers.py WORK PEER CORPUS OUTPUT

WORK signatures: datasketch, gaoya, rensa, datatrove, text-dedup, data-juicer; times the signatures of all texts,
shingling included.  WORK search: the same, and datasketch-checked and text-dedup-checked, which compare signatures
(text-dedup: shingles) before they merge; times everything from the texts to the clusters.

CORPUS is read before the clock, except by datatrove's stages and text-dedup, which read their own copy of it.  OUTPUT
of a search gets {"label": one cluster number a document}, or of data-juicer, which tells no clusters, {"kept": numbers
of the documents that stay}, as JSON.  The last line of stdout is {"cpu_s", "wall_s"}.

datasketch and rensa take sets of shingles: 5 words, lower case, made by the two lines below and counted in their time.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
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


def text_dedup_signatures(texts: list[str]) -> None:
    from text_dedup.config.algorithms.minhash import MinHashAlgorithmConfig

    config = MinHashAlgorithmConfig(
        algorithm_name="minhash",
        text_column="text",
        num_perm=128,
        ngram_size=5,
        threshold=0.8,
        hash_bits=64,
        num_proc=1,
    )
    embed = config.get_embed_func()
    for i, text in enumerate(texts):
        embed([text], [i])


TEXT_DEDUP = """[input]
input_type = "local_files"
file_type = "parquet"
[input.read_arguments]
path = "{folder}/in"
split = "train"
cache_dir = "{folder}/cache"
[algorithm]
algorithm_name = "minhash"
text_column = "text"
seed = 42
num_perm = 128
threshold = 0.8
hash_bits = 64
ngram_size = 5
num_proc = 2
check_false_positive = {checked}
[output]
output_dir = "{folder}/out"
save_clusters = true
[debug]
enable_profiling = false
"""


def text_dedup_clusters(texts: list[str], folder: str) -> list[int]:
    """Its release keeps no member of a cluster, so the clusters are read and not the documents that it leaves."""
    import pickle

    done = subprocess.run(
        [sys.executable, "-m", "text_dedup.minhash"], cwd=folder, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    with open(f"{folder}/out/clusters.pickle", "rb") as file:
        parents = pickle.load(file)
    return [-2 - int(parents[i]) if i in parents else i for i in range(len(texts))]


def juicer():
    import data_juicer.ops.base_op as base
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator

    base.free_models = lambda *_: None  # would install PyTorch to tell it that there is no model
    return DocumentMinhashDeduplicator(
        tokenization="space", window_size=5, num_permutations=128, jaccard_threshold=0.8, num_proc=2
    )


def juicer_signatures(texts: list[str]) -> None:
    operator = juicer()
    for text in texts:
        operator.compute_hash({"text": text})


def juicer_kept(texts: list[str]) -> list[int]:
    from data_juicer.core.data import NestedDataset
    from datasets import Dataset

    operator = juicer()
    told = operator.run(NestedDataset(Dataset.from_dict({"text": texts, "number": list(range(len(texts)))})))
    return list(told["number"])


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
    if peer.startswith("text-dedup") and work == "search":
        import pyarrow as pa
        import pyarrow.parquet as pq

        os.makedirs(f"{folder}/in")
        pq.write_table(pa.table({"text": texts}), f"{folder}/in/all.parquet")
        with open(f"{folder}/config.toml", "w", encoding="utf-8") as file:
            file.write(TEXT_DEDUP.format(folder=folder, checked=str(peer.endswith("-checked")).lower()))
    signatures: dict[str, Callable[[], object]] = {
        "datasketch": lambda: datasketch_hashes(texts),
        "rensa": lambda: rensa_hashes(texts),
        "gaoya": lambda: gaoya_index(texts, parallel=False),
        "datatrove": lambda: datatrove_signatures(texts),
        "text-dedup": lambda: text_dedup_signatures(texts),
        "data-juicer": lambda: juicer_signatures(texts),
    }
    searches: dict[str, Callable[[], list[int]]] = {
        "datasketch": lambda: components(len(texts), datasketch_pairs(texts, checked=False)),
        "datasketch-checked": lambda: components(len(texts), datasketch_pairs(texts, checked=True)),
        "rensa": lambda: components(len(texts), rensa_pairs(texts)),
        "gaoya": lambda: components(len(texts), gaoya_pairs(texts)),
        "datatrove": lambda: datatrove_clusters(texts, folder),
        "text-dedup": lambda: text_dedup_clusters(texts, folder),
        "text-dedup-checked": lambda: text_dedup_clusters(texts, folder),
        "data-juicer": lambda: juicer_kept(texts),
    }
    begin, cpu = time.perf_counter(), cpu_seconds()
    found = (signatures if work == "signatures" else searches)[peer]()
    told = {"wall_s": time.perf_counter() - begin, "cpu_s": cpu_seconds() - cpu}
    if work == "search":
        with open(output, "w", encoding="utf-8") as file:
            json.dump({"kept" if peer == "data-juicer" else "label": found}, file)
    shutil.rmtree(folder, ignore_errors=True)
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
