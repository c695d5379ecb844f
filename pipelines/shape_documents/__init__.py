"""Shaping: documents that belong together become one training document, in the form that a model was trained on."""

from pipelines.shape_documents.graph import build_shape_documents, shape_summary
from pipelines.shape_documents.plan import ShapeDocuments, ShapeInput, known_shapes, shape_of

__all__ = [
    "ShapeDocuments",
    "ShapeInput",
    "build_shape_documents",
    "known_shapes",
    "shape_of",
    "shape_summary",
]
