"""Packing: documents to samples of a fixed number of tokens, shuffled over the whole corpus."""

from pipelines.packing.graph import build_pack_documents, pack_summary
from pipelines.packing.plan import Fim, PackDocuments, appearances
from pipelines.packing.tokenizer import ByteTokenizer, FileTokenizer, open_tokenizer

__all__ = [
    "ByteTokenizer",
    "FileTokenizer",
    "Fim",
    "PackDocuments",
    "appearances",
    "build_pack_documents",
    "open_tokenizer",
    "pack_summary",
]
